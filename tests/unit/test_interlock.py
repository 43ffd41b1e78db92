import pytest

from kiosk.clock import MS
from kiosk.interlock import Grant, Interlock, Limit
from kiosk.messages import RELAYS, Direction, Line

RELAY = Limit(longest_on_ns=750 * MS, shortest_rest_ns=200 * MS)
LIGHT = Limit(longest_on_ns=6000 * MS, shortest_rest_ns=0)
LIMITS = {Line.GREEN: LIGHT, Line.ENTRY_RELAY: RELAY, Line.EXIT_RELAY: RELAY}

BOTH = list(RELAYS.items())


def _grant(direction: Direction, given_ns: int = 0) -> Grant:
    return Grant(direction=direction, given_ns=given_ns)


ENTRY, EXIT = _grant(Direction.ENTRY), _grant(Direction.EXIT)


@pytest.fixture
def interlock() -> Interlock:
    """Guard of a door with one light and both relays."""
    return Interlock(LIMITS)


def test_a_light_goes_on_without_a_grant(interlock: Interlock) -> None:
    """Only relays need one."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""


def test_a_line_the_door_does_not_have_stays_off(interlock: Interlock) -> None:
    """Nothing was said of a buzzer here, so it is refused, and does not count as on."""
    assert interlock.objection_to_on(Line.BUZZER, 0, ENTRY) == "buzzer is not a line of this door"
    assert (interlock.overdue(10**12), interlock.next_limit_ns()) == ((), None)


@pytest.mark.parametrize(("direction", "relay"), BOTH)
def test_a_relay_goes_on_for_a_grant_of_its_direction(interlock: Interlock, direction: Direction, relay: Line) -> None:
    """Either relay opens for its own grant."""
    assert interlock.objection_to_on(relay, 0, _grant(direction)) == ""
    assert interlock.next_limit_ns() == 750 * MS


@pytest.mark.parametrize("relay", RELAYS.values())
def test_a_relay_without_a_grant_stays_off(interlock: Interlock, relay: Line) -> None:
    """The refusal leaves it off: nothing is going to be overdue."""
    assert interlock.objection_to_on(relay, 0, None) == f"{relay} has no grant"
    assert interlock.next_limit_ns() is None


def test_a_relay_with_a_grant_of_the_other_direction_stays_off(interlock: Interlock) -> None:
    """Leave to go out opens no way in, nor the reverse."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, EXIT) == "entry_relay has no grant"
    assert interlock.objection_to_on(Line.EXIT_RELAY, 0, ENTRY) == "exit_relay has no grant"


def test_a_grant_is_good_for_a_second(interlock: Interlock) -> None:
    """At exactly its age limit it still opens, whenever it was given."""
    given_ns = 5000 * MS
    assert interlock.objection_to_on(Line.ENTRY_RELAY, given_ns + 1000 * MS, _grant(Direction.ENTRY, given_ns)) == ""


@pytest.mark.parametrize("now_ns", [6000 * MS + 1, 5000 * MS - 1])
def test_a_grant_too_old_or_from_the_future_opens_nothing(interlock: Interlock, now_ns: int) -> None:
    """A nanosecond over the limit, or before it was given, it is stale."""
    grant = _grant(Direction.ENTRY, 5000 * MS)
    assert interlock.objection_to_on(Line.ENTRY_RELAY, now_ns, grant) == "the grant for entry_relay is stale"


@pytest.mark.parametrize(("first", "second"), [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])])
def test_both_relays_are_never_on_together(
    interlock: Interlock, first: tuple[Direction, Line], second: tuple[Direction, Line]
) -> None:
    """The second waits until the first is off, and may then go on at once."""
    assert interlock.objection_to_on(first[1], 0, _grant(first[0])) == ""
    assert interlock.objection_to_on(second[1], 1, _grant(second[0])) == f"{first[1]} is on"
    interlock.note_off(first[1], 2)
    assert interlock.objection_to_on(second[1], 2, _grant(second[0])) == ""


def test_a_light_does_not_keep_a_relay_off(interlock: Interlock) -> None:
    """Only the other relay excludes a relay."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""


def test_a_relay_rests_between_two_pulses(interlock: Interlock) -> None:
    """A nanosecond short of its rest it is refused; after the whole rest it may go on."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    interlock.note_off(Line.ENTRY_RELAY, 500 * MS)
    early = interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS - 1, ENTRY)
    assert early == "entry_relay has rested 199 ms of 200 ms"
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS, ENTRY) == ""


def test_a_relay_that_never_was_on_needs_no_rest(interlock: Interlock) -> None:
    """At start, and after an off that changed nothing, there is nothing to rest from."""
    interlock.note_off(Line.ENTRY_RELAY, 0)
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""


def test_an_off_that_changes_nothing_does_not_begin_the_rest_again(interlock: Interlock) -> None:
    """The rest counts from when the line really went off."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    interlock.note_off(Line.ENTRY_RELAY, 100 * MS)
    interlock.note_off(Line.ENTRY_RELAY, 250 * MS)
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 300 * MS, ENTRY) == ""


def test_a_line_that_is_on_may_be_told_again_without_lasting_longer(interlock: Interlock) -> None:
    """A second "on" needs no grant, is no refusal, and does not move the limit."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS, None) == ""
    assert (interlock.next_limit_ns(), interlock.overdue(750 * MS)) == (750 * MS, (Line.ENTRY_RELAY,))


def test_a_line_is_overdue_from_the_moment_its_limit_is_reached(interlock: Interlock) -> None:
    """Not a nanosecond before, and until it is off."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 10, _grant(Direction.ENTRY, 10)) == ""
    assert interlock.overdue(750 * MS + 9) == ()
    assert interlock.overdue(750 * MS + 10) == (Line.ENTRY_RELAY,)
    assert interlock.overdue(9000 * MS) == (Line.ENTRY_RELAY,)
    interlock.note_off(Line.ENTRY_RELAY, 9000 * MS)
    assert (interlock.overdue(9000 * MS), interlock.next_limit_ns()) == ((), None)


def test_the_next_limit_is_that_of_the_line_that_ends_first(interlock: Interlock) -> None:
    """A light that went on earlier may well stay on longer."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""
    assert interlock.next_limit_ns() == 6000 * MS
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 100 * MS, ENTRY) == ""
    assert interlock.next_limit_ns() == 850 * MS


def test_what_the_caller_does_to_the_limits_later_changes_nothing() -> None:
    """The door's lines are settled when the guard is made."""
    limits = dict(LIMITS)
    interlock = Interlock(limits)
    limits.clear()
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""
