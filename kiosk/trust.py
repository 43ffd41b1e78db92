"""PURE. The city's trust bundle: whom a kiosk believes, and the rules it judges by.

One signed document, numbered, so that an old one cannot be played again: public keys with their uses and times,
revoked certificates, epidemic areas, the rules if the city gives them, the key that seals identities and the key that
commands. It decides whether a bundle is the city's, whole, and newer. Refuses to know files; `kiosk.city_files` keeps
it. docs/trust.md has the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import cbor2
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from kiosk.credentials.cose import verify
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.credentials.keyring import DIGEST_BYTES
from kiosk.messages import Refusal
from kiosk.risk import EpidemicArea

TYPE = "trust"
KIND, VERSION, MADE, ISSUERS, REVOKED, AREAS, RULES, AUTHORITY, COMMAND = 1, 2, 3, 4, 5, 6, 7, 8, 9
"""Keys of the bundle. RULES is the text of a rules.toml, AUTHORITY and COMMAND are PEM public keys."""
USES = (Use.DECLARATION, Use.VACCINATION, Use.TEST, Use.RECOVERY)
"""By their place in an issuer's bits."""
MOST_BYTES = 4_000_000
"""The EU's whole list of 670 keys takes 100 KB; a million revocations would take 16 MB and belong on the risk list."""

Issuers = Mapping[bytes, tuple[Issuer, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that checks out. `areas` is None where the city leaves them to the rules."""

    version: int
    made_at: datetime
    issuers: Issuers
    revoked: frozenset[bytes] = frozenset()
    areas: tuple[EpidemicArea, ...] | None = None
    rules_toml: str = ""
    authority_pem: bytes = field(default=b"", repr=False)
    command_pem: bytes = field(default=b"", repr=False)


def read_bundle(content: bytes, city: Issuers) -> Bundle | str:
    """Check and open a bundle; a sentence for a technician where it is not the city's, or not of this version."""
    if len(content) > MOST_BYTES:
        return f"more than {MOST_BYTES // 1_000_000} MB"
    signed = verify(content, city)
    if isinstance(signed, Refusal):
        return f"not by the city: {signed.detail}"
    if not any(Use.CITY in issuer.uses for issuer in signed.by):
        return "signed by a key that may not sign trust bundles"
    try:
        fields = cbor2.loads(signed.content)  # the city's own from here on: no bounds needed
        if fields[KIND] != TYPE:
            return "the city's, but no trust bundle"
        return _bundle(fields)
    except (cbor2.CBORDecodeError, UnsupportedAlgorithm, ValueError, TypeError, LookupError, OverflowError) as why:
        return f"the city's, but not of this version ({type(why).__name__}: {why})"


def follows(held: Bundle | None, new: Bundle) -> str:
    """Why a bundle must not take the place of the one that is held; empty where it may."""
    if held is not None and new.version <= held.version:
        return f"version {new.version} is not newer than {held.version}, which is held"
    return ""


def encoded(bundle: Bundle) -> bytes:
    """What the city signs."""
    issuers = [_issuer_fields(issuer) for some in bundle.issuers.values() for issuer in some]
    areas = [[area.code, area.since.isoformat(), area.until and area.until.isoformat()] for area in bundle.areas or ()]
    return cbor2.dumps(
        {
            KIND: TYPE,
            VERSION: bundle.version,
            MADE: int(bundle.made_at.timestamp()),
            ISSUERS: issuers,
            REVOKED: sorted(bundle.revoked),
            AREAS: None if bundle.areas is None else areas,
            RULES: bundle.rules_toml,
            AUTHORITY: bundle.authority_pem,
            COMMAND: bundle.command_pem,
        }
    )


def _bundle(fields: Mapping[int, object]) -> Bundle:
    revoked, areas = [_bytes(digest) for digest in _list(fields[REVOKED])], fields[AREAS]
    if any(len(digest) != DIGEST_BYTES for digest in revoked):
        raise ValueError("a revocation is no digest")
    return Bundle(
        version=_number(fields[VERSION]),
        made_at=datetime.fromtimestamp(_number(fields[MADE]), UTC),
        issuers=by_kid(_issuer(_list(each)) for each in _list(fields[ISSUERS])),
        revoked=frozenset(revoked),
        areas=None if areas is None else tuple(_area(_list(each)) for each in _list(areas)),
        rules_toml=_text(fields[RULES]),
        authority_pem=_bytes(fields[AUTHORITY]),
        command_pem=_bytes(fields[COMMAND]),
    )


def _issuer_fields(issuer: Issuer) -> list[object]:
    bits = sum(1 << place for place, use in enumerate(USES) if use in issuer.uses)
    der = issuer.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    times = [moment and int(moment.timestamp()) for moment in (issuer.not_before, issuer.not_after)]
    return [issuer.kid, der, bits, *times, issuer.url]


def _issuer(fields: list[object]) -> Issuer:
    kid, der, bits, since, until, url = fields
    key = load_der_public_key(_bytes(der))
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TypeError("an issuer's key is neither elliptic-curve nor RSA")
    return Issuer(
        kid=_bytes(kid),
        key=key,
        uses=frozenset(use for place, use in enumerate(USES) if _number(bits) >> place & 1),
        not_before=None if since is None else datetime.fromtimestamp(_number(since), UTC),
        not_after=None if until is None else datetime.fromtimestamp(_number(until), UTC),
        url=_text(url),
    )


def _area(fields: list[object]) -> EpidemicArea:
    code, since, until = fields
    last = None if until is None else date.fromisoformat(_text(until))
    return EpidemicArea(code=_text(code), since=date.fromisoformat(_text(since)), until=last)


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError("a number is none")
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a byte string is none")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is none")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("a list is none")
    return value
