"""Makes what a kiosk is given at provisioning, and the secrets that stay with the city. For tests, demos and trials.

A city that runs this for real keeps each secret where it belongs: the city's key on a signing machine, the authority's
with the health authority. Called by `city.cli`, the demo, the benchmarks and the tests.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from city import signing, trust
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.trust import Bundle

CITY_KEY, DECLARATION_KEY, AUTHORITY_KEY, COMMAND_KEY = "city.key", "declaration.key", "authority.key", "command.key"
CITY_PEM, BUNDLE, SUBJECT_KEY = "city.pem", "trust.bundle", "subject.key"
"""What a kiosk gets; of these only `SUBJECT_KEY` is secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What a city signs and opens with: PEM private keys, and the key of the pseudonyms. `command` may be empty."""

    city: bytes
    declaration: bytes
    authority: bytes
    authority_public: bytes
    subject: bytes
    command: bytes = b""


def new_secrets(subject: bytes | None = None) -> Secrets:
    """Make all keys anew; `subject` where the pseudonyms are to be those of before."""
    private, public = trust.new_authority()
    return Secrets(
        city=signing.new_key(),
        declaration=signing.new_key(),
        authority=private,
        authority_public=public,
        subject=subject or secrets.token_bytes(32),
        command=signing.new_key(),
    )


def first_bundle(
    held: Secrets, made_at: datetime, issuers: Iterable[Issuer] = (), revoked: Iterable[bytes] = ()
) -> Bundle:
    """The bundle a new city begins with: its own declarations count, and those issuers' certificates unless revoked."""
    declares = trust.issuer_of(held.declaration, Use.DECLARATION)
    return Bundle(
        version=1,
        made_at=made_at,
        issuers=by_kid([declares, *issuers]),
        revoked=frozenset(revoked),
        authority_pem=held.authority_public,
        command_pem=signing.public_pem(held.command) if held.command else b"",
    )


def provision(
    folder: Path, held: Secrets, made_at: datetime, issuers: Iterable[Issuer] = (), revoked: Iterable[bytes] = ()
) -> None:
    """Write what one kiosk is given."""
    bundle = trust.signed(first_bundle(held, made_at, issuers, revoked), key=signing.load_key(held.city))
    for name, content in {CITY_PEM: signing.public_pem(held.city), BUNDLE: bundle}.items():
        (folder / name).write_bytes(content)
    write_secret(folder / SUBJECT_KEY, held.subject)


def write_secret(path: Path, content: bytes) -> None:
    """Write for its owner alone."""
    path.touch(mode=0o600)
    path.write_bytes(content)
