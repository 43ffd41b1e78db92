"""Recognises health certificates that this version does not read yet, so that the guard does.

EU and Vietnamese certificates (`HC1:`, and the versions reserved after it) and SMART Health Cards (`shc:/`). It opens
none of them: neither signature nor person is known. Called through the routing table.
"""

import re

from kiosk.credentials.keyring import Keyring
from kiosk.messages import Reason, Refusal

PREFIX = re.compile(r"HC[1-9A-Z]:|shc:/")


def looks_like(text: str) -> bool:
    """Whether this is meant as a health certificate."""
    return bool(PREFIX.match(text))


def parse(_text: str, _keyring: Keyring) -> Refusal:
    """Refuse it by its right name."""
    return Refusal(reason=Reason.UNSUPPORTED_CERTIFICATE, detail="payload: a health certificate, not read yet")
