"""PURE. Which gaps in ledgers are an alarm.

Alerts overtake history, and a door that was away for days sends for an hour: a gap that shrinks is being filled, and
of a door that is away nothing can be filled. What stands still is an alarm, once for each ledger, and again only when
more is missing. Whoever calls it knows how old a gap must be; `city.lookout` does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from city.gaps import Gap, Key
from kiosk.clock import S

SETTLED_NS = 20 * S
"""A gap that has not shrunk for so long is not being filled."""
TAIL_NS = 60 * S
"""How long the end of a ledger may be on its way although the kiosk waits for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """So many sequences of a ledger are missing between `first` and `last`; none any more if `missing` is 0."""

    device: str
    ledger: str
    missing: int
    first: int
    last: int


@dataclass(slots=True)
class _Ledger:
    missing: int
    since_ns: int
    told: int = 0


class Missing:
    """All ledgers with gaps. Times are nanoseconds of one clock that never steps."""

    def __init__(self) -> None:
        self._ledgers: dict[Key, _Ledger] = {}
        self._tails: dict[Key, int] = {}

    def look(
        self, now_ns: int, gaps: Iterable[Gap], tails: Iterable[Gap], reachable: Callable[[str], bool]
    ) -> list[Loss]:
        """Tell what is new.

        Args:
            now_ns: now.
            gaps: all that are old enough.
            tails: what doors have stored after all that the city has, while they wait for nothing.
            reachable: whether a device can send.
        """
        spans: dict[Key, list[Gap]] = {}
        for gap in [*gaps, *self._old(now_ns, tails)]:
            spans.setdefault((gap.device, gap.ledger), []).append(gap)
        told = [self._one(now_ns, key, found, reachable) for key, found in spans.items()]
        told += [self._over(key) for key in [*self._ledgers] if key not in spans]
        return [loss for loss in told if loss]

    def _old(self, now_ns: int, tails: Iterable[Gap]) -> list[Gap]:
        by_key = {(gap.device, gap.ledger): gap for gap in tails}
        self._tails = {key: self._tails.get(key, now_ns) for key in by_key}
        return [gap for key, gap in by_key.items() if now_ns - self._tails[key] >= TAIL_NS]

    def _one(self, now_ns: int, key: Key, found: list[Gap], reachable: Callable[[str], bool]) -> Loss | None:
        missing = sum(gap.last - gap.first + 1 for gap in found)
        ledger = self._ledgers.setdefault(key, _Ledger(missing, now_ns))
        if missing < ledger.missing or not reachable(key[0]):
            ledger.since_ns = now_ns
        ledger.missing = missing
        if missing <= ledger.told or now_ns - ledger.since_ns < SETTLED_NS:
            return None
        ledger.told = missing
        first, last = min(gap.first for gap in found), max(gap.last for gap in found)
        return Loss(device=key[0], ledger=key[1], missing=missing, first=first, last=last)

    def _over(self, key: Key) -> Loss | None:
        if not self._ledgers.pop(key).told:
            return None
        return Loss(device=key[0], ledger=key[1], missing=0, first=0, last=0)
