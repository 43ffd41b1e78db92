from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kiosk.clock import MS
from kiosk.interlock import GRANT_FRESH_NS, Fire, Grant, GrantKind, Interlock, Limit
from kiosk.messages import RELAYS, Direction, Line

RELAY = Limit(longest_on_ns=750 * MS, shortest_rest_ns=200 * MS)
FREED = Limit(longest_on_ns=750 * MS, shortest_rest_ns=200 * MS, fire_on=True)
LIGHT = Limit(longest_on_ns=1200 * MS, shortest_rest_ns=0)
LIMITS = {Line.GREEN: LIGHT, Line.BUZZER: LIGHT, Line.ENTRY_RELAY: RELAY, Line.EXIT_RELAY: FREED}

# Values at and around every limit, so that the edges are met often.
STEPS_NS = st.sampled_from([0, 1, 50 * MS, 199 * MS, 200 * MS, 750 * MS, 1200 * MS, GRANT_FRESH_NS])
AGES_NS = st.sampled_from([-1, 0, 1, 500 * MS, GRANT_FRESH_NS, GRANT_FRESH_NS + 1])
GRANTS = st.none() | st.tuples(st.sampled_from(Direction), AGES_NS, st.sampled_from(GrantKind))


@dataclass(frozen=True)
class _Pulse:
    """What really happened on a line; `limit_from_ns` is when its longest time began, `off_ns` None while it is on."""

    on_ns: int
    limit_from_ns: int
    off_ns: int | None = None
    fire: bool = False


class Door(RuleBasedStateMachine):
    """Random wishes, grants, fires and time, with the interlock's demands obeyed as the player does."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.both_ways = False
        self.alarm = False
        self.latched = False
        self.interlock = Interlock(LIMITS)
        self.pulses: dict[Line, list[_Pulse]] = {line: [] for line in Line}

    @initialize(both_ways=st.booleans())
    def choose_lane(self, both_ways: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """One barrier for both ways, or one each."""
        self.both_ways = both_ways
        self.interlock = Interlock(LIMITS, both_ways=both_ways)

    def _is_on(self, line: Line) -> bool:
        return bool(self.pulses[line]) and self.pulses[line][-1].off_ns is None

    def _may_go_on(self, line: Line, grant: Grant | None) -> bool:
        if line not in LIMITS:
            return False
        if line not in RELAYS.values():
            return True
        if self.latched:
            return LIMITS[line].fire_on is True
        last_off_ns = max((pulse.off_ns for pulse in self.pulses[line] if pulse.off_ns is not None), default=None)
        rested = last_off_ns is None or self.now_ns - last_off_ns >= LIMITS[line].shortest_rest_ns
        fresh = grant is not None and 0 <= self.now_ns - grant.given_ns <= GRANT_FRESH_NS
        own = grant is not None and RELAYS[grant.direction] is line
        alone = self.both_ways or not any(self._is_on(relay) for relay in RELAYS.values() if relay is not line)
        return rested and fresh and own and alone

    @rule(line=st.sampled_from(Line), wanted=GRANTS)
    def wish_on(self, line: Line, wanted: tuple[Direction, int, GrantKind] | None) -> None:
        """A line goes on exactly when every rule allows it; a light that is on begins its time anew."""
        grant = Grant(direction=wanted[0], given_ns=self.now_ns - wanted[1], kind=wanted[2]) if wanted else None
        allowed = self._may_go_on(line, grant)
        assert (self.interlock.objection_to_on(line, self.now_ns, grant) == "") == allowed
        if allowed and not self._is_on(line):
            self.pulses[line].append(_Pulse(on_ns=self.now_ns, limit_from_ns=self.now_ns, fire=self.latched))
        elif allowed and line not in RELAYS.values():
            self.pulses[line][-1] = replace(self.pulses[line][-1], limit_from_ns=self.now_ns)

    @rule(line=st.sampled_from(Line))
    def wish_off(self, line: Line) -> None:
        """Off is always allowed, but for what a fire holds on."""
        held = self.latched and line in LIMITS and LIMITS[line].fire_on is True
        assert (self.interlock.objection_to_off(line, self.now_ns) == "") == (not held)
        if self._is_on(line) and not held:
            self.pulses[line][-1] = replace(self.pulses[line][-1], off_ns=self.now_ns)

    @rule(step_ns=STEPS_NS)
    def pass_time(self, step_ns: int) -> None:
        """Time passes as a player lets it: it wakes at each demand on the way and obeys."""
        until_ns = self.now_ns + step_ns
        while (demand_ns := self.interlock.next_demand_ns()) is not None and demand_ns <= until_ns:
            self.now_ns = demand_ns
            self._obey()
        self.now_ns = until_ns

    @rule()
    def fire_starts(self) -> None:
        """The releases go to their fire levels."""
        self.alarm = self.latched = True
        self.interlock.fire(self.now_ns)
        if self._is_on(Line.EXIT_RELAY):
            self.pulses[Line.EXIT_RELAY][-1] = replace(self.pulses[Line.EXIT_RELAY][-1], fire=True)
        self._obey()

    @rule()
    def fire_ends(self) -> None:
        """And they stay there."""
        self.alarm = False
        self.interlock.fire_over(self.now_ns)
        self._obey()

    @rule()
    def reset(self) -> None:
        """Refused exactly while the fire input is active."""
        assert (self.interlock.reset(self.now_ns) == "") == (not self.alarm)
        self.latched = self.latched and self.alarm
        self._obey()

    def _obey(self) -> None:
        for line, on in self.interlock.demands(self.now_ns):
            if on:
                self.wish_on(line, None)
            else:
                self.wish_off(line)

    @invariant()
    def the_guard_knows_of_the_fire(self) -> None:
        """Active, over but not reset, or none."""
        expected = Fire.ALARM if self.alarm else Fire.OVER if self.latched else Fire.NONE
        assert self.interlock.fire_state is expected

    @invariant()
    def a_fire_has_every_release_at_its_level(self) -> None:
        """The entry relay rests and the exit relay is on until the reset."""
        if self.latched:
            assert (self._is_on(Line.ENTRY_RELAY), self._is_on(Line.EXIT_RELAY)) == (False, True)

    @invariant()
    def both_relays_are_never_on_in_a_lane_with_one_barrier(self) -> None:
        """One way at a time."""
        assert self.both_ways or sum(self._is_on(relay) for relay in RELAYS.values()) <= 1

    @invariant()
    def nothing_outlasts_its_limit(self) -> None:
        """None is on longer than its limit since it was last asked for, a relay at all; but for a fire."""
        for line, pulses in self.pulses.items():
            for pulse in pulses:
                end_ns = self.now_ns if pulse.off_ns is None else pulse.off_ns
                since_ns = pulse.on_ns if line in RELAYS.values() else pulse.limit_from_ns
                assert end_ns - since_ns <= LIMITS[line].longest_on_ns or (pulse.fire and line is Line.EXIT_RELAY)

    @invariant()
    def every_line_rests(self) -> None:
        """Between two pulses of one line lies its shortest rest, unless the second is a fire's."""
        for line, pulses in self.pulses.items():
            for before, after in pairwise(pulses):
                assert before.off_ns is not None
                assert after.on_ns - before.off_ns >= LIMITS[line].shortest_rest_ns or after.fire

    @invariant()
    def a_line_the_door_does_not_have_never_was_on(self) -> None:
        """Amber and red are not fitted here."""
        assert [line for line in Line if line not in LIMITS and self.pulses[line]] == []

    @invariant()
    def the_guard_knows_what_is_on(self) -> None:
        """It demands something at a time exactly when a line is on, and never later than that line's limit."""
        ends = [
            self.pulses[line][-1].limit_from_ns + limit.longest_on_ns
            for line, limit in LIMITS.items()
            if self._is_on(line) and not self.pulses[line][-1].fire
        ]
        demand_ns = self.interlock.next_demand_ns()
        assert (demand_ns is None) == (not any(self._is_on(line) for line in Line))
        assert demand_ns is None or demand_ns <= min(ends, default=demand_ns)


Door.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_a_door_under_random_wishes = Door.TestCase
