"""Reads the QR of the health-insurance card, BHYT: who, but nothing about health.

    number | name | born | sex | address | clinic | valid from | valid to | issued | serial | guardian | level |
    five years on | checksum | ... | $

There is no public specification; the shapes are those of cards printed in hospital programs. The 15-character number
of the older cards ends in the ten digits of the social-insurance number, which newer cards bear alone: these ten are
the person. Still older numbers, which do not end in ten digits, are refused. The card is not signed, and one whose
insurance has ended still tells who it is.

The name is the hex of its UTF-8, but not on every card. Where it is not, or is no name, the card still tells who it
is by its number, and the initials are empty: a guessed name would be a wrong one. Number, name and birth date leave it
sealed only. Address and guardian are dropped unread, and so is what newer cards add before the end mark. Called through
the routing table.
"""

import re
import unicodedata
from datetime import date

from kiosk.credentials.keyring import Keyring
from kiosk.credentials.sealing import Identity
from kiosk.credentials.subject import MAX_NAME, initials_of, is_name, subject_of
from kiosk.messages import Credential, Reason, Refusal, Scheme

END_MARK = "$"
LEAST_FIELDS = 15
"""With the end mark. A card of 2021 has 17."""
CARD_NUMBER = re.compile(r"(?:[A-Z]{2}[1-5][0-9]{2})?([0-9]{10})")
"""Group of the insured, benefit 1-5, province, and then the social-insurance number."""
HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
DAY = re.compile(r"([0-9]{2})/([0-9]{2})/((?:19|20)[0-9]{2})")
YEAR = re.compile(r"(?:19|20)[0-9]{2}")
CLINIC = re.compile(r"[0-9]{2} ?- ?[0-9A-Z]{3}")
SERIAL = re.compile(r"[0-9]{6,20}")
LEVEL = re.compile(r"[0-9A-Z]{1,2}")
CHECKSUM = re.compile(r"[0-9A-Fa-f]{8,32}-[0-9]{1,8}")
"""What it is computed over is not public."""
NOTHING = ("", "-")
SEXES = ("1", "2")


def looks_like(text: str) -> bool:
    """Whether this is meant as a health-insurance card: enough fields, and the end mark or a card number in place."""
    fields = text.split("|")
    marked = fields[-1] == END_MARK or CARD_NUMBER.fullmatch(fields[0])
    return len(fields) >= LEAST_FIELDS and bool(marked)


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that looks like a health-insurance card."""
    fields = [field.strip() for field in text.split("|")]
    broken = _first_broken(fields)
    number = CARD_NUMBER.fullmatch(fields[0])
    if broken or not number:
        return Refusal(reason=Reason.MALFORMED, detail=broken, scheme=Scheme.BHYT)
    name, printed = name_in(fields[1]), fields[0]
    who = Identity(kind="bhyt", number=number[1], name=name, born=fields[2], document=printed)
    return Credential(
        scheme=Scheme.BHYT,
        subject=subject_of("bhyt", number[1], keyring.subject_key),
        initials=initials_of(name),
        sealed=keyring.seal(who),
    )


def _first_broken(fields: list[str]) -> str:
    number, _name, born, sex, _address, clinic, since, until, issued, serial, _guardian, level, later, checksum = (
        fields[: LEAST_FIELDS - 1]
    )
    checks = (
        (CARD_NUMBER.fullmatch(number), "card number: neither 15 characters nor 10 digits of the known shape"),
        (YEAR.fullmatch(born) or _is_day(born), "birth date: neither a date written dd/MM/yyyy nor a year"),
        (sex in SEXES, "sex: neither of the two codes"),
        (clinic in NOTHING or CLINIC.fullmatch(clinic), "clinic: not province and number"),
        (since in NOTHING or _is_day(since), "valid from: not a date written dd/MM/yyyy"),
        (until in NOTHING or _is_day(until), "valid to: not a date written dd/MM/yyyy"),
        (issued in NOTHING or _is_day(issued), "issue date: not a date written dd/MM/yyyy"),
        (serial in NOTHING or SERIAL.fullmatch(serial), "serial: not 6 to 20 digits"),
        (level in NOTHING or LEVEL.fullmatch(level), "level: not one or two characters"),
        (later in NOTHING or _is_day(later), "five-year date: not a date written dd/MM/yyyy"),
        (CHECKSUM.fullmatch(checksum), "checksum: not hex digits and a number"),
        (fields[-1] == END_MARK, "end mark: missing"),
    )
    return next((detail for passes, detail in checks if not passes), "")


def _is_day(text: str) -> bool:
    parts = DAY.fullmatch(text)
    if not parts:
        return False
    day, month, year = map(int, parts.groups())
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def name_in(field: str) -> str:
    """Give the name that a field holds in hex, or nothing where that is not certain."""
    if len(field) > 2 * 4 * MAX_NAME or not HEX.fullmatch(field):
        return ""
    try:
        name = unicodedata.normalize("NFC", bytes.fromhex(field).decode("utf-8"))
    except UnicodeDecodeError:
        return ""
    return name if is_name(name) else ""
