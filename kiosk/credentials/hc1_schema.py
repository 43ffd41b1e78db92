"""Names what in an HC1 payload breaks the EU's rules: the JSON schema of its own version, and what it must mean.

This is stricter than `kiosk.credentials.hc1`, which reads every real country's oddities; the two differ on purpose, and
docs/decisions/0010-certificates.md lists where. Called by the conformance run; a technician's look at a code may.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime

Part = Mapping[object, object]

VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
STRICT_SINCE = (1, 3)
"""What was let by until then: several events of one kind, null lists, doses of 0, an empty country, a birth date with
a time, long texts."""
REQUIRED = {
    "v": ("tg", "vp", "mp", "ma", "dn", "sd", "dt", "co", "is", "ci"),
    "t": ("tg", "tt", "sc", "tr", "co", "is", "ci"),
    "r": ("tg", "fr", "co", "is", "df", "du", "ci"),
}
COUNTS = ("dn", "sd")
DAYS = ("dt", "fr", "df", "du")
MOMENT = "sc"
TEXTS = ("tg", "vp", "mp", "ma", "tt", "nm", "tr", "tc", "co", "is", "ci")
LONGEST = 80
"""Characters of a text since 1.3. Until then it was 50, which issuers did not keep."""
BORN = re.compile(r"(?:(?:19|20)[0-9]{2}(?:-[0-9]{2}){0,2})?")
STANDARDISED = re.compile(r"[A-Z<]*")
ORGANISATIONS = re.compile(r"[A-Z]{3,10}")
"""Issue in a country's place: UNHCR does."""
MAKER = re.compile(r"ORG-100[0-9]{6,7}")
"""Numbers of the European Medicines Agency; makers outside the EU go by other texts."""
HIGHEST_DEVICE = 4999
"""Numbers of rapid tests (EU Joint Research Centre) were in the thousands when the certificates ended in 2023."""
COUNTRIES = frozenset(
    (  # noqa: SIM905 - 249 quoted codes would be no easier to check
        "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
        "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
        "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
        "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
        "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
        "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
        "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"
    ).split()
)
"""ISO 3166-1 alpha-2, and XK, which Kosovo's certificates have."""


def schema_faults(payload: object, issued: date | None = None) -> list[str]:
    """Name every field that breaks the rules, never its content; empty for a payload that keeps them all.

    `issued` is the day of issue, where known: nobody is born after it.
    """
    if not isinstance(payload, dict):
        return ["payload: not a map"]
    version = payload.get("ver")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        return ["ver: not three numbers"]
    strict = tuple(map(int, version.split(".")[:2])) >= STRICT_SINCE
    return [*_person_faults(payload, issued, strict=strict), *_event_faults(payload, strict=strict)]


def _person_faults(payload: Part, issued: date | None, *, strict: bool) -> Iterator[str]:
    names = payload.get("nam")
    if not isinstance(names, dict):
        yield "nam: not a map"
        return
    if not ({"fnt", "gnt"} if strict else {"fnt"}) & names.keys():
        yield "nam: no standardised name"
    for name, standardised in (("fn", "fnt"), ("gn", "gnt")):
        written, plain = names.get(name, ""), names.get(standardised, "")
        if not _is_text(written, strict=strict):
            yield f"{name}: not a short text"
        if not _is_text(plain, strict=strict) or not STANDARDISED.fullmatch(str(plain)):
            yield f"{standardised}: not capitals and fillers"
        elif written and not plain and standardised in names:
            yield f"{standardised}: empty, and the name is not"
    born = payload.get("dob")
    if not isinstance(born, str) or not BORN.fullmatch(born if strict else born.partition("T")[0]):
        yield "dob: not a date from 1900 on, nor a part of one"
    elif issued and born > issued.isoformat():
        yield "dob: after the day of issue"


def _event_faults(payload: Part, *, strict: bool) -> Iterator[str]:
    kinds = [name for name in REQUIRED if name in payload and (strict or payload[name] is not None)]
    if len(kinds) != 1:
        yield "events: not one of v, t and r"
        return
    events = payload[kinds[0]]
    if not isinstance(events, list) or not events or (strict and len(events) > 1):
        yield f"{kinds[0]}: not a list of one"
        return
    for event in events:
        if isinstance(event, dict):
            yield from _field_faults(kinds[0], event, strict=strict)
            yield from _meaning_faults(kinds[0], event, strict=strict)
        else:
            yield f"{kinds[0]}: an entry is not a map"


def _field_faults(kind: str, event: Part, *, strict: bool) -> Iterator[str]:
    yield from (f"{name}: missing" for name in REQUIRED[kind] if name not in event)
    for name, value in event.items():
        if name in TEXTS and not _is_text(value, strict=strict):
            yield f"{name}: not a short text"
        if name in COUNTS and not (type(value) is int and value >= (1 if strict else 0)):
            yield f"{name}: not a count"
        if name in DAYS and not _starts_with_day(value):
            yield f"{name}: not a day"
        if name == MOMENT and not _is_moment(value):
            yield f"{name}: not a day and time"


def _meaning_faults(kind: str, event: Part, *, strict: bool) -> Iterator[str]:
    """Name fields of the right shape whose content cannot be."""
    country, maker = event.get("co"), event.get("ma")
    if country not in COUNTRIES and not ORGANISATIONS.fullmatch(str(country)) and (strict or country):
        yield "co: not a country"
    if isinstance(maker, str) and (
        (maker.startswith("ORG-") and not MAKER.fullmatch(maker))
        or (kind == "t" and maker.isdecimal() and int(maker) > HIGHEST_DEVICE)
    ):
        yield "ma: no such number"


def _is_text(value: object, *, strict: bool) -> bool:
    return isinstance(value, str) and not (strict and len(value) > LONGEST)


def _starts_with_day(value: object) -> bool:
    try:
        date.fromisoformat(value[:10] if isinstance(value, str) else "")
    except ValueError:
        return False
    return True


def _is_moment(value: object) -> bool:
    if isinstance(value, datetime):  # tagged as a date in CBOR
        return True
    try:
        datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return "T" in str(value)
