"""What the door goes by: its certificate, the city's trust bundle and risk list, and its clock."""

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from kiosk.ages import age_s
from kiosk.city_data import NO_BUNDLE, city_data, files_of
from kiosk.clock import Now
from kiosk.doctor.case import Case
from kiosk.doctor.finding import Finding, Mark, bad, ok, parted, unknown, warn
from kiosk.doctor.link_checks import until, used_broker

NAMES = ("certificate", "authority", "trust", "risk list", "clock")
RENEW = "have it renewed: kiosk-fleet apply, or city command"
OTHERS_READ = 0o077


def certificates(case: Case) -> list[Finding]:
    """Findings `certificate` (the door's own) and `authority` (whom it believes to be the broker)."""
    broker, now = used_broker(case), case.clock.now().utc
    if not broker.tls:
        return [ok("certificate", "not used; the broker is on this machine")]
    authority = ok("authority", "the system's own")
    if broker.ca_file:
        authority = _soonest("authority", Path(broker.ca_file), now)
    if not broker.certificate_file:
        how = f"logs in as {broker.username}, by password" if broker.username else "logs in without a name"
        return [ok("certificate", f"not used; the door {how}"), authority]
    own = _soonest("certificate", Path(broker.certificate_file), now)
    if own.mark in {Mark.OK, Mark.WARN}:
        own = _of_device(case, Path(broker.certificate_file), Path(broker.key_file)) or own
    return [own, authority]


def _soonest(name: str, path: Path, now: datetime) -> Finding:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "not a certificate in PEM"
        return bad(name, f"{path}: cannot be used ({said})", "bring it again: kiosk-fleet apply; check owner and mode")
    return until(name, f"{path.name}", min(found, key=lambda each: each.not_valid_after_utc), now)


def _of_device(case: Case, path: Path, key: Path) -> Finding | None:
    device = case.loaded.settings.door.device
    (certificate, *_) = x509.load_pem_x509_certificates(path.read_bytes())
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [device]:
        return bad("certificate", f"{path.name} is for another device, this one is {device}", RENEW)
    try:
        mode = key.stat().st_mode
    except OSError as error:
        return bad("certificate", f"{key}: cannot be read ({error.strerror})", "check its owner and mode: kiosk, 0600")
    if mode & OTHERS_READ:
        return warn("certificate", f"{key}: others can read this key", f"chmod 0600 {key}")
    return None


def city(case: Case) -> list[Finding]:
    """Findings `trust`, `risk list` and `clock`."""
    now, loaded = case.clock.now(), case.loaded
    trust, risks = files_of(loaded)
    bundle, troubles = trust.load()
    listed, unread = risks.load() if loaded.settings.city_data.risk_list == "required" else (None, [])
    made = [each.made_at for each in (bundle, listed) if each]
    data_trouble = city_data(loaded, bundle, None)[1]
    if bundle is None:
        trusted = parted("trust", "; ".join([*troubles, NO_BUNDLE]) if troubles else NO_BUNDLE, "kiosk-fleet apply")
    elif troubles or data_trouble:
        trusted = warn("trust", "; ".join([*troubles, *filter(None, [data_trouble])]), "let the city publish it anew")
    else:
        trusted = _current(
            "trust",
            f"version {bundle.version}, of {bundle.made_at:%Y-%m-%d}",
            now,
            [issuer.not_after for some in bundle.issuers.values() for issuer in some],
        )
    return [
        trusted,
        _risk_list(case, now, listed.made_at if listed else None, listed.version if listed else 0, unread),
        _clock(case, now, made),
    ]


def _current(name: str, said: str, now: Now, ends: list[datetime | None]) -> Finding:
    if not any(end is None or end > now.utc for end in ends):
        return bad(
            name,
            f"{said}: none of its issuers' keys is valid now",
            "let the city publish a new bundle; check the clock",
        )
    return ok(name, f"{said}, {len(ends)} issuers' keys")


def _risk_list(case: Case, now: Now, made_at: datetime | None, version: int, unread: list[str]) -> Finding:
    freshness = case.loaded.settings.city_data.freshness()
    if freshness is None:
        return ok("risk list", "this site goes without one")
    fix = "connect the uplink, and let the city publish it"
    if made_at is None:
        return bad("risk list", f"{'; '.join(unread) or 'there is none'}: people are held for staff", fix)
    age = age_s(made_at, now)
    if age is None:
        return unknown("risk list", f"version {version}; its age is not known while the clock is not trusted")
    said = f"version {version}, {_long(age)} old"
    if age > freshness.limit_s:
        return bad("risk list", f"{said}: too old, people are held for staff", fix)
    if age > freshness.fresh_s or unread:
        return warn("risk list", "; ".join([f"{said}: stale", *unread]), fix)
    return ok("risk list", said)


def _clock(case: Case, now: Now, made: list[datetime]) -> Finding:
    said = f"{now.utc:%Y-%m-%d %H:%M} UTC"
    behind = [moment for moment in made if moment - now.utc > timedelta(minutes=5)]
    if behind:
        fix = "let it reach a time server (timedatectl timesync-status), or set it: timedatectl set-time"
        return bad(
            "clock", f"{said}, which is before the city signed what is held here ({max(behind):%Y-%m-%d %H:%M})", fix
        )
    if not now.utc_trusted:
        fix = "let it reach a time server: timedatectl timesync-status; UDP port 123 must be open"
        return bad("clock", f"{said}, and nobody has set it since the start: declarations are held", fix)
    trusted = {"timesyncd": "set by a time server", "always": "believed as configured"}
    return ok("clock", f"{said}, {trusted[case.loaded.settings.clock.trust]}")


def _long(seconds: int) -> str:
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"  # noqa: PLR2004 - two hours
