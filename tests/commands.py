"""Commands for tests, each with a usual case that a test changes one thing of."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from city.signing import load_key, new_key, public_pem, sign1
from kiosk.commands import Limits, Said, encoded
from kiosk.messages import Order
from kiosk.trust import Bundle
from tests.builders import START

DEVICE = "door-01"
PRIVATE = new_key()
KEY, PUBLIC = load_key(PRIVATE), public_pem(PRIVATE)
ISSUED = int(START.timestamp())
SAID = Said(device=DEVICE, number=7, issued=ISSUED, expires=ISSUED + 300, order="mute", seconds=60)
LIMITS = Limits(allow=frozenset(Order), longest_s={Order.UNLOCK: 60, Order.LOCK: 3600, Order.MUTE: 600})
BUNDLE = Bundle(version=1, made_at=START - timedelta(days=1), issuers={}, command_pem=PUBLIC)


def said(**changes: Any) -> Said:  # noqa: ANN401 - any field
    """Mute for a minute, issued at `START` and good for five; and whatever a test wants otherwise."""
    return replace(SAID, **changes)


def signed(**changes: Any) -> bytes:  # noqa: ANN401 - any field
    """As `said`, signed by the command key."""
    return sign1(encoded(said(**changes)), key=KEY)
