"""Reads SMART Health Cards, `shc:/`: vaccinations, or else a laboratory test, of one person (smarthealth.cards).

Digit pairs > JWS, ES256 only > raw DEFLATE > FHIR bundle. Doses are counted: a card holds one entry for each. Entries
for other diseases, and those not completed, do not count. The issuer is known by kid and must be the one the card
names. A card in several codes is refused; its makers gave that up. Called through the routing table.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TypedDict

from kiosk.credentials.cose import ES256, is_good
from kiosk.credentials.holder import DAY, holder_of
from kiosk.credentials.issuer import Issuer, Use
from kiosk.credentials.keyring import Keyring, digest_of
from kiosk.credentials.packing import inflate
from kiosk.credentials.sealing import Identity
from kiosk.credentials.subject import initials_of
from kiosk.messages import Certificate, CertificateKind, Credential, Reason, Refusal, Scheme

PREFIX = "shc:/"
CHUNK = re.compile(r"[0-9]+/[0-9]+/[0-9]*")
PAIRS = re.compile(r"(?:[0-6][0-9]|7[0-7])+")
"""Each pair is a character of the JWS, less 45; the last of its alphabet is "z", 77."""
FIRST_CHARACTER = 45
MAX_HEADER = 256
"""Characters of the encoded header, of which the specification needs about 120. It is read before the signature."""
COVID = "https://smarthealth.cards#covid19"
CVX = "http://hl7.org/fhir/sid/cvx"
COVID_CVX = re.compile(r"20[78]|21[0-3]|21[7-9]|221|22[5-9]|230|30[0-2]|30[89]|31[0-3]|50[0-9]|51[0-9]|52[01]")
"""Vaccine codes of the US CDC that are for COVID-19; 500 and above are vaccines of other countries."""
RESULT = "valueCodeableConcept"
FINAL = ("final", "amended", "corrected")
DETECTED = {"260373001": True, "10828004": True, "260415000": False, "260385009": False}
"""SNOMED CT: detected, positive, not detected, negative."""
LATEST = 253402300799
"""The last second of 9999, since 1970. A card without `exp` is one that never expires."""
Resource = Mapping[str, object]


def looks_like(text: str) -> bool:
    """Whether this is meant as a SMART Health Card."""
    return text.startswith(PREFIX)


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that looks like a SMART Health Card."""
    digits = text.removeprefix(PREFIX)
    if CHUNK.fullmatch(digits):
        return _refuse(Reason.UNSUPPORTED_CERTIFICATE, "payload: one part of a card in several codes, not read")
    parts = _characters(digits).split(".")
    header, signature = _json(_decode(parts[0][:MAX_HEADER])), _decode(parts[-1])
    if len(parts) != len(("header", "payload", "signature")) or not header:
        return _refuse(Reason.MALFORMED, "text: not the digits of a JWS")
    if header.get("alg") != "ES256" or header.get("zip") != "DEF":
        return _refuse(Reason.MALFORMED, "header: not ES256 over DEFLATE")
    trusted = keyring.issuers.get(_decode(str(header.get("kid"))), ())
    if not trusted:
        return _refuse(Reason.ISSUER_UNKNOWN, "header: no trusted key bears this kid")
    signed = f"{parts[0]}.{parts[1]}".encode()
    by = [issuer for issuer in trusted if is_good(issuer.key, ES256, signature, signed)]
    if not by:
        return _refuse(Reason.SIGNATURE_INVALID, "signature: not by the key the kid names")
    payload = _json(inflate(_decode(parts[1]), raw=True) or b"")
    return _card(payload, by, keyring, digest_of(signed))


def _refuse(reason: Reason, detail: str) -> Refusal:
    return Refusal(reason=reason, detail=detail, scheme=Scheme.SHC)


def _characters(digits: str) -> str:
    """Undo the digit pairs; empty where they are not."""
    if len(digits) % 2 or not PAIRS.fullmatch(digits):
        return ""
    return "".join(chr(int(digits[at : at + 2]) + FIRST_CHARACTER) for at in range(0, len(digits), 2))


def _decode(text: str) -> bytes:
    """Undo base64url without padding, in its one canonical form; empty where it is not."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return decoded if base64.urlsafe_b64encode(decoded).rstrip(b"=") == text.encode() else b""


def _json(encoded: bytes) -> Resource:
    try:
        value = json.loads(encoded)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _card(payload: Resource, by: list[Issuer], keyring: Keyring, digest: bytes) -> Credential | Refusal:
    by = [issuer for issuer in by if issuer.url and issuer.url == payload.get("iss")]
    if not by:
        return _refuse(Reason.ISSUER_UNKNOWN, "iss: not the issuer whose key the kid names")
    issued_at, expires_at = _moment(payload.get("nbf")), _moment(payload.get("exp", LATEST))
    if issued_at is None or expires_at is None:
        return _refuse(Reason.MALFORMED, "nbf or exp: not a time in seconds")
    card = _inside(payload, "vc")
    resources = list(_resources(card))
    covid = COVID in _items(card.get("type"))
    certificate = _vaccinated(resources, issued_at, expires_at, covid=covid)
    certificate = certificate or (_tested(resources, issued_at, expires_at) if covid else None)
    patients = [resource for resource in resources if resource.get("resourceType") == "Patient"]
    if certificate is None or len(patients) != 1:
        return _refuse(Reason.MALFORMED, "bundle: not one patient with a vaccination or a test for COVID-19")
    issuer = next((each for each in by if each.may_sign(Use(certificate.kind.value), issued_at)), None)
    if issuer is None:
        return _refuse(
            Reason.ISSUER_NOT_ENTITLED, "issuer: may not sign certificates of this kind, or not at that time"
        )
    certificate = replace(certificate, expires_at=issuer.end(expires_at))
    holder = _holder(patients[0], keyring, digest)
    if holder is None:
        return _refuse(Reason.MALFORMED, "patient: no name with letters, or no whole birth date")
    return Credential(scheme=Scheme.SHC, certificate=certificate, digest=digest, **holder)


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)


def _resources(card: Resource) -> Iterator[Resource]:
    bundle = _inside(_inside(card, "credentialSubject"), "fhirBundle")
    for entry in _items(bundle.get("entry")):
        if isinstance(entry, dict):
            yield _inside(entry, "resource")


def _vaccinated(
    resources: list[Resource], issued_at: datetime, expires_at: datetime, *, covid: bool
) -> Certificate | None:
    """Give the latest completed dose; None where there is none."""
    doses = [
        (_day(resource.get("occurrenceDateTime")) or date.min, code)
        for resource in resources
        if (resource.get("resourceType"), resource.get("status")) == ("Immunization", "completed")
        and (code := _vaccine(resource, covid=covid))
    ]
    if not doses:
        return None
    on, product = max(doses)
    return Certificate(
        kind=CertificateKind.VACCINATION,
        country="",
        issued_at=issued_at,
        expires_at=expires_at,
        on=None if on == date.min else on,
        product=product,
        dose=len(doses),
    )


def _tested(resources: list[Resource], issued_at: datetime, expires_at: datetime) -> Certificate | None:
    """Give the latest final result; None where there is none."""
    results = [
        (_day(resource.get("effectiveDateTime")) or date.min, _code(resource, "code"), _code(resource, RESULT))
        for resource in resources
        if resource.get("resourceType") == "Observation" and resource.get("status") in FINAL
    ]
    if not results:
        return None
    on, product, result = max(results)
    return Certificate(
        kind=CertificateKind.TEST,
        country="",
        issued_at=issued_at,
        expires_at=expires_at,
        on=None if on == date.min else on,
        product=product,
        detected=DETECTED.get(result),
    )


def _vaccine(resource: Resource, *, covid: bool) -> str:
    """Give the code of a vaccine against COVID-19, or nothing. Codes of other lists count where the card says so."""
    for coding in _codings(resource, "vaccineCode"):
        code = str(coding.get("code"))
        if COVID_CVX.fullmatch(code) if coding.get("system") == CVX else covid:
            return code
    return ""


def _code(resource: Resource, field: str) -> str:
    return next((str(coding.get("code")) for coding in _codings(resource, field)), "")


def _codings(resource: Resource, field: str) -> Iterator[Resource]:
    return (coding for coding in _items(_inside(resource, field).get("coding")) if isinstance(coding, dict))


class _Holder(TypedDict):
    subject: str
    initials: str
    sealed: str


def _holder(patient: Resource, keyring: Keyring, digest: bytes) -> _Holder | None:
    """Tell whose it is, family name first. Without a whole birth date nobody is told apart from namesakes.

    A card has no id; its digest stands for one.
    """
    name = next((name for name in _items(patient.get("name")) if isinstance(name, dict)), {})
    family = str(name.get("family", ""))
    given = " ".join(part for part in _items(name.get("given")) if isinstance(part, str))
    born = str(patient.get("birthDate"))
    if not DAY.fullmatch(born):
        return None
    subject = holder_of(family=family, given=given, born=born, certificate="", key=keyring.subject_key)
    if subject is None:
        return None
    written = f"{family} {given}".strip()
    who = Identity(kind="cert", number=digest.hex(), name=written, born=born)
    return _Holder(subject=subject, initials=initials_of(written), sealed=keyring.seal(who))


def _day(value: object) -> date | None:
    day = DAY.match(value) if isinstance(value, str) else None
    try:
        return date.fromisoformat(day[0]) if day else None
    except ValueError:
        return None


def _inside(resource: Resource, name: str) -> Resource:
    value = resource.get(name)
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
