"""Holds the two kinds of keys that reading a payload needs. Knows no file; `kiosk.config` brings the bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kiosk.credentials.cose import PublicKey, kid_of

SUBJECT_KEY_BYTES = 32
"""The least length of the pseudonym key: the output size of its SHA-256 (RFC 2104, section 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """What a kiosk needs to read credentials.

    `subject_key` makes the pseudonyms and is the same city-wide. `issuers` holds the trusted public keys by kid;
    two keys may share one. Raises ValueError for a subject key under 32 bytes.
    """

    subject_key: bytes = field(repr=False)
    issuers: Mapping[bytes, tuple[PublicKey, ...]]

    def __post_init__(self) -> None:
        if len(self.subject_key) < SUBJECT_KEY_BYTES:
            raise ValueError(f"the subject key has {len(self.subject_key)} bytes; it needs {SUBJECT_KEY_BYTES}")

    @classmethod
    def from_pem(cls, *, subject_key: bytes, issuer_pems: Sequence[bytes]) -> Self:
        """Read issuers from PEM public keys. Raises ValueError for anything but a P-256 public key."""
        issuers: dict[bytes, tuple[PublicKey, ...]] = {}
        for position, pem in enumerate(issuer_pems, start=1):
            key = _p256(pem, position)
            kid = kid_of(key)
            issuers[kid] = (*issuers.get(kid, ()), key)
        return cls(subject_key=subject_key, issuers=issuers)


def _p256(pem: bytes, position: int) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise ValueError(f"issuer key {position} is not a PEM public key (-----BEGIN PUBLIC KEY-----)") from err
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        wrong = f"issuer key {position} is not an elliptic-curve key on P-256, which ES256 needs"
        raise ValueError(wrong)  # noqa: TRY004 - the file is wrong, not the call
    return key
