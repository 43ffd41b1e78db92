"""Writes signed health declarations, as the city's issuing office does (docs/declaration.md). A kiosk never issues.

Decides nothing about people: it signs what it is told. Called by `city.cli`, the demo and the tests; the latter also
make forgeries with `sign`, which checks nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import base45
import cbor2
import segno
from cryptography.hazmat.primitives.asymmetric import ec

from city.signing import sign1
from kiosk.credentials import declaration as wire
from kiosk.credentials.cose import TAG_SIGN1
from kiosk.messages import Symptom, Visit

DAY = timedelta(hours=24)
"""How long Da Nang's declarations are valid."""


def declaration_payload(  # noqa: PLR0913 - one argument for each thing declared
    *,
    key: ec.EllipticCurvePrivateKey,
    sub: str,
    initials: str,
    issued_at: datetime,
    lifetime: timedelta = DAY,
    symptoms: Collection[Symptom] = (),
    visits: Sequence[Visit] = (),
    contact: bool = False,
    by_proxy: bool = False,
    kid: bytes | None = None,
) -> bytes:
    """Give the content of the QR code for one person.

    `sub` is `subject_of("id", number, subject_key)`. `kid` names another key than `key`, for a forgery. Raises
    ValueError for a lifetime or a number of visits that kiosks would refuse.
    """
    if not timedelta(seconds=1) <= lifetime <= wire.MAX_LIFETIME:
        raise ValueError(f"a declaration lives at least a second and at most {wire.MAX_LIFETIME.days} days")
    if len(visits) > wire.MAX_VISITS:
        raise ValueError(f"a declaration holds at most {wire.MAX_VISITS} visits, not {len(visits)}")
    issued = int(issued_at.timestamp())
    health = {
        wire.INITIALS: initials,
        wire.SYMPTOMS: sum({wire.SYMPTOM_BITS[symptom] for symptom in symptoms}),
        wire.VISITS: [[visit.area, (visit.left_on - wire.EPOCH).days] for visit in visits],
        wire.CONTACT: contact,
        wire.BY_PROXY: by_proxy,
    }
    expires = issued + int(lifetime.total_seconds())
    claims = {wire.SUB: sub, wire.EXP: expires, wire.IAT: issued, wire.HEALTH: health}
    return sign(claims, key=key, kid=kid)


def sign(claims: Mapping[int, object], *, key: ec.EllipticCurvePrivateKey, kid: bytes | None = None) -> bytes:
    """Sign any claims whatsoever and give the text of the QR code."""
    cose = TAG_SIGN1 + sign1(cbor2.dumps(claims), key=key, kid=kid)
    text: bytes = base45.b45encode(cose)
    return wire.PREFIX.encode() + text


def qr(payload: bytes) -> segno.QRCode:
    """Make the QR code: alphanumeric, error level M."""
    return segno.make_qr(payload.decode("ascii"), error="m", mode="alphanumeric", boost_error=False)


def write_png(payload: bytes, path: Path, scale: int = 8) -> None:
    """Write the QR code with its quiet zone. `scale` is in pixels a module."""
    qr(payload).save(str(path), kind="png", scale=scale)
