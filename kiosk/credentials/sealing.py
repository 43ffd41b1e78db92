"""Seals who a person is to the health authority's key; nothing else on the device can open it.

HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305: the Pi 4 has no AES instructions. What is sealed is
a CBOR map, filled up to a multiple of `BLOCK` bytes so that its length says little. The parsers call `Seal`; the city
opens with `opened`. docs/decisions/0011-identity.md.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

import cbor2
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import load_pem_public_key

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
INFO = b"door-kiosk identity 1"
BLOCK = 256
"""A card's number, name and birth date take about 100 bytes; an address and a phone fit in as well."""
KIND, NUMBER, NAME, BORN, ADDRESS, PHONE = 1, 2, 3, 4, 5, 6
"""Keys of the sealed map. KIND is the namespace of NUMBER: "id", "qid", "bhyt", "cert"."""

Seal = Callable[["Identity"], str]
"""Gives base64, for JSON; empty where there is nobody to seal to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a code says somebody is. It lives inside a parser only, and prints as nothing."""

    kind: str
    number: str = field(repr=False)
    name: str = field(repr=False)
    born: str = field(repr=False)
    address: str = field(repr=False, default="")
    phone: str = field(repr=False, default="")


def no_seal(_identity: Identity) -> str:
    """For a door whose city has named no health authority: nothing of the identity goes on."""
    return ""


def seal_for(authority_pem: bytes) -> Seal:
    """Give the function that seals to the authority's PEM public key.

    Raises:
        ValueError: it is no X25519 public key.
    """
    try:
        key = load_pem_public_key(authority_pem)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ValueError("the health authority's key is not a PEM public key (-----BEGIN PUBLIC KEY-----)") from err
    if not isinstance(key, X25519PublicKey):
        wrong = "the health authority's key is not an X25519 key: make it with `city keys`"
        raise ValueError(wrong)  # noqa: TRY004 - the file is wrong, not the call
    return lambda identity: base64.b64encode(SUITE.encrypt(_filled(_encoded(identity)), key, INFO)).decode()


def opened(sealed: str, key: X25519PrivateKey) -> Identity | None:
    """Who it is, for the health authority; None where it was not sealed to this key, or was changed."""
    try:
        fields = cbor2.loads(SUITE.decrypt(base64.b64decode(sealed, validate=True), key, INFO).rstrip(b"\0"))
    except (InvalidTag, ValueError, cbor2.CBORDecodeError):
        return None
    return Identity(
        kind=fields[KIND],
        number=fields[NUMBER],
        name=fields[NAME],
        born=fields[BORN],
        address=fields.get(ADDRESS, ""),
        phone=fields.get(PHONE, ""),
    )


def _encoded(identity: Identity) -> bytes:
    fields = {
        KIND: identity.kind,
        NUMBER: identity.number,
        NAME: identity.name,
        BORN: identity.born,
        ADDRESS: identity.address,
        PHONE: identity.phone,
    }
    return cbor2.dumps({key: value for key, value in fields.items() if value or key < ADDRESS})


def _filled(content: bytes) -> bytes:
    """Zero bytes to a whole block: CBOR knows its own end, and its map here ends in text, never in a zero byte."""
    return content + bytes(-len(content) % BLOCK)
