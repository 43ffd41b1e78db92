from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kiosk.clock import MS
from kiosk.interlock import GRANT_FRESH_NS, Grant, Interlock, Limit
from kiosk.messages import RELAYS, Direction, Line

RELAY = Limit(longest_on_ns=750 * MS, shortest_rest_ns=200 * MS)
LIGHT = Limit(longest_on_ns=1200 * MS, shortest_rest_ns=0)
LIMITS = {Line.GREEN: LIGHT, Line.BUZZER: LIGHT, Line.ENTRY_RELAY: RELAY, Line.EXIT_RELAY: RELAY}

# Values at and around every limit, so that the edges are met often.
STEPS_NS = st.sampled_from([0, 1, 50 * MS, 199 * MS, 200 * MS, 750 * MS, 1200 * MS, GRANT_FRESH_NS])
AGES_NS = st.sampled_from([-1, 0, 1, 500 * MS, GRANT_FRESH_NS, GRANT_FRESH_NS + 1])
GRANTS = st.none() | st.tuples(st.sampled_from(Direction), AGES_NS)


@dataclass(frozen=True)
class _Pulse:
    """What really happened on a line; `limit_from_ns` is when its longest time began, `off_ns` None while it is on."""

    on_ns: int
    limit_from_ns: int
    off_ns: int | None = None


class Door(RuleBasedStateMachine):
    """Random wishes for lines, grants and time, with overdue lines put off as the player does."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.interlock = Interlock(LIMITS)
        self.pulses: dict[Line, list[_Pulse]] = {line: [] for line in Line}

    def _is_on(self, line: Line) -> bool:
        return bool(self.pulses[line]) and self.pulses[line][-1].off_ns is None

    def _may_go_on(self, line: Line, grant: Grant | None) -> bool:
        if line not in LIMITS:
            return False
        last_off_ns = self.pulses[line][-1].off_ns if self.pulses[line] else None
        if last_off_ns is not None and self.now_ns - last_off_ns < LIMITS[line].shortest_rest_ns:
            return False
        if line not in RELAYS.values():
            return True
        fresh = grant is not None and 0 <= self.now_ns - grant.given_ns <= GRANT_FRESH_NS
        own = grant is not None and RELAYS[grant.direction] is line
        return fresh and own and not any(self._is_on(relay) for relay in RELAYS.values())

    @rule(line=st.sampled_from(Line), wanted=GRANTS)
    def wish_on(self, line: Line, wanted: tuple[Direction, int] | None) -> None:
        """A line goes on exactly when every rule allows it; a light that is on begins its time anew."""
        grant = Grant(direction=wanted[0], given_ns=self.now_ns - wanted[1]) if wanted else None
        allowed = self._is_on(line) or self._may_go_on(line, grant)
        assert (self.interlock.objection_to_on(line, self.now_ns, grant) == "") == allowed
        if allowed and not self._is_on(line):
            self.pulses[line].append(_Pulse(on_ns=self.now_ns, limit_from_ns=self.now_ns))
        elif allowed and line not in RELAYS.values():
            self.pulses[line][-1] = replace(self.pulses[line][-1], limit_from_ns=self.now_ns)

    @rule(line=st.sampled_from(Line))
    def put_off(self, line: Line) -> None:
        """Off is always allowed."""
        self.interlock.note_off(line, self.now_ns)
        if self._is_on(line):
            self.pulses[line][-1] = replace(self.pulses[line][-1], off_ns=self.now_ns)

    @rule(step_ns=STEPS_NS)
    def pass_time(self, step_ns: int) -> None:
        """Time passes as a player lets it: it wakes at each limit on the way and puts overdue lines off."""
        until_ns = self.now_ns + step_ns
        while (limit_ns := self.interlock.next_limit_ns()) is not None and limit_ns <= until_ns:
            self.now_ns = limit_ns
            for line in self.interlock.overdue(self.now_ns):
                self.put_off(line)
        self.now_ns = until_ns

    @invariant()
    def both_relays_are_never_on(self) -> None:
        """One way at a time."""
        assert sum(self._is_on(relay) for relay in RELAYS.values()) <= 1

    @invariant()
    def nothing_outlasts_its_limit(self) -> None:
        """With overdue lines put off, none is on longer than its limit since it was last asked for, a relay at all."""
        for line, pulses in self.pulses.items():
            for pulse in pulses:
                end_ns = self.now_ns if pulse.off_ns is None else pulse.off_ns
                since_ns = pulse.on_ns if line in RELAYS.values() else pulse.limit_from_ns
                assert end_ns - since_ns <= LIMITS[line].longest_on_ns

    @invariant()
    def every_line_rests(self) -> None:
        """Between two pulses of one line lies its shortest rest."""
        for line, pulses in self.pulses.items():
            for before, after in pairwise(pulses):
                assert before.off_ns is not None
                assert after.on_ns - before.off_ns >= LIMITS[line].shortest_rest_ns

    @invariant()
    def a_line_the_door_does_not_have_never_was_on(self) -> None:
        """Amber and red are not fitted here."""
        assert [line for line in Line if line not in LIMITS and self.pulses[line]] == []

    @invariant()
    def the_guard_knows_what_is_on(self) -> None:
        """Its next limit is that of the lines that are really on."""
        ends = [
            self.pulses[line][-1].limit_from_ns + limit.longest_on_ns
            for line, limit in LIMITS.items()
            if self._is_on(line)
        ]
        assert self.interlock.next_limit_ns() == min(ends, default=None)


Door.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_a_door_under_random_wishes = Door.TestCase
