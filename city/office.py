"""The city's issuing office: its folder of keys, the next trust bundle, the next risk list.

Decides names and version numbers, nothing about people. The command line calls it. Files: docs/trust.md and
docs/risk-list.md.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from city import risk, signing, trust
from city.provision import (
    AUTHORITY_KEY,
    BUNDLE,
    CITY_KEY,
    CITY_PEM,
    COMMAND_KEY,
    DECLARATION_KEY,
    SUBJECT_KEY,
    new_secrets,
    provision,
    write_secret,
)
from kiosk.city_files import write_whole
from kiosk.config import rules_from_text
from kiosk.credentials.declaration import SUBJECT
from kiosk.credentials.issuer import Issuer, by_kid
from kiosk.credentials.keyring import city_issuers
from kiosk.messages import Flag
from kiosk.risk import EpidemicArea
from kiosk.risk_list import Issuers, Update, entries, read_update
from kiosk.trust import Bundle, read_bundle

SNAPSHOT, DELTA = "risk-list.snapshot", "risk-list.delta"


def make_keys(folder: Path, made_at: datetime) -> list[str]:
    """Make all keys of a city and its first trust bundle; the answer names the files, secret ones first.

    Raises:
        OSError: the folder cannot be written, or has keys: those in use are not overwritten.
    """
    if (folder / CITY_KEY).exists():
        raise FileExistsError(
            f"{folder / CITY_KEY} is there: kiosks trust it, and another one would part them from you"
        )
    folder.mkdir(parents=True, exist_ok=True)
    held = new_secrets()
    provision(folder, held, made_at)
    secret = {
        CITY_KEY: held.city,
        DECLARATION_KEY: held.declaration,
        AUTHORITY_KEY: held.authority,
        COMMAND_KEY: held.command,
    }
    for name, content in secret.items():
        write_secret(folder / name, content)
    (folder / "declaration.pem").write_bytes(signing.public_pem(held.declaration))
    (folder / "authority.pem").write_bytes(held.authority_public)
    return [*secret, SUBJECT_KEY, CITY_PEM, "declaration.pem", "authority.pem", BUNDLE]


def public_key(keys: Path) -> Issuers:
    """What kiosks check the city's signatures with. Raises OSError or ValueError for a folder without it."""
    return city_issuers((keys / CITY_PEM).read_bytes())


def next_bundle(
    keys: Path,
    made_at: datetime,
    *,
    certificates: Iterable[Path],
    revoked: Iterable[str],
    areas: Sequence[str],
    rules: Path | None,
    new_command_key: bool = False,
) -> Bundle:
    """Write the folder's next trust bundle: the last one, and what is given here.

    Issuers (X.509) and revocations (32 hex digits) are added; areas (CODE:SINCE or CODE:SINCE:UNTIL), rules and a new
    command key take the place of those before. Raises ValueError for what kiosks would refuse, or OSError.
    """
    held = read_bundle((keys / BUNDLE).read_bytes(), public_key(keys))
    if isinstance(held, str):
        raise ValueError(f"{keys / BUNDLE}: {held}")  # noqa: TRY004 - the file is wrong, not the call
    text = rules.read_text(encoding="utf-8") if rules else held.rules_toml
    if text and isinstance(mistake := rules_from_text(text), str):
        raise ValueError(mistake)
    issuers = [issuer for some in held.issuers.values() for issuer in some]
    issuers += [Issuer.from_certificate(path.read_bytes()) for path in certificates]
    command = signing.new_key() if new_command_key else b""
    bundle = replace(
        held,
        version=held.version + 1,
        made_at=made_at,
        issuers=by_kid(issuers),
        revoked=held.revoked | {bytes.fromhex(digest) for digest in revoked},
        areas=tuple(map(_area, areas)) or held.areas,
        rules_toml=text,
        command_pem=signing.public_pem(command) if command else held.command_pem,
    )
    if command:
        write_secret(keys / COMMAND_KEY, command)
    write_whole(keys / BUNDLE, trust.signed(bundle, key=_city_key(keys)))
    return bundle


def next_list(people: Path, folder: Path, keys: Path, made_at: datetime) -> list[Path]:
    """Write the next snapshot from a CSV of everybody on the list, and the delta if the folder has one before.

    Raises ValueError for a line that is not `subject,flag`, or OSError.
    """
    flags = _flags(people)
    snapshot, delta = folder / SNAPSHOT, folder / DELTA
    held = read_update(snapshot.read_bytes(), public_key(keys)) if snapshot.exists() else None
    if isinstance(held, str):
        raise ValueError(f"{snapshot}: {held}")  # noqa: TRY004 - the file is wrong, not the call
    added, kinds, off = entries(flags)
    version = held.version + 1 if held else 1
    update = Update(version=version, base=0, made_at=made_at, keys=added, kinds=kinds, removed=off)
    key, written = _city_key(keys), [snapshot]
    if held:
        write_whole(delta, risk.signed(risk.change(held, update), key))
        written.append(delta)
    write_whole(snapshot, risk.signed(update, key))
    return written


def _city_key(keys: Path) -> ec.EllipticCurvePrivateKey:
    return signing.load_key((keys / CITY_KEY).read_bytes())


def _flags(people: Path) -> dict[str, Flag]:
    with people.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    wrong = [number for number, row in enumerate(rows, 1) if not _is_entry(row)]
    if wrong:
        raise ValueError(f"{people}: line {wrong[0]}: not `subject,flag` (32 hex digits; {', '.join(Flag)})")
    return {subject: Flag(flag) for subject, flag in rows}


def _is_entry(row: list[str]) -> bool:
    return len(row) == 2 and SUBJECT.fullmatch(row[0]) is not None and row[1] in list(Flag)  # noqa: PLR2004


def _area(text: str) -> EpidemicArea:
    code, since, until = (*text.split(":"), "")[:3]
    return EpidemicArea(code=code, since=date.fromisoformat(since), until=date.fromisoformat(until) if until else None)
