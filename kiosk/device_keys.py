"""The key and certificate with which this door logs in at the broker, and how they are renewed.

What a technician brought stays where it is and is never written to: `/etc` is read-only for the daemon. A renewed pair
is one file beside the outbox, with key and certificates in it, so that a power cut leaves the old pair or the new one,
and never a key without its certificate. Of both pairs the one whose certificate begins later counts. A key is made
here and never leaves. `kiosk.errands` calls it for commands; `newest_pair` is for whoever connects.
"""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kiosk.city_files import write_whole

PAIR, NEXT_KEY = "device.pem", "device-next.key"
_UNREADABLE = (OSError, ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension)
_E = TypeVar("_E", bound=x509.ExtensionType)


class DeviceKeys:
    """One door's key and certificate.

    Args:
        folder: exists, and is this kiosk's own.
        device: who we are: the common name.
        certificate_file: the technician's; empty if the door logs in by name and password.
        key_file: its key.
        ca_file: the authorities that the site trusts; empty: none of its own.
    """

    def __init__(self, folder: Path, device: str, *, certificate_file: str, key_file: str, ca_file: str) -> None:
        self._pair, self._next_key = folder / PAIR, folder / NEXT_KEY
        self._device = device
        self._certificate_file, self._key_file, self._ca_file = certificate_file, key_file, ca_file

    @property
    def renewed_file(self) -> str:
        """Where a renewed pair stands, if there is one."""
        return str(self._pair)

    @property
    def used(self) -> bool:
        """Whether this door logs in with a certificate at all."""
        return bool(self._certificate_file)

    @property
    def certificate(self) -> x509.Certificate | None:
        """The one in use; None if there is none that can be read."""
        chain = _chain(Path(newest_pair(self.renewed_file, self._certificate_file, self._key_file)[0]))
        return chain[0] if chain else None

    def new_request(self) -> str:
        """Make the next key, in place of one that still waits for its certificate; the answer is its request, in PEM.

        Raises:
            OSError: the disk refuses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_secret(self._next_key, pem)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._device)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return request.public_bytes(Encoding.PEM).decode("ascii")

    def install(self, text: str, now: datetime) -> str:
        """Take the next key into use with its certificate, and authorities behind it if any; or say why not.

        Raises:
            OSError: the disk refuses.
        """
        try:
            key_pem = self._next_key.read_bytes()
        except FileNotFoundError:
            return "no key waits for a certificate: order rotate_key first"
        try:
            chain = x509.load_pem_x509_certificates(text.encode("ascii"))
            objection = self._objection(chain, key_pem, now)
        except _UNREADABLE as error:
            return f"text is no certificate in PEM that can be used ({type(error).__name__})"
        if objection:
            return objection
        _write_secret(self._pair, key_pem + b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        self._next_key.unlink()
        return ""

    def _objection(self, chain: list[x509.Certificate], key_pem: bytes, now: datetime) -> str:
        leaf, held = chain[0], self.certificate
        names = [attribute.value for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        purposes = _extension(leaf, x509.ExtendedKeyUsage)
        authorities = _chain(Path(self._ca_file)) if self._ca_file else []
        known = held is not None and _signer(leaf) == _signer(held)
        tests = {
            "is not for the key that was asked for last": load_pem_private_key(key_pem, None).public_key()
            == leaf.public_key(),
            "names another device": names == [self._device],
            "is not valid now": leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc,
            "is older than the one in use": held is None or leaf.not_valid_before_utc >= held.not_valid_before_utc,
            "is not for clients": purposes is None or ExtendedKeyUsageOID.CLIENT_AUTH in purposes,
            "is by no authority in ca_file, and not by the one that signed that in use": known
            or _leads_to(chain, authorities),
        }
        return next((f"the certificate {what}" for what, good in tests.items() if not good), "")


def newest_pair(renewed_file: str, certificate_file: str, key_file: str) -> tuple[str, str]:
    """The files of certificate and key to log in with: the renewed pair if there is one, unless a newer was brought."""
    if not renewed_file or not certificate_file:
        return certificate_file, key_file
    renewed, brought = _chain(Path(renewed_file)), _chain(Path(certificate_file))
    if not renewed or not _is_of(renewed[0], Path(renewed_file)):
        return certificate_file, key_file
    if brought and brought[0].not_valid_before_utc > renewed[0].not_valid_before_utc:
        return certificate_file, key_file
    return renewed_file, renewed_file


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except _UNREADABLE:
        return []


def _is_of(certificate: x509.Certificate, key_file: Path) -> bool:
    try:
        return load_pem_private_key(key_file.read_bytes(), None).public_key() == certificate.public_key()
    except _UNREADABLE:
        return False


def _signer(certificate: x509.Certificate) -> tuple[x509.Name, bytes | None]:
    """Name an authority by its name and its key. The command's signature vouches; this is against a mix-up."""
    key = _extension(certificate, x509.AuthorityKeyIdentifier)
    return certificate.issuer, key.key_identifier if key else None


def _leads_to(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> bool:
    """Whether each certificate is signed by the next, and the last by an authority, or is one."""
    return all(_signed(lower, upper) for lower, upper in pairwise(chain)) and (
        chain[-1] in authorities or any(_signed(chain[-1], authority) for authority in authorities)
    )


def _signed(lower: x509.Certificate, upper: x509.Certificate) -> bool:
    constraints = _extension(upper, x509.BasicConstraints)
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return constraints is not None and constraints.ca


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _write_secret(path: Path, content: bytes) -> None:
    """Write as `write_whole` does, for the owner alone."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=0o600)
    write_whole(path, content)
