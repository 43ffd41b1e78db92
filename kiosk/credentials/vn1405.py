"""Reads the national personal QR (Decision 1405/QĐ-BTTTT, version 1.1): who, but nothing about health.

    document number | name | born YYYY-MM-DD | 0 self-declared, 1 by another | QID | EXT

Masked characters (`*`) are normal: the decision shows the code masked and does not settle whether its content is. The
person is the card number where it is readable, else the QID. Of EXT (`<`-separated: proxy's QID, sex, insurance,
phone, signature, ...) the sex is read, to check the number, and the phone, which tracing calls; the rest is dropped
unread. Numbers, name, birth date and phone leave it sealed only. The decision wants names in plain capitals; other
spelling is let through. Called through the routing table.
"""

import re
from datetime import date

from kiosk.credentials.keyring import Keyring
from kiosk.credentials.sealing import Identity
from kiosk.credentials.subject import (
    OLD_NUMBER,
    PERSONAL_NUMBER,
    initials_of,
    is_name,
    number_agrees,
    subject_of,
)
from kiosk.messages import Credential, Reason, Refusal, Scheme

FIELDS = 6
DOCUMENT = re.compile(r"[0-9A-Za-z*]{6,20}")
BORN_SHAPE = re.compile(r"[^|]{4}-[^|]{2}-[^|]{2}")
BORN = re.compile(r"((?:19|20)[0-9]{2})-([0-9]{2}|\*\*)-([0-9]{2}|\*\*)")
QID = re.compile(r"[0-9A-Za-z-]{6,40}")
"""The published sample has 18 digits; the decision says "string"."""
PHONE = re.compile(r"\+?[0-9]{9,15}")
"""Ten digits, says the decision; a foreign one is called as well."""
MALE = {"": None, "0": None, "*": None, "1": True, "2": False}
LEAP_YEAR, LONG_MONTH, FIRST_DAY = 2000, 1, 1
"""Stand in for the masked parts of a birth date, so that the other parts can still be checked."""


def looks_like(text: str) -> bool:
    """Whether this is meant as a national personal QR: six fields, the third with the dashes of a date."""
    fields = text.split("|")
    return len(fields) == FIELDS and bool(BORN_SHAPE.fullmatch(fields[2]))


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that looks like a national personal QR."""
    document, name, born, declared_by, qid, ext = text.split("|")
    personal = bool(PERSONAL_NUMBER.fullmatch(document) or OLD_NUMBER.fullmatch(document))
    year = _year(born)
    _proxy, sex, _insurance, phone, *_rest = (*ext.split("<"), "", "", "", "")
    checks = (
        (DOCUMENT.fullmatch(document), "document number: not 6 to 20 letters, digits or mask"),
        (is_name(name), "name: empty, too long or not a name"),
        (year, "birth date: not a date written YYYY-MM-DD, masked or not"),
        (declared_by in ("0", "1"), "declared by: neither self nor another"),
        (QID.fullmatch(qid) or (personal and not qid), "QID: not 6 to 40 letters and digits"),
        (sex in MALE, "sex in EXT: not one of the codes"),
        (
            not PERSONAL_NUMBER.fullmatch(document) or number_agrees(document, year=year, male=MALE.get(sex)),
            "document number: disagrees with sex or birth date",
        ),
    )
    broken = next((detail for passes, detail in checks if not passes), "")
    if broken:
        return Refusal(reason=Reason.MALFORMED, detail=broken, scheme=Scheme.VN1405)
    kind, number = ("id", document) if personal else ("qid", qid)
    who = Identity(
        kind=kind,
        number=number,
        name=name,
        born=born,
        phone=phone if PHONE.fullmatch(phone) else "",
        document="" if personal else document,
    )
    return Credential(
        scheme=Scheme.VN1405,
        subject=subject_of(kind, number, keyring.subject_key),
        initials=initials_of(name),
        sealed=keyring.seal(who),
    )


def _year(born: str) -> int:
    """Give the birth year, or 0 where the parts that can be read make no date."""
    parts = BORN.fullmatch(born)
    if not parts:
        return 0
    year, month, day = parts.groups()
    masked = "**" in (month, day)
    try:
        date(
            LEAP_YEAR if masked else int(year),
            LONG_MONTH if month == "**" else int(month),
            FIRST_DAY if day == "**" else int(day),
        )
    except ValueError:
        return 0
    return int(year)
