"""The verbs `city certificates` and `city sign-request`: the files around `city.certificates`.

Decides names of files and what is never written over. A folder holds both authorities here, for a trial; a city that
runs this for real keeps `city-ca.key` and `devices-ca.key` apart from each other and from the broker.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from city import certificates
from city.certificates import Authority
from city.provision import write_secret
from kiosk.clock import SystemClock

CITY_CA, DEVICES_CA, BROKER = "city-ca", "devices-ca", "broker"
AUTHORITY_DAYS, DAYS = 3650, 365
DONE = 0


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both verbs to the city's command line."""
    made = verbs.add_parser("certificates", help="make certificates for a broker, its users and kiosks, for tests")
    made.add_argument("folder", type=Path, help="gets NAME.pem and NAME.key of each; authorities there are used again")
    made.add_argument("--broker", action="append", default=[], metavar="NAME", help="host name or IP address; repeat")
    made.add_argument("--device", action="append", default=[], metavar="NAME", help="a kiosk; repeat")
    made.add_argument("--user", action="append", default=[], metavar="NAME", help="such as city-ingest; repeat")
    _days(made).set_defaults(do=_make)
    signing = verbs.add_parser("sign-request", help="sign a kiosk's certificate request, the first or a renewal")
    signing.add_argument("csr", type=Path, help="what the kiosk has made, in PEM")
    signing.add_argument("--authority", type=Path, required=True, help=f"folder with {DEVICES_CA}.pem and .key")
    signing.add_argument("--device", default="", metavar="NAME", help="sign for this kiosk only")
    signing.add_argument("--out", type=Path, required=True, help="gets the certificate")
    _days(signing).set_defaults(do=_sign)


def make(
    folder: Path,
    *,
    broker: Sequence[str],
    devices: Sequence[str],
    users: Sequence[str],
    now: datetime,
    days: int = DAYS,
) -> list[Path]:
    """Write certificates and keys; the answer is the certificates' files, authorities first.

    An authority that is there is used again, and its key is never written over; other certificates are made anew.

    Raises:
        OSError: the folder cannot be written, or has one half of an authority.
        ValueError: a name that nobody may have, or a life beyond the authority's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    city, kiosks = (_authority(folder, name, now) for name in (CITY_CA, DEVICES_CA))
    life = timedelta(days=days)
    made = {name: certificates.new_user(city, name, now, life) for name in users}
    made |= {name: certificates.new_device(kiosks, name, now, life) for name in devices}
    if broker:
        made[BROKER] = certificates.new_server(city, broker, now, life)
    for name, (certificate, key) in made.items():
        write_secret(folder / f"{name}.key", key)
        (folder / f"{name}.pem").write_bytes(certificate)
    return [folder / f"{name}.pem" for name in (CITY_CA, DEVICES_CA, *made)]


def _authority(folder: Path, name: str, now: datetime) -> Authority:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    if certificate.exists() and key.exists():
        return certificates.read_authority(certificate.read_bytes(), key.read_bytes())
    if certificate.exists() or key.exists():
        there, missing = (certificate, key) if certificate.exists() else (key, certificate)
        raise FileExistsError(f"{there} is there and {missing.name} is not: a new authority would part you from those")
    made = certificates.new_authority(name, now, timedelta(days=AUTHORITY_DAYS))
    write_secret(key, certificates.key_pem(made.key))
    certificate.write_bytes(certificates.certificate_pem(made.certificate))
    return made


def _days(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--days", type=int, default=DAYS, help="how long they are good for, default %(default)s")
    return parser


def _make(parsed: argparse.Namespace) -> int:
    names = {"broker": parsed.broker, "devices": parsed.device, "users": parsed.user}
    for path in make(parsed.folder, **names, now=_now(), days=parsed.days):
        _tell(path)
    return DONE


def _sign(parsed: argparse.Namespace) -> int:
    held = (parsed.authority / f"{DEVICES_CA}{end}" for end in (".pem", ".key"))
    authority = certificates.read_authority(*(path.read_bytes() for path in held))
    life = timedelta(days=parsed.days)
    _, signed = certificates.sign_request(parsed.csr.read_bytes(), authority, _now(), life, device=parsed.device)
    parsed.out.write_bytes(signed)
    _tell(parsed.out)
    return DONE


def _tell(path: Path) -> None:
    held = x509.load_pem_x509_certificate(path.read_bytes())
    until = f"until {held.not_valid_after_utc:%Y-%m-%d}, renew on {certificates.renew_at(held):%Y-%m-%d}"
    sys.stdout.write(f"{path}: {held.subject.rfc4514_string()}, {until}\n")


def _now() -> datetime:
    return SystemClock().now().utc.astimezone(UTC)
