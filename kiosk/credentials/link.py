"""Takes links and tokens of city apps, which say nothing themselves: the city knows whose they are.

Which texts these are is for the city to say: `links` of the rules, the beginning of each. Nothing is fetched from
anywhere; the gate asks the city's broker about the subject, a keyed pseudonym of the whole text (`kiosk.look_ups`).
Whoever holds such a text is whom the city says, so it must be worth no more than a card: the city gives it a short
life. Called by the routing, after the table.
"""

import re

from kiosk.credentials.keyring import Keyring
from kiosk.credentials.subject import subject_of
from kiosk.messages import Credential, Reason, Refusal, Scheme

MOST_CHARACTERS = 512
TEXT = re.compile(rf"[!-~]{{1,{MOST_CHARACTERS}}}")
"""Printable ASCII without spaces."""
BEGINNING = re.compile(r"[a-z][a-z0-9+.-]*://[0-9A-Za-z.:-]+[/?#][!-~]*|(?![^:]*://)[!-~]{4,}")
"""What a link may begin with: scheme and whole host, up to the sign that ends it, or four characters of a token."""


def parse(text: str, keyring: Keyring) -> Credential | Refusal:
    """Read a text that begins as a link does."""
    if not TEXT.fullmatch(text):
        return Refusal(reason=Reason.MALFORMED, detail="link: too long, or not plain ASCII", scheme=Scheme.LINK)
    return Credential(scheme=Scheme.LINK, subject=subject_of("link", text, keyring.subject_key), initials="")
