"""Holds the keys that reading a payload needs, and what else the city says of codes. Knows no file.

`kiosk.city_data` brings it from the city's bundle.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kiosk.credentials.cose import kid_of
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.credentials.sealing import Seal, no_seal

SUBJECT_KEY_BYTES = 32
"""The least length of the pseudonym key: the output size of its SHA-256 (RFC 2104, section 3)."""
DIGEST_BYTES = 16
"""Of a digest by which a certificate is revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """What a kiosk needs to read credentials.

    `subject_key` makes the pseudonyms and is the same city-wide. `issuers` holds the trusted issuers by kid;
    several may share one. `seal` closes identities to the health authority's key. `revoked` holds the digests of
    certificates that no longer count, `links` the beginnings of texts that only the city can resolve. Raises ValueError
    for a subject key under 32 bytes.
    """

    subject_key: bytes = field(repr=False)
    issuers: Mapping[bytes, tuple[Issuer, ...]]
    seal: Seal = field(default=no_seal, repr=False)
    revoked: frozenset[bytes] = frozenset()
    links: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.subject_key) < SUBJECT_KEY_BYTES:
            raise ValueError(f"the subject key has {len(self.subject_key)} bytes; it needs {SUBJECT_KEY_BYTES}")

    @classmethod
    def from_pem(cls, *, subject_key: bytes, issuer_pems: Sequence[bytes]) -> Self:
        """Read issuers of declarations from PEM public keys. Raises ValueError for anything but a P-256 public key."""
        keys = [_p256(pem, position) for position, pem in enumerate(issuer_pems, start=1)]
        uses = frozenset({Use.DECLARATION})
        return cls(subject_key=subject_key, issuers=by_kid(Issuer(kid=kid_of(key), key=key, uses=uses) for key in keys))

    def with_issuers(self, issuers: Iterable[Issuer]) -> Self:
        """Give the same keyring with these trusted too."""
        return replace(self, issuers=by_kid([*(each for some in self.issuers.values() for each in some), *issuers]))


def digest_of(name: bytes) -> bytes:
    """Name one certificate for revocation, by its own id or by what was signed.

    Never by the whole code: whoever holds an ES256 signature can make a second good one of it, hence another code.
    """
    return hashlib.sha256(name).digest()[:DIGEST_BYTES]


def city_issuers(pem: bytes) -> dict[bytes, tuple[Issuer, ...]]:
    """What the city's own key is trusted for. Raises ValueError for anything but a P-256 public key in PEM."""
    key = _p256(pem, 1)
    return by_kid([Issuer(kid=kid_of(key), key=key, uses=frozenset({Use.CITY}))])


def _p256(pem: bytes, position: int) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ValueError(f"issuer key {position} is not a PEM public key (-----BEGIN PUBLIC KEY-----)") from err
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        wrong = f"issuer key {position} is not an elliptic-curve key on P-256, which ES256 needs"
        raise ValueError(wrong)  # noqa: TRY004 - the file is wrong, not the call
    return key
