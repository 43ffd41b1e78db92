from datetime import date

import pytest

from kiosk.clock import MS
from kiosk.lane import HEARD_LATE_NS, STUCK, STUCK_NS, Lane, Told
from kiosk.messages import Direction, InputLine, Outcome, Sensed, Tally
from tests.builders import at_ms

WAIT_MS = 5000
VOID_MS = WAIT_MS + HEARD_LATE_NS // MS
STUCK_MS = STUCK_NS // MS
IN, OUT = Direction.ENTRY, Direction.EXIT
SENSOR = {IN: InputLine.ENTRY_PASSAGE, OUT: InputLine.EXIT_PASSAGE}
TAKEN = Told(direction=IN, outcome=Outcome.TAKEN)
WITHOUT = Told(direction=IN, outcome=Outcome.WITHOUT_GRANT)
WRONG_WAY = Told(direction=OUT, outcome=Outcome.WRONG_WAY)
VOID = Told(direction=IN, outcome=Outcome.NOT_TAKEN, subject="a1")


def _say(
    lane: Lane, ms: int, direction: Direction, *, active: bool, trouble: str = "", free: bool = False
) -> list[Told]:
    sensed = Sensed(line=SENSOR[direction], active=active, at_ns=ms * MS, trouble=trouble)
    return lane.sense(sensed, free=free)


def _lane(direction: Direction = IN, *, sensors: tuple[Direction, ...] = (IN, OUT)) -> Lane:
    lane = Lane(direction, WAIT_MS * MS)
    lane.begin_day(date(2021, 11, 22))
    for way in sensors:
        assert _say(lane, 0, way, active=False) == []
    return lane


def _pass(lane: Lane, ms: int, direction: Direction = IN, *, lasting_ms: int = 400) -> list[Told]:
    assert _say(lane, ms, direction, active=True) == []
    return _say(lane, ms + lasting_ms, direction, active=False)


def test_somebody_let_through_who_goes_has_taken_their_access() -> None:
    """It counts when they have gone, and then the lane has nothing more to wait for."""
    lane = _lane()
    lane.grant(IN, at_ms(1000), "a1")
    deadlines = [lane.deadline_ns]
    assert _pass(lane, 2000) == [TAKEN]
    assert [*deadlines, lane.deadline_ns] == [(1000 + VOID_MS) * MS, None]
    assert lane.today == Tally(grants=1, passages=1)


def test_a_grant_that_nobody_takes_is_void_after_the_wait() -> None:
    """Not a nanosecond earlier, once, and it says whose it was."""
    lane = _lane()
    lane.grant(IN, at_ms(0), "a1")
    assert [lane.elapse(VOID_MS * MS - 1), lane.elapse(VOID_MS * MS), lane.elapse(2 * VOID_MS * MS)] == [[], [VOID], []]
    assert (lane.deadline_ns, lane.today) == (None, Tally(grants=1))


@pytest.mark.parametrize(("ms", "told"), [(WAIT_MS, TAKEN), (WAIT_MS + 1, WITHOUT)])
def test_the_wait_is_measured_to_the_beginning_of_the_passage(ms: int, told: Told) -> None:
    """Who begins to go in time has taken the access, though it is heard later."""
    lane = _lane()
    lane.grant(IN, at_ms(0))
    assert _pass(lane, ms) == [told]


def test_a_second_person_behind_the_first_has_no_grant() -> None:
    """One grant is one passage."""
    lane = _lane()
    lane.grant(IN, at_ms(0))
    assert [_pass(lane, 1000), _pass(lane, 2000)] == [[TAKEN], [WITHOUT]]
    assert lane.today == Tally(grants=1, passages=2, without_grant=1)


def test_who_went_before_the_lane_opened_had_no_grant() -> None:
    """A grant is for those who come after it."""
    lane = _lane()
    _say(lane, 1000, IN, active=True)
    lane.grant(IN, at_ms(1100))
    assert _say(lane, 1400, IN, active=False) == [WITHOUT]
    assert _pass(lane, 2000) == [TAKEN]


def test_against_the_lane_s_direction_is_the_wrong_way() -> None:
    """Unless that way has been opened, as by a request to exit; a grant inwards is none outwards."""
    lane = _lane()
    lane.grant(IN, at_ms(0))
    assert _pass(lane, 1000, OUT) == [WRONG_WAY]
    lane.grant(OUT, at_ms(2000))
    assert _pass(lane, 3000, OUT) == [Told(direction=OUT, outcome=Outcome.TAKEN)]


def test_several_grants_in_hand_are_a_crowd() -> None:
    """Each is taken or void by itself, the oldest first."""
    lane = _lane()
    lane.grant(IN, at_ms(0), "a1")
    lane.grant(IN, at_ms(1000), "b2")
    assert _pass(lane, 2000) == [TAKEN]
    assert lane.elapse((1000 + VOID_MS) * MS) == [Told(direction=IN, outcome=Outcome.NOT_TAKEN, subject="b2")]
    assert lane.today == Tally(grants=2, crowded=1, passages=1)


def test_a_lane_without_sensors_tells_nothing() -> None:
    """It counts what it can, has no figures to show, and waits for nobody."""
    lane = _lane(sensors=())
    lane.present()
    lane.grant(IN, at_ms(0), "a1")
    assert (lane.elapse(VOID_MS * MS), lane.deadline_ns, lane.today) == ([], None, None)


def test_a_sensor_one_way_says_nothing_of_the_other() -> None:
    """Grants are in hand only where somebody can be seen to go."""
    lane = _lane(sensors=(OUT,))
    lane.grant(IN, at_ms(0))
    assert (lane.elapse(VOID_MS * MS), lane.today) == ([], Tally(grants=1))


def test_what_a_sensor_says_first_is_no_passage() -> None:
    """Somebody stands in it when the program starts; the next one counts."""
    lane = _lane(sensors=())
    assert [_say(lane, 0, IN, active=True), _say(lane, 500, IN, active=False)] == [[], []]
    assert (_pass(lane, 1000), lane.today) == ([WITHOUT], Tally(passages=1, without_grant=1))


def test_what_a_sensor_says_twice_counts_once() -> None:
    """Work is work until rest, and rest is no passage."""
    lane = _lane()
    lane.grant(IN, at_ms(0))
    assert [_say(lane, ms, IN, active=True) for ms in (1000, 2000)] == [[], []]
    assert [_say(lane, ms, IN, active=False) for ms in (3000, 3100)] == [[TAKEN], []]
    assert lane.today == Tally(grants=1, passages=1)


@pytest.mark.parametrize("from_start", [False, True])
def test_a_sensor_worked_for_thirty_seconds_is_stuck(from_start: bool) -> None:  # noqa: FBT001 - a table's column
    """Its passage does not count, grants of its direction are forgotten; it is believed again after its rest."""
    lane = _lane(sensors=() if from_start else (IN,))
    _say(lane, 1000, IN, active=True)
    deadlines = [lane.deadline_ns]
    lane.elapse((1000 + STUCK_MS) * MS - 1)
    assert lane.faults() == {}
    lane.grant(IN, at_ms(30_500), "a1")
    assert lane.elapse((1000 + STUCK_MS) * MS) == []
    assert lane.faults() == {InputLine.ENTRY_PASSAGE: STUCK}
    lane.grant(IN, at_ms(32_000), "a1")
    assert [*deadlines, lane.deadline_ns] == [(1000 + STUCK_MS) * MS, None]
    assert lane.elapse(60_000 * MS) == []
    assert (_say(lane, 70_000, IN, active=False), lane.faults()) == ([], {})
    assert (_pass(lane, 80_000), lane.today) == ([WITHOUT], Tally(grants=2, passages=1, without_grant=1))


def test_a_sensor_in_trouble_tells_nothing_until_it_is_believed_again() -> None:
    """Grants in hand are forgotten with it: what came of them cannot be known."""
    lane = _lane()
    lane.grant(IN, at_ms(0), "a1")
    _say(lane, 500, IN, active=True)
    assert _say(lane, 600, IN, active=False, trouble="chatters") == []
    assert (lane.elapse(VOID_MS * MS), lane.deadline_ns) == ([], None)
    assert _say(lane, 9000, IN, active=False) == []
    assert _pass(lane, 10_000) == [WITHOUT]


def test_in_a_free_lane_everybody_who_goes_is_counted_and_nobody_told_of() -> None:
    """Also who was on their way when it became free; after its end grants count again."""
    lane = _lane()
    lane.grant(IN, at_ms(0), "a1")
    _say(lane, 100, OUT, active=True)
    lane.release()
    assert _say(lane, 500, OUT, active=False, free=True) == []
    assert _say(lane, 1000, OUT, active=True, free=True) == []
    assert _say(lane, 1400, OUT, active=False) == []
    assert (lane.elapse(VOID_MS * MS), lane.today) == ([], Tally(grants=1, passages=2))
    assert _pass(lane, 9000, OUT) == [WRONG_WAY]


def test_a_day_begins_with_nothing_counted() -> None:
    """The same day again does not."""
    lane = _lane()
    lane.present()
    lane.begin_day(date(2021, 11, 22))
    assert lane.today == Tally(presentations=1)
    lane.begin_day(date(2021, 11, 23))
    assert lane.today == Tally()


def test_the_figures_are_as_documented() -> None:
    """Half a minute, and four tenths of a second; a stuck sensor says so in words."""
    assert (STUCK_NS, HEARD_LATE_NS) == (30_000_000_000, 400_000_000)
    assert STUCK.startswith("worked for 30 s; look what stands in it")


def test_a_lane_awaits_who_may_go_or_is_going() -> None:
    """Until they have passed, or their grant is void."""
    lane = Lane(IN, 5000 * MS)
    assert not lane.awaits(IN)
    _say(lane, 0, IN, active=False)
    lane.grant(IN, at_ms(100))
    seen = [lane.awaits(IN)]
    for ms, active in ((500, True), (800, False)):
        _say(lane, ms, IN, active=active)
        seen.append(lane.awaits(IN))
    assert (seen, lane.awaits(OUT)) == ([True, True, False], False)
    lane.grant(IN, at_ms(1000))
    lane.elapse(6400 * MS)
    assert not lane.awaits(IN)
