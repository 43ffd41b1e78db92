"""PURE. The last guard before a line changes. It trusts nobody upstream and blocks by default.

docs/interlock.md has the law as tables. A line it was not told of stays off; a relay goes on only for its own direction
and on a grant or command no older than `GRANT_FRESH_NS`, never prolonged, never beside the other relay unless the lane
allows it, and after its rest. Fire is above all of that, and is over only when it is reset.
`gpio_alerts` asks before every change and obeys `demands`; what a fire is, and who may reset it, the gate decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kiosk.clock import MS
from kiosk.messages import RELAYS, Direction, Line

GRANT_FRESH_NS = 1000 * MS
"""A grant waits for its record at most 150 ms (docs/decisions/0002); a second is generous and still the same person."""
RETRY_NS = 100 * MS
"""A line whose driver refused is told again so often until it moves."""

_DIRECTION_OF = {line: direction for direction, line in RELAYS.items()}


class Fire(StrEnum):
    """What the door knows of a fire. `OVER`: the alarm has ended, and nobody has reset the door."""

    NONE = "none"
    ALARM = "alarm"
    OVER = "over"


class FireInput(StrEnum):
    """What can happen to a fire."""

    STARTS = "starts"
    ENDS = "ends"
    RESET = "reset"


FIRE_LAW = {
    (Fire.NONE, FireInput.STARTS): Fire.ALARM,
    (Fire.ALARM, FireInput.ENDS): Fire.OVER,
    (Fire.OVER, FireInput.STARTS): Fire.ALARM,
    (Fire.OVER, FireInput.RESET): Fire.NONE,
}
"""Whatever is not in here changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one line may do, in nanoseconds.

    `fire_on` is the level of a release in a fire: True for a turnstile's "free" input, False for rest, which is what a
    magnetic lock wants. A relay without it rests. A line that is no relay moves in a fire only, if it has one.
    """

    longest_on_ns: int
    shortest_rest_ns: int
    fire_on: bool | None = None


class GrantKind(StrEnum):
    """Where leave to open came from: a person's presentation, or a command that was checked."""

    PERSON = "grant"
    COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Leave to open one direction, and when it was given."""

    direction: Direction
    given_ns: int
    kind: GrantKind = GrantKind.PERSON


class Interlock:
    """Keeps the state of every line it allowed on.

    Args:
        limits: one for each line that exists.
        both_ways: entry and exit relay may be on together, because the lane has a barrier for each.
    """

    def __init__(self, limits: Mapping[Line, Limit], *, both_ways: bool = False) -> None:
        self.releases = frozenset(
            line for line, limit in limits.items() if line in _DIRECTION_OF or limit.fire_on is not None
        )
        """Lines that open something: they need a grant, or a fire."""
        self._limits = dict(limits)
        self._both_ways = both_ways
        self._freed_by_fire = {line for line, limit in limits.items() if limit.fire_on}
        self._fire = Fire.NONE
        self._ends_ns: dict[Line, int] = {}
        self._off_since: dict[Line, int] = {}

    @property
    def fire_state(self) -> Fire:
        """Whether there is a fire, or was one that nobody has reset."""
        return self._fire

    def objection_to_on(self, line: Line, now_ns: int, grant: Grant | None) -> str:
        """Say why `line` must not go on now; empty where it may, and then it counts as on."""
        objection = self._objection(line, now_ns, grant)
        prolonged = line not in self.releases or self._held(line)  # a light that the next verdict wants too
        if not objection and (prolonged or line not in self._ends_ns):
            self._ends_ns[line] = now_ns + self._limits[line].longest_on_ns
        return objection

    def objection_to_off(self, line: Line, now_ns: int) -> str:
        """Say why `line` must not go off now, which only a fire can be; empty where it may: then it counts as off."""
        if self._held(line):
            return f"{line} is held on until the fire is reset"
        if self._ends_ns.pop(line, None) is not None:
            self._off_since[line] = now_ns
        return ""

    def note_refused(self, line: Line, now_ns: int) -> None:
        """The driver refused a change of `line`: it may be on, counts as on, and is in `demands` after `RETRY_NS`."""
        self._ends_ns[line] = now_ns + RETRY_NS

    def demands(self, now_ns: int) -> tuple[tuple[Line, bool], ...]:
        """Lines to be set now, and to what: off at the end of their limit, either way by fire and its reset."""
        return tuple((line, self._held(line)) for line, ends_ns in self._ends_ns.items() if ends_ns <= now_ns)

    def next_demand_ns(self) -> int | None:
        """When `demands` will next name a line."""
        return min(self._ends_ns.values(), default=None)

    def fire(self, now_ns: int) -> None:
        """There is a fire. `demands` has at once what it changes."""
        self._fire_step(FireInput.STARTS, now_ns)

    def fire_over(self, now_ns: int) -> None:
        """The fire input is at rest again; the door stays as it is until `reset`."""
        self._fire_step(FireInput.ENDS, now_ns)

    def reset(self, now_ns: int) -> str:
        """Say why a fire cannot be reset now; empty where it can, and then `demands` has what was held on."""
        if self._fire is Fire.ALARM:
            return "the fire input is still active"
        self._fire_step(FireInput.RESET, now_ns)
        return ""

    def _fire_step(self, what: FireInput, now_ns: int) -> None:
        before, self._fire = self._fire, FIRE_LAW.get((self._fire, what), self._fire)
        if self._fire is not before:
            due = self._freed_by_fire | (self.releases & self._ends_ns.keys())
            self._ends_ns.update(dict.fromkeys(due, now_ns))

    def _held(self, line: Line) -> bool:
        return self._fire is not Fire.NONE and line in self._freed_by_fire

    def _objection(self, line: Line, now_ns: int, grant: Grant | None) -> str:
        if line not in self._limits:
            return f"{line} is not a line of this door"
        if line not in self.releases:
            return self._rest_objection(line, now_ns)
        if self._fire is not Fire.NONE:
            return "" if self._held(line) else f"{line} stays at rest until the fire is reset"
        return (
            self._grant_objection(line, now_ns, grant)
            or self._lane_objection(line)
            or self._rest_objection(line, now_ns)
        )

    def _rest_objection(self, line: Line, now_ns: int) -> str:
        needed_ns = self._limits[line].shortest_rest_ns
        rested_ns = now_ns - self._off_since.get(line, now_ns - needed_ns)
        if rested_ns < needed_ns:
            return f"{line} has rested {rested_ns // MS} ms of {needed_ns // MS} ms"
        return ""

    def _grant_objection(self, line: Line, now_ns: int, grant: Grant | None) -> str:
        if grant is None or grant.direction is not _DIRECTION_OF.get(line):
            return f"{line} has no grant"
        fresh = 0 <= now_ns - grant.given_ns <= GRANT_FRESH_NS
        return "" if fresh else f"the {grant.kind} for {line} is stale"

    def _lane_objection(self, line: Line) -> str:
        other = next(relay for relay in _DIRECTION_OF if relay is not line)
        return f"{other} is on" if other in self._ends_ns and not self._both_ways else ""
