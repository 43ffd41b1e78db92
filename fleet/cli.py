"""`kiosk-fleet`: the technician's laptop. Turns words into parts and prints answers.

A mistake is answered in sentences, all of them at once where a file has several; a bug keeps its trace, for us.
"""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from rich.console import Console

from city import certificates
from city.certificates_cli import CITY_CA, DAYS, DEVICES_CA
from city.provision import BUNDLE, CITY_PEM, SUBJECT_KEY
from fleet import bundle, host_keys, inventory, rollout, table, work
from fleet.errors import DoorFault, FleetError, InventoryError
from fleet.inventory import Door
from fleet.plan import City
from fleet.ssh import Access
from fleet.work import Means, Outcome, Say, Status
from kiosk.clock import SystemClock

DONE, DOORS, USAGE, FILES = 0, 1, 2, 3
EXIT_CODES = """exit codes:
  0  every door is as it should be (plan: or can be made so)
  1  a door is not; the table says which, why, and what to do
  2  the command line cannot be understood
  3  the inventory, a release or the city's folder has mistakes; all of them are listed
"""
Verb = Callable[[Door, Means, Say], Awaitable[Outcome]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the answer is the exit code."""
    parsed = _parser().parse_args(arguments)
    do: Callable[[argparse.Namespace], int] = parsed.do
    try:
        return do(parsed)
    except InventoryError as error:
        print(f"{len(error.mistakes)} to mend:", *(f"  {line}" for line in error.mistakes), sep="\n", file=sys.stderr)
        return FILES
    except (FleetError, OSError) as error:
        print(f"kiosk-fleet: {error}", file=sys.stderr)
        return FILES
    except KeyboardInterrupt:
        print(
            "kiosk-fleet: stopped; doors finish a change by themselves, and the same command goes on", file=sys.stderr
        )
        return DOORS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kiosk-fleet",
        description="Set up, update and look at doors over SSH.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for name, text, do in VERBS:
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(do=do)
        _common(verb)
        if name in {"plan", "apply", "update"}:
            verb.add_argument("--release", type=Path, required=True, metavar="FOLDER", help="what scripts/bundle made")
            verb.add_argument("--signers", type=Path, help="whose releases count; default: release-signers beside it")
            verb.add_argument("--city", type=Path, required=True, metavar="FOLDER", help=CITY_HELP)
        elif name == "collect":
            verb.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets a folder for each door")
        elif name == "trust":
            verb.add_argument("--accept", action="store_true", help="ask nothing: take the keys that are shown")
    return parser


CITY_HELP = f"{CITY_PEM}, {BUNDLE}, {SUBJECT_KEY}, {CITY_CA}.pem; {DEVICES_CA}.pem and .key to sign new doors"


def _common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("inventory", type=Path, help="doors, as .toml or .csv (docs/provisioning.md)")
    verb.add_argument("--only", action="append", default=[], metavar="NAME", help="a device or a site; repeat")
    verb.add_argument("--known-hosts", type=Path, metavar="FILE", help="default: known_hosts beside the inventory")
    verb.add_argument("--identity", action="append", default=[], metavar="FILE", help="a private key; repeat")
    verb.add_argument("--ask-password", action="store_true", help="one for all doors, for login and sudo")
    verb.add_argument("--parallel", type=int, default=10, metavar="N", help="doors at a time, default %(default)s")
    verb.add_argument("--json", action="store_true", help="print the report as JSON")


def _doors(parsed: argparse.Namespace) -> list[Door]:
    path: Path = parsed.inventory
    doors = inventory.read(
        path.name, path.read_text(encoding="utf-8"), lambda other: (path.parent / other).read_text(encoding="utf-8")
    )
    wanted = set(parsed.only)
    if missing := wanted.difference(*({door.device, door.site} for door in doors)):
        raise InventoryError([f"{path}: no door and no site is called {name}" for name in sorted(missing)])
    return [door for door in doors if not wanted or wanted & {door.device, door.site}]


def _access(parsed: argparse.Namespace) -> Access:
    password = None
    if parsed.ask_password:
        password = getpass.getpass("password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    known = parsed.known_hosts or parsed.inventory.parent / "known_hosts"
    known.touch()
    return Access(known_hosts=known, identities=tuple(parsed.identity), password=password)


def _means(parsed: argparse.Namespace) -> Means:
    """What the verb needs; without a release, for verbs that install nothing."""
    access = _access(parsed)
    if "release" not in parsed:
        return Means(access=access, bundles=(), city=City(files={}, devices=None), sign=_nothing, now=_now)
    signers = parsed.signers or parsed.inventory.parent / "release-signers"
    found = bundle.in_folder(parsed.release, signers)
    city = _city(parsed.city)
    return Means(access=access, bundles=tuple(found), city=city, sign=_signer(parsed.city), now=_now)


def _city(folder: Path) -> City:
    names = {CITY_PEM: CITY_PEM, BUNDLE: BUNDLE, SUBJECT_KEY: SUBJECT_KEY, f"{CITY_CA}.pem": "ca.pem"}
    missing = [
        f"{folder / name}: not there; `city keys` and `city certificates` make it"
        for name in names
        if not (folder / name).is_file()
    ]
    if missing:
        raise InventoryError(missing)
    devices = folder / f"{DEVICES_CA}.pem"
    return City(
        files={there: (folder / name).read_bytes() for name, there in names.items()},
        devices=x509.load_pem_x509_certificate(devices.read_bytes()) if devices.exists() else None,
    )


def _signer(folder: Path) -> work.Sign:
    def sign(request: bytes, device: str) -> bytes:
        held = [folder / f"{DEVICES_CA}{end}" for end in (".pem", ".key")]
        try:
            authority = certificates.read_authority(*(path.read_bytes() for path in held))
            return certificates.sign_request(request, authority, _now(), timedelta(days=DAYS), device=device)[1]
        except OSError as error:
            raise DoorFault(f"its certificate cannot be signed: {error.filename} is not here; ask the city") from error
        except ValueError as error:
            raise DoorFault(f"its certificate is refused: {error}") from error

    return sign


def _nothing(request: bytes, device: str) -> bytes:
    raise DoorFault(f"nothing is signed here ({device}, {len(request)} bytes)")


def _now() -> datetime:
    return SystemClock().now().utc.astimezone(UTC)


def _run(parsed: argparse.Namespace, verb: str, do: Verb, *, batched: bool = False) -> int:
    doors, means = _doors(parsed), _means(parsed)
    clock = SystemClock()
    console = Console(stderr=parsed.json)
    with table.LiveTable(console, doors) as shown:
        roll = rollout.in_batches if batched else rollout.all_at_once
        outcomes = asyncio.run(
            roll(
                doors,
                lambda door, say: do(door, means, say),
                shown.told,
                parallel=parsed.parallel,
                seconds=lambda: clock.now().monotonic_ns / 1e9,
            )
        )
    table.report(console, outcomes)
    if parsed.json:
        print(table.as_json(verb, outcomes))
    return DONE if all(outcome.status.good for outcome in outcomes) else DOORS


def _collect(parsed: argparse.Namespace) -> int:
    out: Path = parsed.out

    async def one(door: Door, means: Means, say: Say) -> Outcome:
        texts = await work.collected(door, means, say)
        folder = out / door.device
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / Path(name).name).write_text(text, encoding="utf-8")
        return Outcome(device=door.device, host=door.host, status=Status.GREEN, detail=f"{len(texts)} files: {folder}")

    return _run(parsed, "collect", one)


def _trust(parsed: argparse.Namespace) -> int:
    doors, access = _doors(parsed), _access(parsed)
    silent: list[str] = []
    found = asyncio.run(
        host_keys.new_keys(doors, access.known_hosts, lambda door, why: silent.append(f"{door.device}: {why}"))
    )
    for door, shown in found:
        print(f"{door.device}  {door.host}:{door.port}  {shown.fingerprint}")
    for line in silent:
        print(line, file=sys.stderr)
    if found:
        print("compare each with what the door itself says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        if not parsed.accept and input("are they all the same? yes or no: ").strip() != "yes":
            print("none is taken", file=sys.stderr)
            return DOORS
        host_keys.keep(access.known_hosts, (shown for _, shown in found))
    print(f"{len(found)} host keys added to {access.known_hosts}, {len(doors) - len(found) - len(silent)} known before")
    return DOORS if silent else DONE


VERBS: tuple[tuple[str, str, Callable[[argparse.Namespace], int]], ...] = (
    ("trust", "show the host keys of new doors, and keep them", _trust),
    ("plan", "say what apply would change; change nothing", lambda parsed: _run(parsed, "plan", work.planned)),
    ("apply", "make every door what the inventory says", lambda parsed: _run(parsed, "apply", work.applied)),
    (
        "update",
        "apply, first to one door, then to a tenth, then to the rest; stop where one fails",
        lambda parsed: _run(parsed, "update", work.applied, batched=True),
    ),
    ("rollback", "undo the newest change of every door", lambda parsed: _run(parsed, "rollback", work.put_back)),
    ("doctor", "ask every door how it is", lambda parsed: _run(parsed, "doctor", work.examined)),
    ("collect", "fetch logs and states, without personal data", _collect),
)

if __name__ == "__main__":
    sys.exit(main())
