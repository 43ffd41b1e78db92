"""Each step from a code's bytes to its verdict, in words, with what is personal masked: `kiosk explain`.

It decides nothing itself: reading and judging are the gate's own functions, with the keys, rules and risk list that
this kiosk keeps. Of a person it says initials, birth year, and the first six digits of the pseudonym; every other value
is "***" and its length. Nothing is recorded, asked of the city, or driven. The command line calls it.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from kiosk import risk
from kiosk.camera import IMAGE_SUFFIXES, Luma
from kiosk.city_data import files_of, kept
from kiosk.clock import Now
from kiosk.config import Loaded
from kiosk.credentials import bhyt, cccd, declaration, hc1, initials_of, place, shc, text_of, unsupported, vn1405
from kiosk.credentials.cose import KID, TAG_CWT, TAG_SIGN1, load
from kiosk.credentials.packing import inflate
from kiosk.decoder import Decoder
from kiosk.gate_settings import CityData
from kiosk.look_ups import names_only
from kiosk.messages import Certificate, Credential, Declaration, Direction, Reason, Refusal, Scheme, Screen, Wording
from kiosk.risk import Circumstances, LookUp
from kiosk.trust import Bundle

Explained = dict[str, dict[str, str]]
"""Sections in the order of the steps; each has its lines."""

SUBJECT_DIGITS = 6
MINUTE, HOUR, DAY = 60, 3600, 86400
SHAPES: Mapping[Callable[[str], bool], tuple[str, str]] = MappingProxyType(
    {
        declaration.looks_like: ("declaration", f"begins with {declaration.PREFIX}"),
        hc1.looks_like: ("hc1", f"begins with {hc1.PREFIX}"),
        shc.looks_like: ("shc", f"begins with {shc.PREFIX}"),
        unsupported.looks_like: ("none", "a health certificate of a kind this version does not read"),
        place.looks_like: ("none", "prefix or host of places' codes"),
        vn1405.looks_like: ("vn1405", "six fields between |, the third with the dashes of a date"),
        cccd.looks_like: ("cccd", "7 to 13 fields between | (or 6), a 12-digit number or two dates in their places"),
        bhyt.looks_like: ("bhyt", "15 or more fields between |, an end mark or a card number in its place"),
    }
)
"""The format of a shape test of the routing table, and what the test goes by."""
FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vn1405": ("document number", "name", "birth date", "declared by", "QID", "EXT"),
        "cccd": ("number", "old number", "name", "birth date", "sex", "residence", "issue date"),
        "bhyt": (
            *("card number", "name", "birth date", "sex", "address", "clinic", "valid from", "valid to"),
            *("issue date", "serial", "guardian", "level", "five-year date", "checksum"),
        ),
    }
)
UNSIGNED = ("vn1405", "cccd", "bhyt", "link")
YEAR_AT = MappingProxyType({"vn1405": slice(0, 4), "cccd": slice(4, 8), "bhyt": slice(-4, None)})
BAD_SIGNATURE = MappingProxyType(
    {
        Reason.ISSUER_UNKNOWN: "no trusted key bears this kid",
        Reason.SIGNATURE_INVALID: "wrong: not by the key the kid names",
        Reason.ISSUER_NOT_ENTITLED: "good, but its issuer may not sign this",
        Reason.CERTIFICATE_REVOKED: "good, and revoked since",
        Reason.MALFORMED: "the code has an error; see `reading`",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a code is judged by here and now. `troubles`: a sentence for each kept file that could not be used."""

    loaded: Loaded
    city: CityData
    bundle: Bundle | None
    troubles: tuple[str, ...]
    now: Now


def desk(loaded: Loaded, now: Now) -> Desk:
    """Take what this kiosk keeps, as its daemon would at a start."""
    city, troubles = kept(loaded)
    return Desk(loaded=loaded, city=city, bundle=files_of(loaded)[0].load()[0], troubles=tuple(troubles), now=now)


def explain_image(luma: Luma, at: Desk) -> list[Explained]:
    """Explain every code in a picture; none where no rung of the ladder reads one."""
    rungs: dict[bytes, list[str]] = {}
    for name, reads in Decoder().exhaust(luma).items():
        for payload in dict.fromkeys(payload for payload, _ in reads):
            rungs.setdefault(payload, []).append(name)
    return [{"image": {"read by": ", ".join(names)}, **explain(payload, at)} for payload, names in rungs.items()]


def explain(payload: bytes, at: Desk) -> Explained:
    """Explain the bytes of one code."""
    read, text = at.city.read(payload), text_of(payload)
    scheme, shape = _format(text, read)
    told: Explained = {
        "code": {"length": f"{len(payload)} bytes, {len(text)} characters", "encoding": _encoding(payload, text)},
        "format": {"scheme": scheme, "because": shape},
        "signature": _signature(text, scheme, read, at.bundle),
        "fields": _fields(text, scheme, read, at.now),
        "reading": _reading(read),
        "person": _person(read, at.city),
        "city": _city(at),
    }
    told |= {direction.value: _verdict(read, direction, at) for direction in Direction}
    return {section: lines for section, lines in told.items() if lines}


def granted(told: Explained) -> bool:
    """Whether the code would open an entry."""
    return told[Direction.ENTRY]["decision"] == "granted"


def lines_of(told: Explained) -> Iterable[str]:
    """Write it for a terminal."""
    for section, lines in told.items():
        yield section
        yield from (f"  {name:<20} {value}" for name, value in lines.items())


def _format(text: str, read: Credential | Refusal) -> tuple[str, str]:
    found = next((found for looks_like, found in SHAPES.items() if looks_like(text)), None)
    if found is None and read.scheme is Scheme.LINK:
        return "link", "begins as one of the rules' links"
    return found or ("none", "no format's shape")


def _encoding(payload: bytes, text: str) -> str:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return "ISO 8859-1, as some insurance cards" if text else "not UTF-8: not read"
    return "UTF-8" if text else "UTF-8, empty or too long"


def _signature(text: str, scheme: str, read: Credential | Refusal, bundle: Bundle | None) -> dict[str, str]:
    if scheme in UNSIGNED or scheme == "none":
        return {"signature": "none: this format has no signature"} if scheme in UNSIGNED else {}
    kid = _kid(text, scheme)
    issuers = bundle.issuers.get(kid, ()) if bundle and kid else ()
    told = {"kid": kid.hex() if kid else "cannot be found"}
    for number, issuer in enumerate(issuers, 1):
        until = f", until {issuer.not_after:%Y-%m-%d}" if issuer.not_after else ""
        told[f"issuer {number} signs"] = ", ".join(sorted(issuer.uses)) + until
    said = BAD_SIGNATURE.get(read.reason, read.reason.value) if isinstance(read, Refusal) else "good"
    return {**told, "signature": said}


def _kid(text: str, scheme: str) -> bytes | None:
    """The key id that an unchecked header names."""
    try:
        if scheme == "shc":
            pairs = text.removeprefix(shc.PREFIX)
            jws = "".join(chr(int(pairs[at : at + 2]) + shc.FIRST_CHARACTER) for at in range(0, len(pairs), 2))
            header = json.loads(base64.urlsafe_b64decode(jws.partition(".")[0] + "=="))
            return base64.urlsafe_b64decode(header["kid"] + "==")
        packed = hc1.unwrap(text.partition(":")[2]) or b""
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return _kid_in((packed if scheme == "declaration" else inflate(packed, raw=False)) or b"")


def _kid_in(cose: bytes) -> bytes | None:
    match load(cose.removeprefix(TAG_CWT).removeprefix(TAG_SIGN1)):
        case [bytes(protected), dict(unprotected), *_]:
            header = load(protected)
            kid = (header if isinstance(header, dict) else {}).get(KID, unprotected.get(KID))
            return kid if isinstance(kid, bytes) else None
    return None


def _fields(text: str, scheme: str, read: Credential | Refusal, now: Now) -> dict[str, str]:
    if scheme in FIELDS:
        fields = text.split("|")
        fields = cccd.seven_fields(fields) if scheme == "cccd" else fields
        names = FIELDS[scheme]
        told = {name: _masked(name, value, scheme) for name, value in zip(names, fields, strict=False)}
        further = len(fields) - len(names)
        return told | ({"further fields": f"{further}, not read"} if further > 0 else {})
    if scheme == "link":
        return {"text": _stars(text)}
    if isinstance(read, Refusal):
        return {}
    return _certified(read.certificate, now) if read.certificate else _declared(read.declaration, now)


def _masked(name: str, value: str, scheme: str) -> str:
    if name == "name":
        written = bhyt.name_in(value.strip()) if scheme == "bhyt" else value
        return f"{initials_of(written) or 'no initials'} ({_stars(value)})"
    if name == "birth date":
        year = value.strip()[YEAR_AT[scheme]]
        return year if year.isascii() and year.isdigit() and year[:2] in ("19", "20") else _stars(value)
    return _stars(value)


def _stars(value: str) -> str:
    return f"***, {len(value)} characters" if value else "empty"


def _certified(certificate: Certificate, now: Now) -> dict[str, str]:
    days = (now.utc.astimezone(risk.VIETNAM).date() - certificate.on).days if certificate.on else None
    doses = f"{certificate.dose or '?'} of {certificate.doses or '?'}" if certificate.kind == "vaccination" else ""
    detected = {True: "detected", False: "not detected", None: ""}[certificate.detected]
    told = {
        "certifies": certificate.kind.value,
        "country": certificate.country,
        "issued": _when(certificate.issued_at, now) if certificate.issued_at else "not told",
        "expires": _when(certificate.expires_at, now),
        "product": certificate.product,
        "doses": doses,
        "result": detected,
        "days since": "not told" if days is None else str(days),
    }
    return {name: value for name, value in told.items() if value}


def _declared(declared: Declaration | None, now: Now) -> dict[str, str]:
    if declared is None:
        return {}
    return {
        "issued": _when(declared.issued_at, now),
        "expires": _when(declared.expires_at, now),
        "symptoms": f"{len(declared.symptoms)} declared",
        "visits": f"{len(declared.visits)} declared",
        "contact": "yes" if declared.contact else "no",
        "by proxy": "yes" if declared.by_proxy else "no",
    }


def _reading(read: Credential | Refusal) -> dict[str, str]:
    if isinstance(read, Refusal):
        return {"refused": read.reason.value, "detail": read.detail}
    told = {"is": "a credential", "sealed": "to the health authority" if read.sealed else "no identity"}
    return told | ({"digest": f"{read.digest.hex()} (by which it can be revoked)"} if read.digest else {})


def _person(read: Credential | Refusal, city: CityData) -> dict[str, str]:
    if isinstance(read, Refusal):
        return {}
    flag = city.risk_list.flag_of(read.subject) if city.risk_list else None
    listed = (f"on it: {flag}" if flag else "not on it") if city.risk_list else "none here"
    return {"subject": f"{read.subject[:SUBJECT_DIGITS]}...", "initials": read.initials or "none", "risk list": listed}


def _city(at: Desk) -> dict[str, str]:
    bundle, listed = at.bundle, at.city.risk_list
    told = {
        "trust bundle": f"{bundle.version}, made {_when(bundle.made_at, at.now)}" if bundle else "none",
        "rules": at.city.rules.version,
        "risk list": f"{listed.version}, made {_when(listed.made_at, at.now)}" if listed else "none",
        "time": "trusted" if at.now.utc_trusted else "not trusted: no age can be told",
    }
    return told | {f"trouble {number}": said for number, said in enumerate(at.troubles, 1)}


def _when(moment: datetime, now: Now) -> str:
    seconds = int((now.utc - moment).total_seconds())
    size, unit = next(
        ((size, unit) for size, unit in ((DAY, "days"), (HOUR, "hours")) if abs(seconds) >= 2 * size),
        (MINUTE, "minutes"),
    )
    number = abs(seconds) // size
    return f"{number} {unit} ago" if seconds >= 0 else f"in {number} {unit}"


def _verdict(read: Credential | Refusal, direction: Direction, at: Desk) -> dict[str, str]:
    asks = direction is Direction.ENTRY and at.loaded.settings.city_data.look_up and names_only(read)
    around = _around(read, at, direction, LookUp.UNAVAILABLE if asks else LookUp.NOT_NEEDED)
    rules = at.city.rules
    verdict = risk.verdict_for(read, rules=rules, around=around, now=at.now)
    told = {"decision": verdict.decision.value + (", with alarm" if verdict.alarm else "")}
    if asks:
        told["look-up"] = "a door would ask the city for a declaration; this is the verdict without an answer"
    if direction is Direction.ENTRY:
        return told | {reason.value: _said(rules.reasons[reason].wording) for reason in verdict.reasons}
    shown = rules.exits[Screen.AT_RISK if verdict.alarm else Screen.GRANTED]
    return told | {"reasons": ", ".join(verdict.reasons), "screen": _said(shown)}


def _around(read: Credential | Refusal, at: Desk, direction: Direction, look_up: LookUp) -> Circumstances:
    """As a gate's that has just started and can store events."""
    data, listed = at.loaded.settings.city_data, at.city.risk_list
    return Circumstances(
        direction=direction,
        granted_lately=False,
        left=False,
        recordable=True,
        flag=listed.flag_of(read.subject) if listed and isinstance(read, Credential) else None,
        city_age_s=max(0, int((at.now.utc - listed.made_at).total_seconds()))
        if listed and at.now.utc_trusted
        else None,
        freshness=data.freshness(),
        trusting=at.city.trusting,
        look_up=look_up,
    )


def _said(wording: Wording) -> str:
    return f"{wording.vi}. {wording.vi_do} | {wording.en}. {wording.en_do}"


def payload_in(argument: str) -> bytes | Path:
    """What the technician named: the text of a code itself, `@` and a file with its bytes, or an image file.

    Raises:
        OSError: the file cannot be read.
    """
    if argument.startswith("@"):
        return Path(argument[1:]).read_bytes()
    path = Path(argument)
    return (
        path
        if path.suffix.lower() in IMAGE_SUFFIXES and "://" not in argument
        else argument.encode(errors="surrogateescape")
    )
