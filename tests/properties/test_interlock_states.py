"""Every order of inputs to the interlock, over an abstract clock, until no new state is found.

Breadth first over canonical states: levels, how long each relay has been on or at rest, the fire, which driver refuses,
and all that the interlock keeps; times are differences to now, cut off where they stop to matter, so two histories that
no rule can tell apart are one state. The clock ticks by `RETRY_NS` and the limits are a few ticks, so every input comes
before, at and after each of them. Demands are obeyed as soon as they are due, as `Player` does; one that a driver
refuses is obeyed later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kiosk.interlock import FIRE_LAW, GRANT_FRESH_NS, RETRY_NS, Fire, Grant, GrantKind, Interlock, Limit
from kiosk.messages import RELAYS, Direction, Line

TICK_NS = RETRY_NS
LONGEST, REST, LIGHT = 3, 2, 2
"""In ticks."""
RELAY_LINES = tuple(RELAYS.values())

Wish = tuple[Line, Direction | None, int, GrantKind]
"""A line to go on; the direction of its grant, its age, and where it came from."""


@dataclass(slots=True)
class _World:
    """A door: the interlock, and what is really so. `ticks` counts since a relay's last change, up to a bound."""

    interlock: Interlock
    fire_on: dict[Line, bool]
    both_ways: bool
    told: tuple[str, ...]
    now_ns: int = 0
    on: set[Line] = field(default_factory=set)
    ticks: dict[Line, int] = field(default_factory=lambda: dict.fromkeys(RELAY_LINES, REST))
    stuck: frozenset[Line] = frozenset()
    fire: Fire = Fire.NONE

    def copy(self) -> "_World":
        guard = Interlock.__new__(Interlock)
        guard.__dict__.update(self.interlock.__dict__)
        guard._ends_ns = dict(self.interlock._ends_ns)
        guard._off_since = dict(self.interlock._off_since)
        return _World(
            guard,
            self.fire_on,
            self.both_ways,
            self.told,
            self.now_ns,
            set(self.on),
            dict(self.ticks),
            self.stuck,
            self.fire,
        )

    def key(self) -> tuple[object, ...]:
        guard, now_ns = self.interlock, self.now_ns
        ends = tuple(sorted((line, at - now_ns) for line, at in guard._ends_ns.items()))
        resting = ((line, at - now_ns) for line, at in guard._off_since.items())
        rests = tuple(sorted((line, ns) for line, ns in resting if -ns < guard._limits[line].shortest_rest_ns))
        return (ends, rests, guard.fire_state, self.fire, frozenset(self.on), *self.ticks.values(), self.stuck)

    def switch(self, line: Line, grant: Grant | None, *, on: bool) -> None:
        guard, now_ns = self.interlock, self.now_ns
        objection = guard.objection_to_on(line, now_ns, grant) if on else guard.objection_to_off(line, now_ns)
        if objection:
            return
        if line in self.stuck:
            guard.note_refused(line, now_ns)
        elif on is not (line in self.on):
            self.on ^= {line}
            if line in self.ticks:
                self.ticks[line] = 0

    def obey(self) -> None:
        for line, on in self.interlock.demands(self.now_ns):
            self.switch(line, None, on=on)

    def tick(self) -> None:
        self.now_ns += TICK_NS
        for line in RELAY_LINES:
            self.ticks[line] = min(self.ticks[line] + 1, LONGEST if line in self.on else REST)

    def tell(self, what: str) -> None:
        """A fire input, a tick of the clock, or a driver that begins or ceases to refuse."""
        if what == "fire":
            self.interlock.fire(self.now_ns)
            self.fire = Fire.ALARM
        elif what == "fire over":
            self.interlock.fire_over(self.now_ns)
            self.fire = Fire.OVER if self.fire is Fire.ALARM else self.fire
        elif what == "reset":
            refused = self.interlock.reset(self.now_ns)
            assert bool(refused) == (self.fire is Fire.ALARM)
            self.fire = self.fire if refused else Fire.NONE
        elif what == "tick":
            self.tick()
        else:
            self.stuck ^= {Line(what)}
            self.tick()  # a mended line is told again within a tick
        self.obey()


WISHES: tuple[Wish, ...] = (
    (Line.GREEN, None, 0, GrantKind.PERSON),
    *(
        (line, direction, age_ns, kind)
        for line in RELAY_LINES
        for direction, age_ns, kind in (
            (None, 0, GrantKind.PERSON),
            *((direction, 0, GrantKind.PERSON) for direction in Direction),
            *((direction, GRANT_FRESH_NS, GrantKind.COMMAND) for direction in Direction),
            *((direction, GRANT_FRESH_NS + 1, kind) for direction in Direction for kind in GrantKind),
            *((direction, -1, GrantKind.COMMAND) for direction in Direction),
        )
    ),
)
TOLD = ("tick", "fire", "fire over", "reset")


def _after(world: _World) -> Iterator[tuple[_World, Wish | None]]:
    """Every state one input later, and the wish that led there, if it was one; a wish that is refused leads nowhere."""
    for wish in WISHES:
        line, direction, age_ns, kind = wish
        grant = Grant(direction=direction, given_ns=world.now_ns - age_ns, kind=kind) if direction else None
        if not world.interlock._objection(line, world.now_ns, grant):
            after = world.copy()
            after.switch(line, grant, on=True)
            yield after, wish
    for line in (Line.GREEN, *RELAY_LINES):
        after = world.copy()
        after.switch(line, None, on=False)
        yield after, None
    for what in world.told:
        after = world.copy()
        after.tell(what)
        yield after, None


def _check(before: _World, after: _World, wish: Wish | None) -> None:
    """What must be so in every state, and on every way from one to another."""
    assert after.interlock.fire_state is after.fire
    demand_ns = after.interlock.next_demand_ns()
    assert demand_ns is None or demand_ns > after.now_ns, "all demands are obeyed, and none comes at once again"
    burning = after.fire is not Fire.NONE
    both_on = after.on.issuperset(RELAY_LINES)
    assert not both_on or after.both_ways or burning or after.stuck.issuperset(RELAY_LINES)
    for line in set(RELAY_LINES) - after.stuck:
        held = burning and after.fire_on[line]
        assert not burning or (line in after.on) == after.fire_on[line], "a fire has every release at its level"
        assert held or line not in after.on or after.ticks[line] < LONGEST, "no relay is on past its limit"
    for line in (after.on - before.on) & set(RELAY_LINES):
        assert after.fire_on[line] if burning else _may_open(before, line, wish)


def _may_open(before: _World, line: Line, wish: Wish | None) -> bool:
    own = wish is not None and wish[0] is line and wish[1] is not None and RELAYS[wish[1]] is line
    fresh = wish is not None and 0 <= wish[2] <= GRANT_FRESH_NS
    others = before.on & (set(RELAY_LINES) - {line})
    return own and fresh and before.ticks[line] >= REST and (before.both_ways or not others)


def _explore(
    *, both_ways: bool, entry_fire_on: bool, exit_fire_on: bool, refusing: tuple[Line, ...]
) -> tuple[int, int, int]:
    """States found, inputs tried, and the depth after which nothing new was found."""
    fire_on = {Line.ENTRY_RELAY: entry_fire_on, Line.EXIT_RELAY: exit_fire_on}
    limits = {
        line: Limit(longest_on_ns=LONGEST * TICK_NS, shortest_rest_ns=REST * TICK_NS, fire_on=level)
        for line, level in fire_on.items()
    }
    limits[Line.GREEN] = Limit(longest_on_ns=LIGHT * TICK_NS, shortest_rest_ns=0)
    start = _World(Interlock(limits, both_ways=both_ways), fire_on, both_ways, (*TOLD, *refusing))
    seen, front, depth, tried = {start.key()}, [start], 0, 0
    while front:
        depth, found = depth + 1, []
        for world in front:
            for after, wish in _after(world):
                tried += 1
                key = after.key()
                _check(world, after, wish)
                if key not in seen:
                    seen.add(key)
                    found.append(after)
        front = found
    return len(seen), tried, depth - 1


Row = tuple[str, str, str, str, int, int, int]
"""Both ways at once? Freed by fire: entry, exit? Drivers that refuse? Then states, ways between them, and depth."""

EXPLORED: tuple[Row, ...] = (
    ("no", "no", "no", "no", 117, 1044, 7),
    ("no", "no", "yes", "no", 201, 3234, 8),
    ("no", "yes", "yes", "no", 561, 15552, 8),
    ("yes", "no", "no", "no", 162, 1584, 7),
    ("yes", "no", "yes", "no", 282, 4458, 8),
    ("yes", "yes", "yes", "no", 738, 20052, 10),
    ("no", "no", "yes", "yes", 3216, 58572, 12),
)


@pytest.mark.parametrize("row", EXPLORED)
def test_no_order_of_inputs_breaks_the_law(row: Row) -> None:
    """In every state that can be reached, and there are just so many."""
    both_ways, entry, exit_, refusing = (answer == "yes" for answer in row[:4])
    found = _explore(
        both_ways=both_ways,
        entry_fire_on=entry,
        exit_fire_on=exit_,
        refusing=RELAY_LINES if refusing else (),
    )
    assert found == row[4:]


def test_the_document_draws_the_law_in_force_and_has_these_figures() -> None:
    """docs/interlock.md is compared with the code's own table of fire and with the exploration's rows."""
    arrows = [f"    {was} --> {after}: {what}" for (was, what), after in FIRE_LAW.items()]
    diagram = "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {Fire.NONE}", *arrows, "```"])
    text = (Path(__file__).parents[2] / "docs" / "interlock.md").read_text("utf-8")
    assert diagram in text
    for *words, states, ways, depth in EXPLORED:
        assert f"| {' | '.join(map(str, words))} | {states:,} | {ways:,} | {depth} |" in text
