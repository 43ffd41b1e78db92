"""Recognises the code of a place, which visitors scan themselves, so that the screen can say what it is.

It tells nobody's name and reads nothing of the content: prefix or host decides. What the two Vietnamese hosts put
after the slash is not public. Called through the routing table.
"""

import re

from kiosk.credentials.keyring import Keyring
from kiosk.messages import Reason, Refusal

PREFIX = "NZCOVIDTRACER:"
"""New Zealand's posters."""
HOSTS = (
    "qr.tokhaiyte.vn",  # where places register (PC-Covid)
    "qr.pccovid.gov.vn",
    "e.coronawarn.app",  # Corona-Warn-App, event registration
    "qr.notify-me.ch",  # CrowdNotifier
    "qr.swisscovid.ch",  # CrowdNotifier
    "safeentry-qr.gov.sg",
    "www.safeentry-qr.gov.sg",
    "temperaturepass.ndi-api.gov.sg",  # SafeEntry, its older posters
)
URL = re.compile(
    rf"(?:https?://)?(?:{'|'.join(map(re.escape, HOSTS))})(?::[0-9]+)?(?:[/?#].*)?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


def looks_like(text: str) -> bool:
    """Whether this is a place's code."""
    return text.startswith(PREFIX) or bool(URL.fullmatch(text))


def parse(_text: str, _keyring: Keyring) -> Refusal:
    """Refuse it by its right name."""
    return Refusal(reason=Reason.PLACE_CODE, detail="payload: the code of a place, not of a person")
