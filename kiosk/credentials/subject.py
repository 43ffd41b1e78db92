"""Turns what identifies a person into what may leave the device: a keyed pseudonym and initials.

Also knows what a name and a 12-digit personal number look like. Called by the format parsers and by the city, which
puts the same pseudonym into the declarations it signs.
"""

import hashlib
import hmac
import re
import unicodedata

PERSONAL_NUMBER = re.compile(r"[0-9]{12}")
"""The number of a citizen's identity card (CCCD): province 3, century and sex 1, birth year 2, serial 6.

The province is not checked against the list of provinces: the list has changed, the card has not.
"""
OLD_NUMBER = re.compile(r"[0-9]{9}")
"""The number of the card before it (CMND): another identifier, hence another subject."""
MAX_NAME = 100
MAX_INITIALS = 4
SUBJECT_DIGITS = 32
_NAME_PUNCTUATION = frozenset(" -'\u2019.,")


def subject_of(kind: str, number: str, key: bytes) -> str:
    """Give the pseudonym of an identifier: 32 hex digits of HMAC-SHA256.

    Keyed, because a plain hash of 12 digits is undone by trying them all. `kind` is the namespace: `id` for the
    number of an identity card, `qid` for the national QR platform's, `bhyt` for social insurance. Case and spaces in
    `number` do not count.
    """
    normalised = "".join(number.split()).upper()
    return hmac.new(key, f"{kind}:{normalised}".encode(), hashlib.sha256).hexdigest()[:SUBJECT_DIGITS]


def initials_of(name: str) -> str:
    """Give the capitals of the first four words of a name, a full stop after each: "Nguyễn Văn An" is "N.V.A."."""
    firsts = (next((c for c in word if c.isalpha()), "") for word in unicodedata.normalize("NFC", name).split())
    letters = [letter.upper()[:1] for letter in firsts if letter]
    return "".join(f"{letter}." for letter in letters[:MAX_INITIALS])


def is_name(text: str) -> bool:
    """Whether this can be a person's name: letters, few marks of punctuation, at most 100 characters."""
    fits = all(c in _NAME_PUNCTUATION or unicodedata.category(c)[0] in "LM" for c in text)
    return fits and len(text) <= MAX_NAME and bool(initials_of(text))


def number_agrees(number: str, *, year: int, male: bool | None) -> bool:
    """Whether a 12-digit number's own century, sex and year are these. `male` is None where nobody said."""
    code = int(number[3])
    stated = 1900 + 100 * (code // 2) + int(number[4:6])
    return stated == year and male in (None, code % 2 == 0)
