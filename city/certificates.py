"""Certificates for the city's broker, its own programs and its kiosks; strict enough for Python 3.13 (RFC 5280).

Two authorities, so that neither's theft is the whole loss: the city's signs the broker and the city's programs and can
stay in a drawer; the devices' signs kiosks, day by day, and the broker believes it at the kiosks' listener only.
Decides which names may be had and for how long; knows no file, no clock and nothing of MQTT. Keys are P-256. Called by
`city.certificates_cli`, the demo's broker, the tortures and the tests.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from city.signing import load_key

DEVICE = re.compile(r"[a-z0-9-]{1,64}")
"""As `[door] device` in kiosk.toml: a topic level, and nothing a pattern of the ACL could take for more."""
CITY_PREFIX = "city-"
"""The city's users at the broker are called so; no kiosk is, or it would have their rights."""
BACKDATED = timedelta(hours=1)
"""So long ago a certificate begins: a kiosk's clock may be behind, and the city's ahead."""
EARLIEST, LATEST = 1 / 2, 2 / 3
"""Share of a certificate's life within which it is renewed; each at its own moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs, and what others know it by."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_authority(name: str, now: datetime, lifetime: timedelta) -> Authority:
    """Make a certificate authority that signs certificates and no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(name)
    draft = (
        _draft(subject, subject, key.public_key(), now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return Authority(certificate=draft.sign(key, hashes.SHA256()), key=key)


def read_authority(certificate_pem: bytes, key_pem: bytes) -> Authority:
    """Read an authority's certificate and key. Raises ValueError if they are not, or not of each other."""
    certificate, key = x509.load_pem_x509_certificate(certificate_pem), load_key(key_pem)
    if certificate.public_key() != key.public_key():
        raise ValueError("the authority's certificate is not that of its key")
    return Authority(certificate=certificate, key=key)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """As it is written to a file."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """As it is written to a file: PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_server(authority: Authority, names: Iterable[str], now: datetime, lifetime: timedelta) -> tuple[bytes, bytes]:
    """Make a broker's certificate and key, in PEM, for host names and IP addresses; the first is its common name.

    Raises ValueError for no name, or a life beyond the authority's.
    """
    wanted = list(names)
    if not wanted:
        raise ValueError("a broker's certificate needs a name or an address that clients connect to")
    key = ec.generate_private_key(ec.SECP256R1())
    stated = x509.SubjectAlternativeName([_address(name) for name in wanted])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    return _issued(authority, wanted[0], key.public_key(), purpose, now, lifetime, stated), key_pem(key)


def new_user(authority: Authority, name: str, now: datetime, lifetime: timedelta) -> tuple[bytes, bytes]:
    """Make the certificate and key, in PEM, of one of the city's own users at the broker.

    Raises ValueError for a name that does not begin with `CITY_PREFIX`, or a life beyond the authority's.
    """
    if not DEVICE.fullmatch(name) or not name.startswith(CITY_PREFIX):
        raise ValueError(f"{name!r} is no user of the city's: they begin with {CITY_PREFIX}")
    key = ec.generate_private_key(ec.SECP256R1())
    return _issued(authority, name, key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime), key_pem(key)


def new_device(authority: Authority, name: str, now: datetime, lifetime: timedelta) -> tuple[bytes, bytes]:
    """Make a kiosk's certificate and key, in PEM, for trials: a real kiosk makes its key itself (`sign_request`).

    Raises ValueError for a name that no kiosk may have, or a life beyond the authority's.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public, purpose = key.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH
    return _issued(authority, _device(name), public, purpose, now, lifetime), key_pem(key)


def request_pem(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Ask for a certificate, as a kiosk does: PKCS #10 in PEM, signed by the key it is about."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_named(name))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def sign_request(
    csr_pem: bytes, authority: Authority, now: datetime, lifetime: timedelta, *, device: str = ""
) -> tuple[str, bytes]:
    """Sign a kiosk's request, the first or a renewal; the answer is its name and its certificate in PEM.

    Nothing of the request counts but the name and the key. `device`: the only name that is signed, where the city
    knows who asks. Raises ValueError, with the reason, for a request that is refused.
    """
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key, sound = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise ValueError("not a certificate request in PEM") from error
    if not sound:
        raise ValueError("the request is not signed by the key it is about")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the request's key is not on P-256")  # noqa: TRY004 - the file is wrong, not the call
    if len(request.subject) != 1 or request.subject.rdns[0].get_attributes_for_oid(NameOID.COMMON_NAME) == []:
        raise ValueError("the request names something else than one common name")
    name = _device(str(next(iter(request.subject)).value))
    if device and name != device:
        raise ValueError(f"the request is of {name}, not of {device}")
    return name, _issued(authority, name, key, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime)


def renew_at(certificate: x509.Certificate) -> datetime:
    """When it is time to renew, between `EARLIEST` and `LATEST` of its life.

    The serial number is random, and the moment comes from it: kiosks set up in one afternoon do not come back in one.
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    share = EARLIEST + (LATEST - EARLIEST) * (certificate.serial_number % 10_000) / 10_000
    return begins + (ends - begins) * share


def _issued(
    authority: Authority,
    name: str,
    key: ec.EllipticCurvePublicKey,
    purpose: x509.ObjectIdentifier,
    now: datetime,
    lifetime: timedelta,
    names: x509.SubjectAlternativeName | None = None,
) -> bytes:
    if now + lifetime > authority.certificate.not_valid_after_utc:
        raise ValueError(f"{name}: would outlive its authority, {authority.certificate.not_valid_after_utc:%Y-%m-%d}")
    issuer = authority.key.public_key()
    draft = (
        _draft(_named(name), authority.certificate.subject, key, now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )
    draft = draft.add_extension(names, critical=False) if names else draft
    return certificate_pem(draft.sign(authority.key, hashes.SHA256()))


def _device(name: str) -> str:
    if not DEVICE.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is no kiosk's name: 1 to 64 lower-case letters, digits and dashes")
    if name.startswith(CITY_PREFIX):
        raise ValueError(f"{name!r} is no kiosk's name: the city's users begin with {CITY_PREFIX}")
    return name


def _address(name: str) -> x509.GeneralName:
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        return x509.DNSName(name)
    return x509.IPAddress(address)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
