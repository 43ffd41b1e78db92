from itertools import product

import pytest

from kiosk.clock import MS
from kiosk.interlock import FIRE_LAW, Fire, FireInput, Grant, GrantKind, Interlock, Limit
from kiosk.messages import RELAYS, Direction, Line

RELAY = Limit(longest_on_ns=750 * MS, shortest_rest_ns=200 * MS)
FREED = Limit(longest_on_ns=750 * MS, shortest_rest_ns=200 * MS, fire_on=True)
LIGHT = Limit(longest_on_ns=6000 * MS, shortest_rest_ns=0)
LIMITS = {Line.GREEN: LIGHT, Line.ENTRY_RELAY: RELAY, Line.EXIT_RELAY: RELAY}

BOTH = list(RELAYS.items())


def _grant(direction: Direction, given_ns: int = 0, kind: GrantKind = GrantKind.PERSON) -> Grant:
    return Grant(direction=direction, given_ns=given_ns, kind=kind)


ENTRY, EXIT = _grant(Direction.ENTRY), _grant(Direction.EXIT)


@pytest.fixture
def interlock() -> Interlock:
    """Guard of a door with one light and both relays."""
    return Interlock(LIMITS)


@pytest.fixture
def freed() -> Interlock:
    """Guard of a door whose exit relay a fire holds on."""
    return Interlock({**LIMITS, Line.EXIT_RELAY: FREED})


def test_a_light_goes_on_without_a_grant(interlock: Interlock) -> None:
    """Only relays need one."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""


def test_a_line_the_door_does_not_have_stays_off(interlock: Interlock) -> None:
    """Nothing was said of a buzzer here, so it is refused, and does not count as on."""
    assert interlock.objection_to_on(Line.BUZZER, 0, ENTRY) == "buzzer is not a line of this door"
    assert (interlock.demands(10**12), interlock.next_demand_ns()) == ((), None)


@pytest.mark.parametrize(("direction", "relay"), BOTH)
@pytest.mark.parametrize("kind", GrantKind)
def test_a_relay_goes_on_for_a_grant_or_command_of_its_direction(
    interlock: Interlock, direction: Direction, relay: Line, kind: GrantKind
) -> None:
    """Either relay opens, for its limit."""
    assert interlock.objection_to_on(relay, 0, _grant(direction, kind=kind)) == ""
    assert interlock.next_demand_ns() == 750 * MS


@pytest.mark.parametrize("relay", RELAYS.values())
def test_a_relay_without_a_grant_stays_off(interlock: Interlock, relay: Line) -> None:
    """The refusal leaves it off: nothing is going to be demanded."""
    assert interlock.objection_to_on(relay, 0, None) == f"{relay} has no grant"
    assert interlock.next_demand_ns() is None


def test_a_relay_with_a_grant_of_the_other_direction_stays_off(interlock: Interlock) -> None:
    """Leave to go out opens no way in, nor the reverse."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, EXIT) == "entry_relay has no grant"
    assert interlock.objection_to_on(Line.EXIT_RELAY, 0, ENTRY) == "exit_relay has no grant"


def test_a_grant_is_good_for_a_second(interlock: Interlock) -> None:
    """At exactly its age limit it still opens, whenever it was given."""
    given_ns = 5000 * MS
    assert interlock.objection_to_on(Line.ENTRY_RELAY, given_ns + 1000 * MS, _grant(Direction.ENTRY, given_ns)) == ""


@pytest.mark.parametrize("kind", GrantKind)
@pytest.mark.parametrize("now_ns", [6000 * MS + 1, 5000 * MS - 1])
def test_a_grant_too_old_or_from_the_future_opens_nothing(interlock: Interlock, now_ns: int, kind: GrantKind) -> None:
    """A nanosecond over the limit, or before it was given, it is stale; so is a command."""
    grant = _grant(Direction.ENTRY, 5000 * MS, kind)
    assert interlock.objection_to_on(Line.ENTRY_RELAY, now_ns, grant) == f"the {kind} for entry_relay is stale"


def test_leave_comes_from_a_grant_or_a_command() -> None:
    """These are the words an objection uses; a grant is a person's unless it says otherwise."""
    assert [str(kind) for kind in GrantKind] == ["grant", "command"]
    assert Grant(direction=Direction.ENTRY, given_ns=0).kind is GrantKind.PERSON


@pytest.mark.parametrize(("first", "second"), [(BOTH[0], BOTH[1]), (BOTH[1], BOTH[0])])
def test_both_relays_are_never_on_together(
    interlock: Interlock, first: tuple[Direction, Line], second: tuple[Direction, Line]
) -> None:
    """The second waits until the first is off, and may then go on at once."""
    assert interlock.objection_to_on(first[1], 0, _grant(first[0])) == ""
    assert interlock.objection_to_on(second[1], 1, _grant(second[0])) == f"{first[1]} is on"
    assert interlock.objection_to_off(first[1], 2) == ""
    assert interlock.objection_to_on(second[1], 2, _grant(second[0])) == ""


def test_both_relays_may_be_on_where_the_lane_has_a_barrier_for_each() -> None:
    """Then each has its own limit and rest, and nothing else changes."""
    interlock = Interlock(LIMITS, both_ways=True)
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    assert interlock.objection_to_on(Line.EXIT_RELAY, 1, None) == "exit_relay has no grant"
    assert interlock.objection_to_on(Line.EXIT_RELAY, 1, EXIT) == ""
    assert interlock.demands(750 * MS + 1) == ((Line.ENTRY_RELAY, False), (Line.EXIT_RELAY, False))


def test_a_light_does_not_keep_a_relay_off(interlock: Interlock) -> None:
    """Only the other relay excludes a relay."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""


def test_a_relay_rests_between_two_pulses(interlock: Interlock) -> None:
    """A nanosecond short of its rest it is refused; after the whole rest it may go on."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    assert interlock.objection_to_off(Line.ENTRY_RELAY, 500 * MS) == ""
    early = interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS - 1, ENTRY)
    assert early == "entry_relay has rested 199 ms of 200 ms"
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS, ENTRY) == ""


def test_a_relay_that_never_was_on_needs_no_rest(interlock: Interlock) -> None:
    """At start, and after an off that changed nothing, there is nothing to rest from."""
    assert interlock.objection_to_off(Line.ENTRY_RELAY, 0) == ""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""


def test_an_off_that_changes_nothing_does_not_begin_the_rest_again(interlock: Interlock) -> None:
    """The rest counts from when the line really went off."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    interlock.objection_to_off(Line.ENTRY_RELAY, 100 * MS)
    interlock.objection_to_off(Line.ENTRY_RELAY, 250 * MS)
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 300 * MS, ENTRY) == ""


def test_a_relay_that_is_on_may_be_granted_again_without_lasting_longer(interlock: Interlock) -> None:
    """A second grant is no refusal and does not move the limit; without one it is refused, on or not."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS, ENTRY) == ""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 700 * MS, None) == "entry_relay has no grant"
    assert (interlock.next_demand_ns(), interlock.demands(750 * MS)) == (750 * MS, ((Line.ENTRY_RELAY, False),))


def test_a_light_that_is_wanted_again_lasts_from_then(interlock: Interlock) -> None:
    """The next verdict has the light for its whole limit."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""
    assert interlock.objection_to_on(Line.GREEN, 4000 * MS, None) == ""
    assert interlock.next_demand_ns() == 10_000 * MS


def test_a_line_must_go_off_from_the_moment_its_limit_is_reached(interlock: Interlock) -> None:
    """Not a nanosecond before, and until it is off."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 10, _grant(Direction.ENTRY, 10)) == ""
    assert interlock.demands(750 * MS + 9) == ()
    assert interlock.demands(750 * MS + 10) == ((Line.ENTRY_RELAY, False),)
    assert interlock.demands(9000 * MS) == ((Line.ENTRY_RELAY, False),)
    assert interlock.objection_to_off(Line.ENTRY_RELAY, 9000 * MS) == ""
    assert (interlock.demands(9000 * MS), interlock.next_demand_ns()) == ((), None)


def test_the_next_demand_is_about_the_line_that_ends_first(interlock: Interlock) -> None:
    """A light that went on earlier may well stay on longer."""
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""
    assert interlock.next_demand_ns() == 6000 * MS
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 100 * MS, ENTRY) == ""
    assert interlock.next_demand_ns() == 850 * MS


def test_a_line_whose_driver_refused_counts_as_on_and_is_demanded_again(interlock: Interlock) -> None:
    """A stuck entry relay keeps the exit relay off, every 100 ms it must go off, and its rest begins when it is."""
    assert interlock.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == ""
    assert interlock.objection_to_off(Line.ENTRY_RELAY, 500 * MS) == ""
    interlock.note_refused(Line.ENTRY_RELAY, 500 * MS)
    assert interlock.objection_to_on(Line.EXIT_RELAY, 550 * MS, EXIT) == "entry_relay is on"
    assert (interlock.next_demand_ns(), interlock.demands(600 * MS)) == (600 * MS, ((Line.ENTRY_RELAY, False),))
    assert interlock.objection_to_off(Line.ENTRY_RELAY, 600 * MS) == ""
    assert interlock.objection_to_on(Line.EXIT_RELAY, 600 * MS, EXIT) == ""
    assert interlock.objection_to_off(Line.EXIT_RELAY, 601 * MS) == ""
    early = interlock.objection_to_on(Line.ENTRY_RELAY, 750 * MS, ENTRY)
    assert early == "entry_relay has rested 150 ms of 200 ms"


def test_what_the_caller_does_to_the_limits_later_changes_nothing() -> None:
    """The door's lines are settled when the guard is made."""
    limits = dict(LIMITS)
    interlock = Interlock(limits)
    limits.clear()
    assert interlock.objection_to_on(Line.GREEN, 0, None) == ""


# Fire.


@pytest.mark.parametrize(("state", "what"), list(product(Fire, FireInput)))
def test_a_fire_goes_from_state_to_state_by_the_law_and_no_other_way(state: Fire, what: FireInput) -> None:
    """It begins at any time, ends when the input does, and is gone only by a reset after that."""
    ways: dict[Fire, str] = {Fire.NONE: "", Fire.ALARM: "starts", Fire.OVER: "starts ends"}
    law = {"none starts": "alarm", "alarm ends": "over", "over starts": "alarm", "over reset": "none"}
    interlock = Interlock(LIMITS)
    for step in ways[state].split():
        _tell(interlock, FireInput(step), 0)
    assert interlock.fire_state is state
    _tell(interlock, what, 1)
    assert interlock.fire_state == law.get(f"{state} {what}", state)
    assert {f"{was} {how}": after for (was, how), after in FIRE_LAW.items()} == law


def _tell(interlock: Interlock, what: FireInput, now_ns: int) -> None:
    {FireInput.STARTS: interlock.fire, FireInput.ENDS: interlock.fire_over, FireInput.RESET: interlock.reset}[what](
        now_ns
    )


def test_a_fire_is_not_reset_while_its_input_is_active(interlock: Interlock) -> None:
    """The refusal says why; after the input's end the reset is not refused, and neither is one too many."""
    interlock.fire(0)
    assert interlock.reset(1) == "the fire input is still active"
    assert interlock.fire_state is Fire.ALARM
    interlock.fire_over(2)
    assert (interlock.reset(3), interlock.reset(4), interlock.fire_state) == ("", "", Fire.NONE)


def test_a_fire_at_once_demands_every_release_at_its_fire_level(freed: Interlock) -> None:
    """The entry relay that is on must go off, the exit relay on; the light is nobody's concern."""
    freed.objection_to_on(Line.GREEN, 0, None)
    freed.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY)
    freed.fire(10)
    assert dict(freed.demands(10)) == {Line.ENTRY_RELAY: False, Line.EXIT_RELAY: True}
    assert freed.next_demand_ns() == 10


@pytest.mark.parametrize("over", [False, True])
def test_no_grant_moves_a_relay_that_rests_in_a_fire(freed: Interlock, over: bool) -> None:  # noqa: FBT001
    """Not a fresh one, and not after the input's end."""
    freed.fire(0)
    if over:
        freed.fire_over(0)
    assert freed.objection_to_on(Line.ENTRY_RELAY, 0, ENTRY) == "entry_relay stays at rest until the fire is reset"
    assert dict(freed.demands(10**12)) == {Line.EXIT_RELAY: True}


@pytest.mark.parametrize("over", [False, True])
def test_what_a_fire_holds_on_goes_off_for_nobody(freed: Interlock, over: bool) -> None:  # noqa: FBT001
    """It needs no grant and no rest to go on, and no limit ends it; after each it is told again."""
    freed.objection_to_on(Line.EXIT_RELAY, 0, EXIT)
    freed.objection_to_off(Line.EXIT_RELAY, 1)
    freed.fire(2)
    if over:
        freed.fire_over(2)
    assert freed.objection_to_on(Line.EXIT_RELAY, 2, None) == ""
    assert freed.objection_to_off(Line.EXIT_RELAY, 3) == "exit_relay is held on until the fire is reset"
    assert (freed.demands(750 * MS + 1), freed.demands(750 * MS + 2)) == ((), ((Line.EXIT_RELAY, True),))
    assert freed.objection_to_on(Line.EXIT_RELAY, 750 * MS + 2, None) == ""
    assert freed.next_demand_ns() == 1500 * MS + 2


def test_a_driver_that_refuses_to_free_the_exit_is_told_again(freed: Interlock) -> None:
    """Every 100 ms, as with a line that will not rest."""
    freed.fire(0)
    assert freed.objection_to_on(Line.EXIT_RELAY, 0, None) == ""
    freed.note_refused(Line.EXIT_RELAY, 0)
    assert (freed.demands(100 * MS - 1), freed.demands(100 * MS)) == ((), ((Line.EXIT_RELAY, True),))


def test_a_reset_demands_at_once_that_what_the_fire_held_on_rests(freed: Interlock) -> None:
    """Then all is as before: rest, grant, and a limit that ends it."""
    freed.fire(0)
    freed.objection_to_on(Line.EXIT_RELAY, 0, None)
    freed.fire_over(5)
    assert freed.reset(10) == ""
    assert freed.demands(10) == ((Line.EXIT_RELAY, False),)
    assert freed.objection_to_off(Line.EXIT_RELAY, 10) == ""
    assert freed.objection_to_on(Line.EXIT_RELAY, 10, EXIT) == "exit_relay has rested 0 ms of 200 ms"
    assert freed.objection_to_on(Line.EXIT_RELAY, 300 * MS, None) == "exit_relay has no grant"
    assert freed.objection_to_on(Line.EXIT_RELAY, 300 * MS, EXIT) == ""
    assert freed.demands(1050 * MS) == ((Line.EXIT_RELAY, False),)


def test_a_reset_without_a_fire_ends_nobodys_pulse(freed: Interlock) -> None:
    """Nor does the end of a fire that never was."""
    freed.objection_to_on(Line.EXIT_RELAY, 0, EXIT)
    freed.fire_over(5)
    assert (freed.reset(5), freed.demands(5), freed.next_demand_ns()) == ("", (), 750 * MS)


def test_a_fire_leaves_lights_alone(freed: Interlock) -> None:
    """They go on and off during it, with their own limits."""
    freed.fire(0)
    assert freed.objection_to_on(Line.GREEN, 0, None) == ""
    assert freed.objection_to_off(Line.GREEN, 1) == ""
    assert freed.objection_to_on(Line.GREEN, 2, None) == ""
    assert (Line.GREEN, False) in freed.demands(6000 * MS + 2)


@pytest.mark.parametrize("fire_on", [False, True])
def test_a_line_that_is_no_relay_and_has_a_fire_level_moves_in_a_fire_only(fire_on: bool) -> None:  # noqa: FBT001
    """A spare output on a turnstile's fire input: no grant fits it."""
    interlock = Interlock({**LIMITS, Line.AMBER: Limit(longest_on_ns=MS, shortest_rest_ns=0, fire_on=fire_on)})
    assert interlock.releases == {Line.AMBER, Line.ENTRY_RELAY, Line.EXIT_RELAY}
    assert [interlock.objection_to_on(Line.AMBER, 0, grant) for grant in (None, ENTRY, EXIT)] == [
        "amber has no grant"
    ] * 3
    interlock.fire(0)
    assert interlock.demands(0) == (((Line.AMBER, True),) if fire_on else ())
    assert interlock.objection_to_on(Line.AMBER, 0, None) == (
        "" if fire_on else "amber stays at rest until the fire is reset"
    )
