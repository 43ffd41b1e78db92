"""PURE. The last guard before a line changes. It trusts nobody upstream and blocks by default.

Rules: a line it was not told of stays off; a relay goes on only for its own direction and on a grant no older than
`GRANT_FRESH_NS`; entry and exit relays are never on together; a line rests between two pulses; nothing is on for
longer than its limit since it was last asked for, and asking again never prolongs a relay. Off is always allowed.
`gpio_alerts` asks before every change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kiosk.clock import MS
from kiosk.messages import RELAYS, Direction, Line

GRANT_FRESH_NS = 1000 * MS
"""A grant waits for its record at most 150 ms (docs/decisions/0002); a second is generous and still the same person."""

_DIRECTION_OF = {line: direction for direction, line in RELAYS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one line may do, in nanoseconds."""

    longest_on_ns: int
    shortest_rest_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Leave to open one direction, and when it was given."""

    direction: Direction
    given_ns: int


class Interlock:
    """Keeps the state of every line it allowed on.

    Args:
        limits: one for each line that exists.
    """

    def __init__(self, limits: Mapping[Line, Limit]) -> None:
        self._limits = dict(limits)
        self._on_since: dict[Line, int] = {}
        self._off_since: dict[Line, int] = {}

    def objection_to_on(self, line: Line, now_ns: int, grant: Grant | None) -> str:
        """Say why `line` must not go on now; empty where it may, and then it counts as on."""
        objection = self._objection(line, now_ns, grant)
        renewed = line not in _DIRECTION_OF  # a light that the next verdict wants too; a relay's time is never renewed
        if not objection and (renewed or line not in self._on_since):
            self._on_since[line] = now_ns
        return objection

    def note_off(self, line: Line, now_ns: int) -> None:
        """`line` is at rest from now on."""
        if self._on_since.pop(line, None) is not None:
            self._off_since[line] = now_ns

    def overdue(self, now_ns: int) -> tuple[Line, ...]:
        """Lines that have been on for their whole limit and must go off now."""
        return tuple(
            line for line, since in self._on_since.items() if now_ns - since >= self._limits[line].longest_on_ns
        )

    def next_limit_ns(self) -> int | None:
        """When the next line will be overdue."""
        return min((since + self._limits[line].longest_on_ns for line, since in self._on_since.items()), default=None)

    def _objection(self, line: Line, now_ns: int, grant: Grant | None) -> str:
        limit = self._limits.get(line)
        if limit is None:
            return f"{line} is not a line of this door"
        if line in self._on_since:
            return ""
        rested_ns = now_ns - self._off_since.get(line, now_ns - limit.shortest_rest_ns)
        if rested_ns < limit.shortest_rest_ns:
            return f"{line} has rested {rested_ns // MS} ms of {limit.shortest_rest_ns // MS} ms"
        return self._relay_objection(line, now_ns, grant) if line in _DIRECTION_OF else ""

    def _relay_objection(self, line: Line, now_ns: int, grant: Grant | None) -> str:
        if grant is None or grant.direction is not _DIRECTION_OF[line]:
            return f"{line} has no grant"
        if not 0 <= now_ns - grant.given_ns <= GRANT_FRESH_NS:
            return f"the grant for {line} is stale"
        other = next(relay for relay in _DIRECTION_OF if relay is not line)
        return f"{other} is on" if other in self._on_since else ""
