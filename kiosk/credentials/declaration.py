"""Reads the city's signed health declaration, `TKYT1:` (docs/declaration.md): who, and what they declared.

The format is closed: whatever this version does not know is malformed, so that nothing unknown ever reads as healthy.
Expiry is a fact for `kiosk.risk`, not a refusal. Called through the routing table; the city writes the format with
the numbers named here (`city.declare`).
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import cast

import base45

from kiosk.credentials.cose import Claims, claims_of, verify
from kiosk.credentials.issuer import Issuer, Use
from kiosk.credentials.keyring import Keyring, digest_of
from kiosk.credentials.subject import MAX_INITIALS
from kiosk.messages import Credential, Declaration, Reason, Refusal, Scheme, Symptom, Visit

PREFIX = "TKYT1:"
MAX_CHARACTERS = 768
"""Of the whole text; twice the largest the format can make."""
ISS, SUB, EXP, IAT = 1, 2, 4, 6
"""Registered CWT claims (RFC 8392, section 4)."""
HEALTH = -70001
"""Our claim, from the private-use range (RFC 8392, section 9.1: below -65536)."""
INITIALS, SYMPTOMS, VISITS, CONTACT, BY_PROXY = 1, 2, 3, 4, 5
"""Keys inside HEALTH."""
SYMPTOM_BITS: Mapping[Symptom, int] = MappingProxyType({Symptom.COUGH: 1, Symptom.FEVER: 2, Symptom.SHORT_OF_BREATH: 4})
MAX_LIFETIME = timedelta(days=7)
MAX_VISITS = 8
MAX_ISS = 8
EPOCH = date(1970, 1, 1)
EARLIEST, LATEST = 1577836800, 4102444800
"""2020-01-01 and 2100-01-01, in seconds since 1970: times outside are a broken issuer's."""
SECONDS_A_DAY = 86400
SUBJECT = re.compile(r"[0-9a-f]{32}")
AREA = re.compile(r"[0-9]{2,5}")


def looks_like(text: str) -> bool:
    """Whether this is meant as a signed declaration of this version."""
    return text.startswith(PREFIX)


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that looks like a signed declaration."""
    try:
        cose = base45.b45decode(text.removeprefix(PREFIX)) if len(text) <= MAX_CHARACTERS else b""
    except ValueError:
        cose = b""
    if not cose:
        return _malformed("text: not base45, or too long")
    signed = verify(cose, keyring.issuers, Scheme.DECLARATION)
    if isinstance(signed, Refusal):
        return signed
    if not any(issuer.may_sign(Use.DECLARATION, None) for issuer in signed.by):
        return _not_entitled("issuer: may not sign declarations")
    claims = claims_of(signed, Scheme.DECLARATION)
    if isinstance(claims, Refusal):
        return claims
    declared = _declared(claims, signed.by)
    return declared if isinstance(declared, Refusal) else replace(declared, digest=digest_of(signed.content))


def _malformed(detail: str) -> Refusal:
    return Refusal(reason=Reason.MALFORMED, detail=detail, scheme=Scheme.DECLARATION)


def _declared(claims: Claims, by: tuple[Issuer, ...]) -> Credential | Refusal:
    broken = _first_broken(claims)
    if broken:
        return _malformed(broken)
    credential = _credential(claims)
    declared = credential.declaration
    if declared and not any(issuer.may_sign(Use.DECLARATION, declared.issued_at) for issuer in by):
        return _not_entitled("issuer: might not sign at the time of issue")
    return credential


def _not_entitled(detail: str) -> Refusal:
    return Refusal(reason=Reason.ISSUER_NOT_ENTITLED, detail=detail, scheme=Scheme.DECLARATION)


def _first_broken(claims: Claims) -> str:
    health = claims.get(HEALTH)
    if set(claims) - {ISS} != {SUB, EXP, IAT, HEALTH} or not isinstance(health, dict):
        return "claims: not the set this version knows"
    if set(health) != {INITIALS, SYMPTOMS, VISITS, CONTACT, BY_PROXY}:
        return "health claim: not the set this version knows"
    iss, sub, iat, exp = (claims.get(claim) for claim in (ISS, SUB, IAT, EXP))
    visits = health[VISITS]
    checks = (
        (iss is None or (isinstance(iss, str) and 0 < len(iss) <= MAX_ISS), "iss: not a short text"),
        (isinstance(sub, str) and SUBJECT.fullmatch(sub), "sub: not a pseudonym of 32 hex digits"),
        (_is_within(iat, EARLIEST, LATEST), "iat: not a time in whole seconds"),
        (_is_within(exp, EARLIEST, LATEST), "exp: not a time in whole seconds"),
        (_lifetime_fits(iat, exp), "exp: not after iat, or more than the longest lifetime after it"),
        (_are_initials(health[INITIALS]), "initials: not letters, each with a full stop"),
        (_is_within(health[SYMPTOMS], 0, sum(SYMPTOM_BITS.values())), "symptoms: a bit this version does not know"),
        (isinstance(visits, list) and len(visits) <= MAX_VISITS, "visits: not a short list"),
        (isinstance(visits, list) and all(map(_is_visit, visits)), "visits: one is not an area code and a day"),
        (isinstance(health[CONTACT], bool), "contact: neither true nor false"),
        (isinstance(health[BY_PROXY], bool), "by proxy: neither true nor false"),
    )
    return next((detail for passes, detail in checks if not passes), "")


def _is_within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _lifetime_fits(iat: object, exp: object) -> bool:
    if not isinstance(iat, int) or not isinstance(exp, int):
        return False
    return 0 < exp - iat <= MAX_LIFETIME.total_seconds()


def _are_initials(value: object) -> bool:
    if not isinstance(value, str):
        return False
    text = unicodedata.normalize("NFC", value)
    letters, stops = text[::2], text[1::2]
    return letters.isalpha() and stops == "." * len(letters) and len(letters) <= MAX_INITIALS


def _is_visit(value: object) -> bool:
    match value:
        case [str(area), day]:
            return bool(AREA.fullmatch(area)) and _is_within(day, 0, LATEST // SECONDS_A_DAY)
        case _:
            return False


def _credential(claims: Claims) -> Credential:
    """Give the facts of claims in which nothing is broken."""
    health = cast("dict[int, object]", claims[HEALTH])
    mask = cast("int", health[SYMPTOMS])
    visits = cast("list[tuple[str, int]]", health[VISITS])
    return Credential(
        scheme=Scheme.DECLARATION,
        subject=cast("str", claims[SUB]),
        initials=unicodedata.normalize("NFC", cast("str", health[INITIALS])),
        declaration=Declaration(
            issued_at=datetime.fromtimestamp(cast("int", claims[IAT]), UTC),
            expires_at=datetime.fromtimestamp(cast("int", claims[EXP]), UTC),
            symptoms=tuple(symptom for symptom, bit in SYMPTOM_BITS.items() if mask & bit),
            visits=tuple(Visit(area=area, left_on=EPOCH + timedelta(days=day)) for area, day in visits),
            contact=cast("bool", health[CONTACT]),
            by_proxy=cast("bool", health[BY_PROXY]),
        ),
    )
