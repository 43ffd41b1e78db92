"""People at the door: seen on its lines, on its page and in the city's database."""

import pytest

from kiosk.clock import S
from kiosk.contacts import RESET_NS
from kiosk.messages import Line, Symptom
from pibox.door import FIRE, Door
from pibox.machine import within

SEEN_WITHIN_S = 600.0
CHECK_IN = "check-in"


@pytest.fixture
def since(door: Door) -> int:
    """How many changes there were before the test; nobody is at the door."""
    within(SEEN_WITHIN_S, lambda: door.view()["screen"] == "attract", "the page is idle")
    return len(door.machine.changes)


def test_a_healthy_visitor_is_let_in(door: Door, since: int) -> None:
    """One pulse of the entry relay, of the length that the site asked for; a check-in in the city's database."""
    told = len(door.city.events())
    door.visit()
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.ENTRY_RELAY, since), "the entry relay has pulsed")
    (pulse,) = door.pulses(Line.ENTRY_RELAY, since)
    assert 0.45 < pulse < 0.75
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.GREEN, since), "the green light has been on")
    assert door.pulses(Line.RED, since) == []
    within(SEEN_WITHIN_S, lambda: len(door.city.events()) > told, "the city has the check-in")
    assert door.city.events(CHECK_IN)[-1]["decision"] == "granted"


def test_a_person_at_risk_is_stopped_and_the_authority_told(door: Door, since: int) -> None:
    """Red light and buzzer, no relay; the page says so; check-in and alert in the city's database."""
    told = len(door.city.events())
    door.visit(Symptom.FEVER)
    within(SEEN_WITHIN_S, lambda: door.view()["screen"] == "at_risk", "the page says so")
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.BUZZER, since), "the buzzer has sounded")
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.RED, since), "the red light has been on")
    assert door.pulses(Line.ENTRY_RELAY, since) == []
    assert door.pulses(Line.GREEN, since) == []
    within(SEEN_WITHIN_S, lambda: len(door.city.events()) >= told + 2, "the city has both")
    assert door.city.events(CHECK_IN)[-1]["decision"] == "denied"
    assert "alert" in [event["kind"] for event in door.city.events()[told:]]


def test_a_cut_network_loses_nothing(door: Door, since: int) -> None:
    """A visitor comes while the cable is out; the city has them once it is in again."""
    told = len(door.city.events())
    door.machine.plug_network(connected=False)
    door.visit()
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.ENTRY_RELAY, since), "the door works without the network")
    assert len(door.city.events()) == told
    door.machine.plug_network(connected=True)
    within(SEEN_WITHIN_S, lambda: len(door.city.events()) > told, "the city has them")


def test_a_camera_that_vanishes_is_told_and_comes_back(door: Door, since: int) -> None:
    """The page says out of order while there is no picture; the same daemon reads again afterwards."""
    before = door.shown("MainPID", "NRestarts")
    door.machine.ask("gone", gone=True)
    within(SEEN_WITHIN_S, lambda: door.view()["fault"], "the page tells of it")
    door.machine.ask("gone", gone=False)
    within(SEEN_WITHIN_S, lambda: not door.view()["fault"], "it is over")
    door.visit()
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.ENTRY_RELAY, since), "somebody is let in")
    assert door.shown("MainPID", "NRestarts") == before


def test_a_fire_is_shown_until_staff_reset_it(door: Door, since: int) -> None:
    """The contact opens and closes: the page shows the fire until the staff key is held for so long.

    `fire_on` names no relay here.
    """
    door.machine.ask("pull", line=FIRE, up=True)
    within(SEEN_WITHIN_S, lambda: door.view()["screen"] == "fire", "the page shows the fire")
    door.machine.ask("pull", line=FIRE, up=False)
    door.machine.run("sleep", "2")
    assert door.view()["screen"] == "fire"
    door.press_staff_key(held_s=RESET_NS / S + 1)
    within(SEEN_WITHIN_S, lambda: door.view()["screen"] != "fire", "staff have reset it")
    assert [door.pulses(relay, since) for relay in (Line.ENTRY_RELAY, Line.EXIT_RELAY)] == [[], []]


def test_who_goes_through_is_counted(door: Door, since: int) -> None:
    """A grant, then the passage contact: the city has a passage as it should be."""
    told = len(door.city.events("passage"))
    door.visit()
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.ENTRY_RELAY, since), "the entry relay has pulsed")
    door.pass_through()
    within(SEEN_WITHIN_S, lambda: len(door.city.events("passage")) > told, "the city has the passage")
    assert door.city.events("passage")[-1]["outcome"] == "access_taken"


def test_the_staff_key_opens_and_is_told(door: Door, since: int) -> None:
    """Staff press their key: one pulse of the entry relay, and an opening with its cause in the city's database."""
    told = len(door.city.events("opening"))
    door.press_staff_key()
    within(SEEN_WITHIN_S, lambda: door.pulses(Line.ENTRY_RELAY, since), "the entry relay has pulsed")
    within(SEEN_WITHIN_S, lambda: len(door.city.events("opening")) > told, "the city has the opening")
    assert door.city.events("opening")[-1]["cause"] == "staff_override"
