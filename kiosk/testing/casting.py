"""Makes up visitors for a condition, with codes of no meaning.

Decides version, carrier and content. Refuses to know what happens to them. Called by benchmarks and tests.
"""

import numpy as np

from kiosk.testing.conditions import CONDITIONS
from kiosk.testing.visitors import Medium, Showing

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
"""What declarations are written in (base45)."""


FIRST_VERSION = 3
MOST_CHARACTERS = (
    *(61, 90, 122, 154, 178, 221, 262, 311, 366, 419, 483, 528),
    *(600, 656, 734, 816, 909, 970, 1035, 1134, 1248, 1326, 1451),
)
"""Alphanumeric characters that versions 3 to 25 hold at level M (ISO/IEC 18004, table 7)."""


def visitor(condition: str, seed: int) -> Showing:
    """Somebody in that condition, the same for the same seed."""
    limits = CONDITIONS[condition]
    rng = np.random.default_rng([seed, *condition.encode()])
    codes = []
    for _ in range(limits.people):
        version = int(rng.integers(limits.versions[0], limits.versions[1] + 1))
        characters = rng.choice(list(ALPHANUMERIC), MOST_CHARACTERS[version - FIRST_VERSION])
        codes.append("".join(characters).encode())
    on_phone = bool(rng.integers(2)) if limits.phone is None else limits.phone
    medium = Medium.PHONE if on_phone else Medium.CARD
    return Showing(codes=tuple(codes), medium=medium, seed=seed, condition=condition)
