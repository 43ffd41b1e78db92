"""Signs health certificates of nobody: HC1 codes under X.509 certificates, and SMART Health Cards."""

import base64
import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

import base45
import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kiosk.credentials import Keyring
from kiosk.credentials.cose import ALG, ES256, KID, PS256
from kiosk.credentials.issuer import Issuer

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Parts = dict[object, object]

SUBJECT_KEY = b"k" * 32
VALID_FROM, VALID_UNTIL = datetime(2021, 5, 1, tzinfo=UTC), datetime(2023, 5, 1, tzinfo=UTC)
ISSUED, EXPIRES = datetime(2021, 12, 20, 3, 0, tzinfo=UTC), datetime(2022, 12, 20, 3, 0, tzinfo=UTC)
TEST_OID, VACCINATION_OID, RECOVERY_OID = (f"1.3.6.1.4.1.1847.2021.1.{number}" for number in (1, 2, 3))

VACCINATION: Parts = {
    "tg": "840539006",
    "vp": "1119349007",
    "mp": "EU/1/20/1528",
    "ma": "ORG-100030215",
    "dn": 2,
    "sd": 2,
    "dt": "2021-09-15",
    "co": "VN",
    "is": "Bộ Y tế",
    "ci": "URN:UVCI:01:VN:000000000001#A",
}
TEST: Parts = {
    "tg": "840539006",
    "tt": "LP6464-4",
    "sc": "2021-12-19T20:30:00+07:00",
    "tr": "260415000",
    "tc": "Đà Nẵng",
    "co": "VN",
    "is": "Bộ Y tế",
    "ci": "URN:UVCI:01:VN:000000000002#B",
}
RECOVERY: Parts = {
    "tg": "840539006",
    "fr": "2021-08-01",
    "df": "2021-08-12",
    "du": "2022-01-28",
    "co": "VN",
    "is": "Bộ Y tế",
    "ci": "URN:UVCI:01:VN:000000000003#C",
}
NAMES: Parts = {"fn": "Nguyễn", "fnt": "NGUYEN", "gn": "Văn An", "gnt": "VAN<AN"}


def payload(**events: object) -> Parts:
    """Give a certificate's payload: of a vaccination, unless told otherwise."""
    content: Parts = {"ver": "1.3.0", "nam": NAMES, "dob": "1990-02-01"}
    content.update((events or {"v": [VACCINATION]}).items())
    return content


def certificate(key: PrivateKey, *purposes: str, serial: int = 1) -> bytes:
    """Give a self-made X.509 certificate for a signing key, in DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    draft = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
    )
    if purposes:
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose) for purpose in purposes])
        draft = draft.add_extension(usage, critical=False)
    return draft.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def keyring(*issuers: Issuer) -> Keyring:
    """Trust these issuers, and no others."""
    return Keyring(subject_key=SUBJECT_KEY, issuers={}).with_issuers(issuers)


def signature(key: PrivateKey, signed: bytes) -> bytes:
    """Sign by the one algorithm that goes with the kind of key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    size = (key.key_size + 7) // 8
    return r.to_bytes(size) + s.to_bytes(size)


def claims(content: object, **changes: object) -> Parts:
    """Give the claims around a payload."""
    times = {"iat": int(ISSUED.timestamp()), "exp": int(EXPIRES.timestamp())} | changes
    return {1: "VN", 4: times["exp"], 6: times["iat"], -260: {1: content}}


def message(key: PrivateKey, kid: bytes, content: Parts, *, protected: Parts | None = None) -> bytes:
    """Give a signed COSE message with the kid in the protected header."""
    algorithm = PS256 if isinstance(key, rsa.RSAPrivateKey) else ES256
    header = cbor2.dumps({ALG: algorithm, KID: kid} if protected is None else protected)
    body = cbor2.dumps(content)
    return cbor2.dumps(
        cbor2.CBORTag(18, [header, {}, body, signature(key, cbor2.dumps(["Signature1", header, b"", body]))])
    )


def wrapped(cose: bytes) -> bytes:
    """Make the text of a code from a message."""
    text: bytes = base45.b45encode(zlib.compress(cose))
    return b"HC1:" + text


def hc1(key: PrivateKey, issuer: Issuer, content: object = None, **changes: object) -> bytes:
    """Give the text of a whole code; `changes` are of the claims."""
    return wrapped(message(key, issuer.kid, claims(payload() if content is None else content, **changes)))


# SMART Health Cards.

URL = "https://health.example/issuer"
COVID = ("https://smarthealth.cards#health-card", "https://smarthealth.cards#covid19")
PATIENT: Mapping[str, object] = {
    "resourceType": "Patient",
    "name": [{"family": "Nguyễn", "given": ["Văn", "An"]}],
    "birthDate": "1990-02-01",
}


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, object]:
    """Give the public key with its thumbprint, as issuers publish it."""
    numbers = key.public_key().public_numbers()
    x, y = (coded(number.to_bytes(32)) for number in (numbers.x, numbers.y))
    digest = hashes.Hash(hashes.SHA256())
    digest.update(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode())
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": coded(digest.finalize()), "use": "sig", "alg": "ES256"}


def coded(content: bytes) -> str:
    """Give base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def dose(day: str, code: str = "208", **changes: object) -> dict[str, object]:
    """Give one completed vaccination."""
    coding = [{"system": "http://hl7.org/fhir/sid/cvx", "code": code}]
    return {
        "resourceType": "Immunization",
        "status": "completed",
        "vaccineCode": {"coding": coding},
        "occurrenceDateTime": day,
        **changes,
    }


def result(day: str, code: str = "260415000", **changes: object) -> dict[str, object]:
    """Give one final laboratory result."""
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "94558-4"}]},
        "effectiveDateTime": day,
        "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": code}]},
        **changes,
    }


def card(*resources: object, types: object = COVID, **changes: object) -> dict[str, object]:
    """Give the payload of a card with these entries."""
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": f"resource:{at}", "resource": resource} for at, resource in enumerate(resources)],
    }
    subject = {"fhirVersion": "4.0.1", "fhirBundle": bundle}
    return {
        "iss": URL,
        "nbf": ISSUED.timestamp(),
        "vc": {"type": types, "credentialSubject": subject},
    } | changes


def jws(key: ec.EllipticCurvePrivateKey, content: object, **header: object) -> str:
    """Sign a card's payload; `header` changes the header."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = packer.compress(content if isinstance(content, bytes) else json.dumps(content).encode()) + packer.flush()
    head = {"zip": "DEF", "alg": "ES256", "kid": jwk(key)["kid"]} | header
    signed = f"{coded(json.dumps(head).encode())}.{coded(body)}"
    return f"{signed}.{coded(signature(key, signed.encode()))}"


def digits(text: str) -> bytes:
    """Make the text of a code from a JWS."""
    return b"shc:/" + "".join(f"{ord(character) - 45:02}" for character in text).encode()
