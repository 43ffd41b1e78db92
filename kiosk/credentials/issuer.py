"""Says who may sign what: a public key, the uses it was given, and the time its certificate is for.

Reads certificates (X.509) and SMART Health Cards' keys (JWK); knows no file, and trusts whatever it is handed. Called
by `kiosk.credentials.keyring` and by whoever brings keys.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

KID_BYTES = 8
"""Of a certificate's kid: the start of SHA-256 over its DER (EU hcert_spec 1.0.8)."""
LEAST_RSA_BITS = 2048
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
"""Certificates should be on P-256; Spain has one on P-384."""
PEM_START = b"-----BEGIN"


class Use(StrEnum):
    """What a key may sign. The values of the last three are those of `kiosk.messages.CertificateKind`.

    `CITY` is the city's own key, given at provisioning: it signs what the kiosk trusts and judges by.
    """

    CITY = "city"
    DECLARATION = "declaration"
    VACCINATION = "vaccination"
    TEST = "test"
    RECOVERY = "recovery"


CERTIFICATE_USES = frozenset({Use.VACCINATION, Use.TEST, Use.RECOVERY})
_USE_BY_NUMBER: Mapping[int, Use] = MappingProxyType({1: Use.TEST, 2: Use.VACCINATION, 3: Use.RECOVERY})
_ARCS = ("1.3.6.1.4.1.1847.2021.1", "1.3.6.1.4.1.0.1847.2021.1")
"""The first specification had the zero, and certificates still have."""
ICAO_SEALS = "2.23.136.1.1.14."
"""Purposes of those who sign ICAO's visible digital seals, and nothing else."""
_OID_IN_DER = re.compile(rb"\x06[\x0b\x0c]\x2b\x06\x01\x04\x01\x00?\x8e\x37\x8f\x65\x01([\x01-\x03])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A trusted key, and what it is trusted for.

    `kid` is what codes call it by. `not_before` and `not_after` are its certificate's, where it has one. `url` is the
    `iss` of a SMART Health Card issuer, empty for others.
    """

    kid: bytes
    key: PublicKey
    uses: frozenset[Use]
    not_before: datetime | None = None
    not_after: datetime | None = None
    url: str = ""

    def may_sign(self, use: Use, at: datetime | None) -> bool:
        """Whether the key had this use at this time; a signature that bears no time is not held against its dates."""
        dated = at is None or (
            (self.not_before is None or self.not_before <= at) and (self.not_after is None or at <= self.not_after)
        )
        return use in self.uses and dated

    def end(self, expires_at: datetime) -> datetime:
        """Until when a signature counts: no longer than its key."""
        return min(expires_at, self.not_after) if self.not_after else expires_at

    @classmethod
    def from_certificate(cls, certificate: bytes) -> Self:
        """Read an X.509 certificate in DER or PEM. Raises ValueError for one that cannot sign health certificates.

        One that names no purposes at all may sign all kinds of health certificates, and never a declaration.
        """
        try:
            pem = certificate.lstrip().startswith(PEM_START)
            read = (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(certificate)
            key, uses = read.public_key(), _uses(read)
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as err:
            raise ValueError("not an X.509 certificate that can be read") from err
        der = read.public_bytes(Encoding.DER)
        return cls(
            kid=hashlib.sha256(der).digest()[:KID_BYTES],
            key=_signing_key(key),
            uses=uses,
            not_before=read.not_valid_before_utc,
            not_after=read.not_valid_after_utc,
        )

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object], *, url: str) -> Self:
        """Read a SMART Health Card issuer's public key. Raises ValueError for another kind, or under a wrong kid."""
        needed = {name: jwk.get(name) for name in ("crv", "kty", "x", "y")}
        if needed["kty"] != "EC" or needed["crv"] != "P-256" or not url:
            raise ValueError("not the elliptic-curve key on P-256 of a named issuer")
        thumbprint = hashlib.sha256(json.dumps(needed, separators=(",", ":"), sort_keys=True).encode()).digest()
        if jwk.get("kid") != base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode():
            raise ValueError("the kid is not the key's thumbprint (RFC 7638)")
        x, y = (int.from_bytes(base64.urlsafe_b64decode(f"{needed[name]}==")) for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        return cls(kid=thumbprint, key=key, uses=CERTIFICATE_USES, url=url)


def by_kid(issuers: Iterable[Issuer]) -> dict[bytes, tuple[Issuer, ...]]:
    """Sort issuers by kid; several may share one."""
    found: dict[bytes, tuple[Issuer, ...]] = {}
    for issuer in issuers:
        found[issuer.kid] = (*found.get(issuer.kid, ()), issuer)
    return found


def _uses(certificate: x509.Certificate) -> frozenset[Use]:
    """Give the purposes among ours. Where there are none, general ones (TLS, mail) change nothing; ICAO's exclude."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return CERTIFICATE_USES
    except ValueError:  # an extension in a form that DER forbids, as Finland's: look for the purposes' own encoding
        named = frozenset(
            _USE_BY_NUMBER[found[1][0]] for found in _OID_IN_DER.finditer(certificate.tbs_certificate_bytes)
        )
        return named or CERTIFICATE_USES
    purposes = {oid.dotted_string for oid in usage}
    named = frozenset(use for number, use in _USE_BY_NUMBER.items() if purposes & {f"{arc}.{number}" for arc in _ARCS})
    elsewhere = any(purpose.startswith(ICAO_SEALS) for purpose in purposes)
    return named or (frozenset() if elsewhere else CERTIFICATE_USES)


def _signing_key(key: object) -> PublicKey:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES):
        return key
    raise ValueError(f"the certificate's key is neither on a NIST curve nor RSA of {LEAST_RSA_BITS} bits or more")
