"""Reads the QR of the chip identity card, CCCD (Circular 06/2021/TT-BCA): who, but nothing about health.

    number | old number, may be empty | name | born ddMMyyyy | sex | residence | issued ddMMyyyy | family...

The card is not signed. What guards against hand-made codes is that number, sex and birth date must agree. Number, name,
birth date and residence leave it sealed only; the family of the 2024 layout is dropped unread. Called through the
routing table.
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

EIGHT_DIGITS = re.compile(r"[0-9]{8}")
FIELDS, FIELDS_WITHOUT_OLD_NUMBER = 7, 6
MOST_FIELDS = 13
"""From 14 fields on it is a health-insurance card."""
MALE = {"Nam": True, "Nữ": False}


def looks_like(text: str) -> bool:
    """Whether this is meant as an identity card: the count of fields, and a number or both dates in their places."""
    fields = seven_fields(text.split("|"))
    if not FIELDS <= len(fields) <= MOST_FIELDS:
        return False
    dates = EIGHT_DIGITS.fullmatch(fields[3]) and EIGHT_DIGITS.fullmatch(fields[6])
    return bool(PERSONAL_NUMBER.fullmatch(fields[0]) or dates)


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that looks like an identity card."""
    fields = seven_fields(text.split("|"))
    broken = _first_broken(fields)
    if broken:
        return Refusal(reason=Reason.MALFORMED, detail=broken, scheme=Scheme.CCCD)
    number, _old_number, name, born, _sex, residence, *_rest = fields
    who = Identity(kind="id", number=number, name=name, born=born, address=residence)
    return Credential(
        scheme=Scheme.CCCD,
        subject=subject_of("id", number, keyring.subject_key),
        initials=initials_of(name),
        sealed=keyring.seal(who),
    )


def seven_fields(fields: list[str]) -> list[str]:
    """Put an empty old number in where a card maker left the field out; the birth date's place shows it."""
    if len(fields) == FIELDS_WITHOUT_OLD_NUMBER and EIGHT_DIGITS.fullmatch(fields[2]):
        return [fields[0], "", *fields[1:]]
    return fields


def _first_broken(fields: list[str]) -> str:
    number, old_number, name, born, sex, _residence, issued, *_family = fields
    if not PERSONAL_NUMBER.fullmatch(number):
        return "number: not 12 digits"
    birth, issue = _date(born), _date(issued)
    checks = (
        (not old_number or OLD_NUMBER.fullmatch(old_number), "old number: neither empty nor 9 digits"),
        (is_name(name), "name: empty, too long or not a name"),
        (birth, "birth date: not a date written ddMMyyyy"),
        (sex in MALE, "sex: neither of the two words"),
        (
            birth and number_agrees(number, year=birth.year, male=MALE.get(sex)),
            "number: disagrees with sex or birth date",
        ),
        (issue, "issue date: not a date written ddMMyyyy"),
        (birth and issue and birth < issue, "issue date: not after the birth date"),
    )
    return next((detail for passes, detail in checks if not passes), "")


def _date(text: str) -> date | None:
    if not EIGHT_DIGITS.fullmatch(text):
        return None
    try:
        return date(int(text[4:]), int(text[2:4]), int(text[:2]))
    except ValueError:
        return None
