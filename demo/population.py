"""Who comes to the door in the demo, in which order and condition.

A seeded mix: every kind once, then by weight. The daemon never sees this module.
"""

from dataclasses import dataclass

from demo.carrying import Carrying
from demo.cast import Cast, Expected, Kinds
from demo.certifying import Certifying
from demo.declaring import Declaring
from kiosk.testing.conditions import CONDITIONS
from kiosk.testing.visitors import Medium, Showing

FIRST = (
    *("healthy", "symptom", "declared, shows ID card", "personal QR", "insurance card", "vaccinated"),
    *("tested positive", "SMART Health Card", "infected, on the list", "ID card of 2024"),
)
"""The kinds of a short demo: every format that names somebody."""
AFTER_HEALTHY = "same again"
NEVER_FIRST = "must isolate, shows personal QR"
"""The risk list that has them comes over the broker, once the kiosk is connected."""
MIXED = "mixed"
MILD = ("plain", "dark_mode", "cracked", "moire", "rolling_shutter")
"""What `MIXED` draws from: conditions in which a code is read without a pause long enough to count as shown again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """One visit: what is held up, and what should come of each code."""

    kind: str
    showing: Showing
    expected: tuple[Expected, ...]


def kinds_of(cast: Cast) -> Kinds:
    """All kinds, those of a short demo first."""
    kinds = Declaring(cast).kinds() | Carrying(cast).kinds() | Certifying(cast).kinds()
    return {name: kinds[name] for name in FIRST} | kinds


def visitors(cast: Cast, number: int, condition: str = "plain") -> list[Visitor]:
    """Draw so many visitors, at least one of each kind if there are enough of them.

    `condition` is a name in `kiosk.testing.conditions`, or `MIXED`.
    """
    kinds = kinds_of(cast)
    drawn = list(kinds)[:number]
    weights = [weight for _, weight in kinds.values()]
    drawn += cast.random.choices(list(kinds), weights, k=number - len(drawn))
    cast.random.shuffle(drawn)
    return [_visitor(cast, kinds, kind, condition) for kind in _ordered(drawn)]


def _visitor(cast: Cast, kinds: Kinds, kind: str, condition: str) -> Visitor:
    codes = kinds[kind][0]()
    medium = Medium.CARD if "card" in kind else cast.random.choice(list(Medium))
    if condition == MIXED:
        condition = cast.random.choice([name for name in MILD if _is_of(name, medium)])
    elif not _is_of(condition, medium):
        medium = Medium.PHONE if medium is Medium.CARD else Medium.CARD
    showing = Showing(
        codes=tuple(code for code, _ in codes),
        medium=medium,
        seed=cast.random.getrandbits(31),
        condition=condition,
    )
    return Visitor(kind=kind, showing=showing, expected=tuple(expected for _, expected in codes))


def _is_of(condition: str, medium: Medium) -> bool:
    """Whether what is on this medium can be in the condition."""
    on_phone = CONDITIONS[condition].phone
    return on_phone is None or on_phone == (medium is Medium.PHONE)


def _ordered(kinds: list[str]) -> list[str]:
    """Put each "same again" right after a healthy visitor of its own; without one it becomes healthy itself."""
    again = kinds.count(AFTER_HEALTHY)
    rest = [kind for kind in kinds if kind != AFTER_HEALTHY]
    if rest[:1] == [NEVER_FIRST]:
        rest.reverse()
    ordered = []
    for kind in rest:
        ordered.append(kind)
        if kind == "healthy" and again:
            ordered.append(AFTER_HEALTHY)
            again -= 1
    return [*ordered, *["healthy"] * again]
