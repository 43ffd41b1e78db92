"""Signs health certificates of made-up people, as a country of its own would: HC1 codes and SMART Health Cards.

Keys are fresh at every run. Decides nothing about people: it signs what it is told. Called by `demo.population`.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import base45
import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from demo.people import Person
from kiosk.credentials.cose import ALG, ES256, KID, PS256
from kiosk.credentials.hc1 import EXP, HCERT, IAT, ISS
from kiosk.credentials.issuer import Issuer
from kiosk.credentials.keyring import digest_of
from kiosk.credentials.sealing import Identity

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Event = Mapping[str, object]

COUNTRY = "XX"
"""ISO 3166-1 leaves it to its users."""
COVID = "840539006"
"""SNOMED CT, as the codes of test results below."""
DETECTED, NOT_DETECTED = "260373001", "260415000"
TESTS_ONLY = "1.3.6.1.4.1.1847.2021.1.1"
"""The purpose of a key that may sign tests and nothing else (EU hcert_spec)."""
CARDS_URL = "https://health.example/cards"
MONTH, YEAR = timedelta(days=30), timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A key and what it is known by."""

    key: PrivateKey
    issuer: Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """One code, the digest it would be revoked by, and whom it names."""

    code: bytes
    digest: bytes
    who: Identity


def signer(now: datetime, *purposes: str, rsa_key: bool = False) -> Signer:
    """A new key with an X.509 certificate from three months ago for two years; PS256 with an RSA key."""
    key: PrivateKey = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    draft = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * MONTH)
        .not_valid_after(now + 2 * YEAR)
    )
    if purposes:
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose) for purpose in purposes])
        draft = draft.add_extension(usage, critical=False)
    certificate = draft.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return Signer(key=key, issuer=Issuer.from_certificate(certificate))


def card_signer() -> Signer:
    """A new key of a SMART Health Card issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"crv": "P-256", "kty": "EC", "x": _coded(numbers.x.to_bytes(32)), "y": _coded(numbers.y.to_bytes(32))}
    digest = hashes.Hash(hashes.SHA256())
    digest.update(json.dumps(jwk, separators=(",", ":")).encode())
    return Signer(key=key, issuer=Issuer.from_jwk({**jwk, "kid": _coded(digest.finalize())}, url=CARDS_URL))


def vaccination(on: date, *, dose: int = 2, doses: int = 2) -> dict[str, list[Event]]:
    """One dose of a course."""
    facts = {"vp": "1119349007", "mp": "EU/1/20/1528", "ma": "ORG-100030215", "dn": dose, "sd": doses}
    return {"v": [{"tg": COVID, **facts, "dt": on.isoformat()}]}


def lab_test(at: datetime, result: str) -> dict[str, list[Event]]:
    """A laboratory test."""
    return {"t": [{"tg": COVID, "tt": "LP6464-4", "sc": at.isoformat(timespec="seconds"), "tr": result, "tc": "Lab"}]}


def recovery(first: date) -> dict[str, list[Event]]:
    """Of an infection first shown on that day."""
    days = {"fr": first, "df": first + timedelta(days=11), "du": first + timedelta(days=180)}
    return {"r": [{"tg": COVID, **{name: day.isoformat() for name, day in days.items()}}]}


def hc1(
    by: Signer,
    person: Person,
    events: Mapping[str, list[Event]],
    *,
    issued_at: datetime,
    lifetime: timedelta = YEAR,
    kid: bytes | None = None,
) -> Certified:
    """A whole code. `kid` names another key than the signer's, for a forgery."""
    ci = f"URN:UVCI:01:{COUNTRY}:{person.serial:012d}#A"
    given, family = person.plain_name.removeprefix(f"{_family(person)} "), _family(person)
    about = {"co": COUNTRY, "is": "Ministry of Health", "ci": ci}
    content = {
        "ver": "1.3.0",
        "nam": {"fn": person.family, "fnt": family, "gn": person.given, "gnt": given.replace(" ", "<")},
        "dob": person.born.isoformat(),
        **{name: [{**event, **about} for event in some] for name, some in events.items()},
    }
    times = {IAT: int(issued_at.timestamp()), EXP: int((issued_at + lifetime).timestamp())}
    body = cbor2.dumps({ISS: COUNTRY, **times, HCERT: {1: content}})
    algorithm = PS256 if isinstance(by.key, rsa.RSAPrivateKey) else ES256
    header = cbor2.dumps({ALG: algorithm, KID: by.issuer.kid if kid is None else kid})
    signature = _signature(by.key, cbor2.dumps(["Signature1", header, b"", body]))
    cose = cbor2.dumps(cbor2.CBORTag(18, [header, {}, body, signature]))
    text: bytes = base45.b45encode(zlib.compress(cose))
    who = Identity(kind="cert", number=ci, name=person.name, born=person.born.isoformat())
    return Certified(code=b"HC1:" + text, digest=digest_of(ci.encode()), who=who)


def health_card(by: Signer, person: Person, *days: date, issued_at: datetime) -> Certified:
    """A SMART Health Card with a vaccination on each of these days."""
    patient = {
        "resourceType": "Patient",
        "name": [{"family": person.family, "given": person.given.split()}],
        "birthDate": person.born.isoformat(),
    }
    resources = [patient, *(_immunization(day) for day in days)]
    entries = [{"fullUrl": f"resource:{at}", "resource": resource} for at, resource in enumerate(resources)]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    types = ["https://smarthealth.cards#health-card", "https://smarthealth.cards#covid19"]
    vc = {"type": types, "credentialSubject": {"fhirVersion": "4.0.1", "fhirBundle": bundle}}
    content = {"iss": CARDS_URL, "nbf": issued_at.timestamp(), "vc": vc}
    packer = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    packed = packer.compress(json.dumps(content, separators=(",", ":")).encode()) + packer.flush()
    header = {"zip": "DEF", "alg": "ES256", "kid": _coded(by.issuer.kid)}
    signed = f"{_coded(json.dumps(header, separators=(',', ':')).encode())}.{_coded(packed)}"
    jws = f"{signed}.{_coded(_signature(by.key, signed.encode()))}"
    digest = digest_of(signed.encode())
    who = Identity(kind="cert", number=digest.hex(), name=person.name, born=person.born.isoformat())
    digits = "".join(f"{ord(character) - 45:02}" for character in jws)
    return Certified(code=f"shc:/{digits}".encode(), digest=digest, who=who)


def _immunization(day: date) -> Mapping[str, object]:
    return {
        "resourceType": "Immunization",
        "status": "completed",
        "vaccineCode": {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "208"}]},
        "patient": {"reference": "resource:0"},
        "occurrenceDateTime": day.isoformat(),
    }


def _family(person: Person) -> str:
    return person.plain_name.split(" ", maxsplit=1)[0]


def _signature(key: PrivateKey, signed: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
