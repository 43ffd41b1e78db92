"""Reads EU and Vietnamese health certificates, `HC1:` (EU hcert_spec 1.0.8; Vietnam's Decision 5772/QĐ-BYT).

base45 > zlib > COSE_Sign1 > CWT > one vaccination, test or recovery. Read are the oddities of real countries
(docs/decisions/0010-certificates.md); refused is more than one event, since no country's rules say which would count.
Whether the certificate is still valid and worth anything is for `kiosk.risk`. Called through the routing table.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TypedDict

import base45

from kiosk.credentials.cose import Claims, claims_of, verify
from kiosk.credentials.holder import DAY, holder_of
from kiosk.credentials.issuer import Issuer, Use
from kiosk.credentials.keyring import Keyring, digest_of
from kiosk.credentials.packing import inflate
from kiosk.credentials.sealing import Identity
from kiosk.credentials.subject import initials_of
from kiosk.messages import Certificate, CertificateKind, Credential, Reason, Refusal, Scheme

PREFIX = "HC1:"
ISS, EXP, IAT, HCERT = 1, 4, 6, -260
"""CWT claims; the payload is HCERT's member 1 (hcert_spec, section 3.3)."""
LATEST = 253402300799
"""The last second of 9999, since 1970."""
KINDS = {"v": CertificateKind.VACCINATION, "t": CertificateKind.TEST, "r": CertificateKind.RECOVERY}
DETECTED = {"260373001": True, "260415000": False}
"""SNOMED CT codes of a test's result (EU value set covid-19-lab-result)."""
COUNTRY = re.compile(r"[A-Z]{2}")
MOST_DOSES = 99
Event = Mapping[object, object]


def looks_like(text: str) -> bool:
    """Whether this is meant as a certificate of this version."""
    return text.startswith(PREFIX)


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that looks like a certificate."""
    cose = inflate(unwrap(text.removeprefix(PREFIX)) or b"", raw=False)
    if cose is None:
        return _refuse(Reason.MALFORMED, "text: not base45 of one zlib stream, or too long")
    signed = verify(cose, keyring.issuers, Scheme.HC1)
    if isinstance(signed, Refusal):
        return signed
    claims = claims_of(signed, Scheme.HC1)
    return claims if isinstance(claims, Refusal) else _credential(claims, signed.by, keyring)


def unwrap(text: str) -> bytes | None:
    """Undo base45; None where it is not."""
    try:
        decoded: bytes = base45.b45decode(text)
    except ValueError:
        return None
    return decoded


def payload_of(claims: Claims) -> Event:
    """Give the certificate in the claims; empty where there is none."""
    container = claims.get(HCERT)
    payload = container.get(1) if isinstance(container, dict) else None
    return payload if isinstance(payload, dict) else {}


def event_in(payload: Event) -> tuple[CertificateKind, Event] | None:
    """Give the one event of a payload, or None where there are none or several. Null lists count as absent."""
    lists = ((kind, payload.get(name)) for name, kind in KINDS.items())
    events = [(kind, event) for kind, some in lists if some for event in (some if isinstance(some, list) else [some])]
    match events:
        case [(kind, dict(event))]:
            return kind, event
        case _:
            return None


def moment(value: object) -> datetime | None:
    """Give a claim's time: seconds since 1970, whole or not, or a tagged date; None where it is no time."""
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST:
        return datetime.fromtimestamp(value, UTC)
    return None


def _refuse(reason: Reason, detail: str) -> Refusal:
    return Refusal(reason=reason, detail=detail, scheme=Scheme.HC1)


def _credential(claims: Claims, by: tuple[Issuer, ...], keyring: Keyring) -> Credential | Refusal:
    payload = payload_of(claims)
    found = event_in(payload)
    if found is None:
        return _refuse(Reason.MALFORMED, "events: not exactly one of vaccination, test and recovery")
    kind, event = found
    issued_at, expires_at = moment(claims.get(IAT)), moment(claims.get(EXP))
    issuer = next((issuer for issuer in by if issuer.may_sign(Use(kind.value), issued_at)), None)
    if issuer is None:
        return _refuse(
            Reason.ISSUER_NOT_ENTITLED, "issuer: may not sign certificates of this kind, or not at that time"
        )
    if expires_at is None:
        return _refuse(Reason.MALFORMED, "exp: missing, or not a time")
    ci = _text(event.get("ci"))
    holder = _holder(payload, ci, keyring)
    if holder is None:
        return _refuse(Reason.MALFORMED, "name: none with letters")
    certificate = Certificate(
        kind=kind,
        country=next(filter(COUNTRY.fullmatch, (_text(claims.get(ISS)), _text(event.get("co")))), ""),
        issued_at=issued_at,
        expires_at=issuer.end(expires_at),
        **_facts(event),
    )
    digest = digest_of(ci.encode()) if ci else b""
    return Credential(scheme=Scheme.HC1, certificate=certificate, digest=digest, **holder)


class _Holder(TypedDict):
    subject: str
    initials: str
    sealed: str


class _Facts(TypedDict):
    on: date | None
    product: str
    dose: int | None
    doses: int | None
    detected: bool | None
    valid_from: date | None
    valid_until: date | None


def _facts(event: Event) -> _Facts:
    return _Facts(
        on=next((day for name in ("dt", "sc", "fr") if (day := _day(event.get(name)))), None),
        product=_text(event.get("mp") or event.get("tt")),
        dose=_doses(event.get("dn")),
        doses=_doses(event.get("sd")),
        detected=DETECTED.get(_text(event.get("tr"))),
        valid_from=_day(event.get("df")),
        valid_until=_day(event.get("du")),
    )


def _holder(payload: Event, ci: str, keyring: Keyring) -> _Holder | None:
    """Tell whose it is: the standardised name identifies, the name as written gives the initials."""
    names = payload.get("nam")
    names = names if isinstance(names, dict) else {}
    fn, fnt, gn, gnt = (_text(names.get(name)).replace("<", " ").strip() for name in ("fn", "fnt", "gn", "gnt"))
    name, born = f"{fn or fnt} {gn or gnt}".strip(), _text(payload.get("dob"))
    subject = holder_of(family=fnt or fn, given=gnt or gn, born=born, certificate=ci, key=keyring.subject_key)
    if subject is None:
        return None
    who = Identity(kind="cert", number=ci, name=name, born=born)
    return _Holder(subject=subject, initials=initials_of(name), sealed=keyring.seal(who))


def _text(value: object) -> str:
    if isinstance(value, date):  # a datetime too
        return value.isoformat()
    return unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else ""


def _day(value: object) -> date | None:
    """Give the day as written, whatever time and zone follow it."""
    day = DAY.match(_text(value))
    try:
        return date.fromisoformat(day[0]) if day else None
    except ValueError:
        return None


def _doses(value: object) -> int | None:
    """Give a count of doses; whole numbers written as floats are counts too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_DOSES:
        return None
    return int(value) if value == int(value) else None
