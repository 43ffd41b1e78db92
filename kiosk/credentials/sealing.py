"""Seals who a person is to the health authority's key; nothing else on the device can open it.

HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305: the Pi 4 has no AES instructions. What is sealed is
a CBOR map, filled up to a multiple of `BLOCK` bytes so that its length says little. The parsers call `Seal`; the health
authority opens with `opened`. docs/decisions/0011-identity.md.
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
KIND, NUMBER, NAME, BORN, ADDRESS, PHONE, DOCUMENT = 1, 2, 3, 4, 5, 6, 7
"""Keys of the sealed map."""
END = b"\1"
"""Closes the map, so that zero bytes after it are none of its own, whatever a card says."""
MOST_CHARACTERS = 200
"""Of each text; the rest is cut. A code holds 2,953 bytes, and no event may grow by what a stranger writes into one."""

Seal = Callable[["Identity"], str]
"""Gives base64, for JSON; empty where there is nobody to seal to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a code says somebody is. It lives inside a parser only, and prints as nothing.

    `kind` is the namespace of `number`: "id", "qid", "bhyt", and "cert" for the id of a certificate. `born` is as the
    code writes it. `document` is what a card shows as its number where that is not the key: masked, or a passport's.
    """

    kind: str
    number: str = field(repr=False)
    name: str = field(repr=False)
    born: str = field(repr=False)
    address: str = field(repr=False, default="")
    phone: str = field(repr=False, default="")
    document: str = field(repr=False, default="")


_NAMES = {
    KIND: "kind",
    NUMBER: "number",
    NAME: "name",
    BORN: "born",
    ADDRESS: "address",
    PHONE: "phone",
    DOCUMENT: "document",
}


def no_seal(_identity: Identity) -> str:
    """For a door whose city has named no health authority: nothing of the identity goes on."""
    return ""


def seal_for(authority_pem: bytes) -> Seal:
    """Give the function that seals to the authority's PEM public key.

    Raises:
        ValueError: it is no X25519 public key, or one to which nothing can be sealed.
    """
    try:
        key = load_pem_public_key(authority_pem)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ValueError("the health authority's key is not a PEM public key (-----BEGIN PUBLIC KEY-----)") from err
    if not isinstance(key, X25519PublicKey):
        wrong = "the health authority's key is not an X25519 key: make it with `city keys`"
        raise ValueError(wrong)  # noqa: TRY004 - the file is wrong, not the call
    try:
        SUITE.encrypt(END, key, INFO)
    except ValueError as err:  # a point of low order: better now than at every visitor
        raise ValueError("the health authority's key is not one that can be sealed to") from err
    return lambda identity: base64.b64encode(SUITE.encrypt(_filled(_encoded(identity)), key, INFO)).decode()


def opened(sealed: str, key: X25519PrivateKey) -> Identity | None:
    """Who it is, for the health authority.

    None where it was not sealed to this key, or was changed, or holds no identity: anybody can seal to a public key.
    """
    try:
        content = SUITE.decrypt(base64.b64decode(sealed, validate=True), key, INFO)
        fields = cbor2.loads(content.rstrip(b"\0").removesuffix(END))
        told = {name: fields.get(at, "") for at, name in _NAMES.items()}
    except (InvalidTag, ValueError, AttributeError, cbor2.CBORDecodeError):
        return None
    return Identity(**told) if all(isinstance(text, str) for text in told.values()) and told["kind"] else None


def _encoded(identity: Identity) -> bytes:
    told = ((key, getattr(identity, name)) for key, name in _NAMES.items())
    # A JSON text can spell half a surrogate pair, which UTF-8 cannot.
    cut = ((key, text[:MOST_CHARACTERS].encode(errors="replace").decode()) for key, text in told if text)
    return cbor2.dumps(dict(cut))


def _filled(content: bytes) -> bytes:
    closed = content + END
    return closed + bytes(-len(closed) % BLOCK)
