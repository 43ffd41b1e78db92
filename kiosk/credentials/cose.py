"""Decides whether a COSE_Sign1 message (RFC 9052) is by a key we trust, and only then opens it.

It refuses to know what the claims mean, whether they are still valid, and whether the issuer may make them. Called by
the signed formats; it serves ES256 and PS256, with or without the tags 18 (COSE_Sign1) and 61 (CWT), so that EU
certificates (HC1) can use it too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kiosk.credentials.issuer import Issuer, PublicKey
from kiosk.messages import Reason, Refusal, Scheme

Claims = dict[object, object]

ALG, KID = 1, 4
"""Header parameters (RFC 9052, table 3)."""
ES256, PS256 = -7, -37
TAG_CWT, TAG_SIGN1 = b"\xd8\x3d", b"\xd2"
MAX_DEPTH = 12
"""Nesting allowed; the deepest EU test certificate at hand has 5."""
MAX_ITEMS = 600
"""CBOR items allowed in one message; the largest EU test certificate at hand has 69."""
_ARGUMENT_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}
_NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = 1, 2, 3, 4, 5, 6
DATE_TAGS = (0, 1)
"""The only tags content may hold: two countries tag the dates in their certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Content whose signature is good, and all the issuers whose key made it: never none, and rarely two."""

    content: bytes
    by: tuple[Issuer, ...]


def kid_of(key: PublicKey) -> bytes:
    """Name a key: the first 8 bytes of SHA-256 over its DER SubjectPublicKeyInfo."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()[:8]


def verify(cose: bytes, issuers: Mapping[bytes, tuple[Issuer, ...]], scheme: Scheme | None = None) -> Signed | Refusal:
    """Check the signature.

    Every issuer that bears the message's kid is tried. A protected header parameter wins over an unprotected one. An
    unprotected algorithm is no opening: each kind of key verifies by one algorithm only, whatever a header says.
    `scheme` goes into refusals.
    """

    def refuse(reason: Reason, detail: str) -> Refusal:
        return Refusal(reason=reason, detail=detail, scheme=scheme)

    message = load(cose.removeprefix(TAG_CWT).removeprefix(TAG_SIGN1))
    match message:
        case [bytes(protected), dict(unprotected), bytes(content), bytes(signature)]:
            pass
        case _:
            return refuse(Reason.MALFORMED, "message: not a COSE_Sign1 array")
    header = load(protected) if protected else {}
    if not isinstance(header, dict):
        return refuse(Reason.MALFORMED, "header: not a CBOR map")
    algorithm, kid = (header.get(name, unprotected.get(name)) for name in (ALG, KID))
    if algorithm not in (ES256, PS256):
        return refuse(Reason.MALFORMED, "header: no algorithm among ES256 and PS256")
    trusted = issuers.get(kid, ()) if isinstance(kid, bytes) else ()
    if not trusted:
        return refuse(Reason.ISSUER_UNKNOWN, "header: no trusted key bears this kid")
    # RFC 9052, section 4.4: a header without parameters is signed as no bytes, however it was sent.
    signed = cbor2.dumps(["Signature1", protected if header else b"", b"", content])
    by = tuple(issuer for issuer in trusted if is_good(issuer.key, algorithm, signature, signed))
    if not by:
        return refuse(Reason.SIGNATURE_INVALID, "signature: not by the key the kid names")
    return Signed(content=content, by=by)


def claims_of(signed: Signed, scheme: Scheme | None = None) -> Claims | Refusal:
    """Open what was signed: a CWT's claims."""
    claims = load(signed.content)
    if not isinstance(claims, dict):
        return Refusal(reason=Reason.MALFORMED, detail="claims: not a CBOR map", scheme=scheme)
    return claims


def is_good(key: PublicKey, algorithm: object, signature: bytes, signed: bytes) -> bool:
    """Whether the key made this signature by this algorithm (its COSE number; two integers side by side for ES256)."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
            key.verify(signature, signed, pss, hashes.SHA256())
            return algorithm == PS256
        size = (key.key_size + 7) // 8
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        return algorithm == ES256 and len(signature) == 2 * size
    except InvalidSignature:
        return False


def load(encoded: bytes) -> object:
    """Decode one CBOR item within bounds, or give None."""
    # The bounds come first: from other tags, cbor2 would build regular expressions and cycles before any signature
    # has been checked.
    if not within_bounds(encoded):
        return None
    try:
        return cbor2.loads(encoded)
    except (cbor2.CBORDecodeError, ValueError):  # a tagged 2021-99-99 escapes cbor2 as a plain ValueError
        return None


def within_bounds(encoded: bytes) -> bool:
    """Whether this is exactly one CBOR item of definite lengths, no tags but dates, neither too deep nor too large."""
    at, items, open_containers = 0, 0, [1]
    while open_containers:
        if not open_containers[-1]:
            open_containers.pop()
            continue
        open_containers[-1] -= 1
        head = _head(encoded, at)
        items += 1
        if head is None or items > MAX_ITEMS or len(open_containers) > MAX_DEPTH:
            return False
        major, argument, at = head
        if major in (_BYTES, _TEXT):
            at += argument
        elif major in (_ARRAY, _MAP):
            open_containers.append(argument if major == _ARRAY else 2 * argument)
        elif major == _TAG:
            open_containers.append(1)
            if argument not in DATE_TAGS:
                return False
    return at == len(encoded)


def _head(encoded: bytes, at: int) -> tuple[int, int, int] | None:
    """Read (major type, argument, where the content starts), or None where there is no definite head."""
    if at >= len(encoded):
        return None
    major, info = encoded[at] >> 5, encoded[at] & 31
    if info < min(_ARGUMENT_BYTES):
        return major, info, at + 1
    end = at + 1 + _ARGUMENT_BYTES.get(info, len(encoded))
    return (major, int.from_bytes(encoded[at + 1 : end]), end) if end <= len(encoded) else None
