"""Makes the city's trust bundle: the one document that tells kiosks whom to believe.

Signs what it is told. Called by `city.cli`, the demo and the tests.
"""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from city.signing import load_key, sign1
from kiosk.credentials.cose import kid_of
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.trust import Bundle, Issuers, encoded


def signed(bundle: Bundle, *, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a bundle as it is."""
    return sign1(encoded(bundle), key=key)


def issuer_of(private_pem: bytes, *uses: Use) -> Issuer:
    """The issuer whose private key this is."""
    key = load_key(private_pem).public_key()
    return Issuer(kid=kid_of(key), key=key, uses=frozenset(uses))


def city_issuers(private_pem: bytes) -> Issuers:
    """What a kiosk makes of the city's public key."""
    return by_kid([issuer_of(private_pem, Use.CITY)])


def new_authority() -> tuple[bytes, bytes]:
    """Make the health authority's key pair, X25519: private and public PEM."""
    key = X25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
