"""The city's signatures: COSE_Sign1 with ES256, and the keys they are made with.

Signs whatever it is handed; the tests make forgeries with it. Called by `city.declare`, `city.trust` and `city.risk`.
"""

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from kiosk.credentials.cose import ALG, ES256, KID, kid_of


def sign1(content: bytes, *, key: ec.EllipticCurvePrivateKey, kid: bytes | None = None) -> bytes:
    """Sign with ES256. `kid` names another key than `key`, for a forgery."""
    named = kid_of(key.public_key()) if kid is None else kid
    protected = cbor2.dumps({ALG: ES256, KID: named})
    signed = cbor2.dumps(["Signature1", protected, b"", content])
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return cbor2.dumps([protected, {}, content, r.to_bytes(32) + s.to_bytes(32)])


def new_key() -> bytes:
    """Make an issuer's private key: P-256, PEM, not encrypted."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(private_pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read an issuer's private key. Raises ValueError for anything but an unencrypted P-256 key in PEM."""
    try:
        key = load_pem_private_key(private_pem, password=None)
    except (TypeError, ValueError) as err:
        raise ValueError("the issuer's key is not an unencrypted private key in PEM") from err
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        wrong = "the issuer's key is not an elliptic-curve key on P-256, which ES256 needs"
        raise ValueError(wrong)  # noqa: TRY004 - the file is wrong, not the call
    return key


def public_pem(private_pem: bytes) -> bytes:
    """Give the public half, which kiosks get. Raises ValueError like `load_key`."""
    return load_key(private_pem).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
