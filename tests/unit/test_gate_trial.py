"""Somebody who is nobody at the gate: what a technician's trial visitor shows, opens and records."""

import pytest

from kiosk import choreography
from kiosk.gate import Gate
from kiosk.messages import (
    RELAYS,
    Cause,
    Command,
    Direction,
    Drive,
    Effect,
    InputLine,
    Opening,
    Order,
    Record,
    Screen,
    Sensed,
    Show,
    StageHealth,
    TrialVisit,
    TrialVisitor,
)
from tests.builders import at_ms, city, site

SHUT, OPEN = (TrialVisitor(mark="a1", opens=opens) for opens in (False, True))


def gate_at(direction: Direction = Direction.ENTRY) -> Gate:
    """A door with nobody before it."""
    gate = Gate(site(direction), city({}))
    for line in (InputLine.FIRE, InputLine.EMERGENCY_STOP):
        gate.step(Sensed(line=line, active=False, at_ns=0), at_ms(0))
    return gate


def visit_in(effects: list[Effect]) -> TrialVisit:
    """The one that was recorded."""
    (visit,) = [
        each
        for effect in effects
        if isinstance(effect, Record)
        for each in effect.events
        if isinstance(each, TrialVisit)
    ]
    return visit


def relays_in(effects: list[Effect]) -> set[str]:
    """Relays that are driven on."""
    drives = [effect.actuation for effect in effects if isinstance(effect, Drive)]
    return {change.line for drive in drives for change in drive.changes if change.on and change.line in RELAYS.values()}


@pytest.mark.parametrize("direction", Direction)
def test_nobody_is_greeted_and_the_lane_stays_shut(direction: Direction) -> None:
    """Lights and sound of a grant, the screen of one, and a record that is no check-in."""
    effects = gate_at(direction).step(SHUT, at_ms(1000))
    visit = visit_in(effects)
    assert (visit.mark, visit.direction, visit.shown, visit.opened, visit.detail) == ("a1", direction, True, False, "")
    assert [effect.actuation for effect in effects if isinstance(effect, Drive)] == [
        choreography.signal(choreography.GRANTED)
    ]
    assert [effect.view.screen for effect in effects if isinstance(effect, Show)] == [Screen.GRANTED]
    assert relays_in(effects) == set()


@pytest.mark.parametrize("direction", Direction)
def test_the_lane_opens_for_nobody_if_a_technician_asks_for_it(direction: Direction) -> None:
    """After its record, as for staff's key; the event says that it was a trial."""
    effects = gate_at(direction).step(OPEN, at_ms(1000))
    openings = [e for effect in effects if isinstance(effect, Record) for e in effect.events if isinstance(e, Opening)]
    assert (visit_in(effects).opened, relays_in(effects)) == (True, {f"{direction}_relay"})
    assert [(opening.cause, opening.direction) for opening in openings] == [(Cause.TRIAL, direction)]
    records = [number for number, effect in enumerate(effects) if isinstance(effect, Record)]
    (drive,) = [number for number, effect in enumerate(effects) if isinstance(effect, Drive)]
    assert max(records) < drive


@pytest.mark.parametrize(
    ("before", "visitor", "detail"),
    [
        (SHUT, SHUT, "somebody is being served; try again"),
        (Sensed(line=InputLine.FIRE, active=True, at_ns=0), SHUT, "fire: until staff have reset the door"),
        (Sensed(line=InputLine.EMERGENCY_STOP, active=True, at_ns=0), OPEN, "the emergency stop is pressed"),
        (Command(number=1, order=Order.LOCK, seconds=600), OPEN, "the entry is locked; release it first"),
        (StageHealth(stage="outbox", fault="full"), OPEN, "events cannot be stored, so nobody is let in"),
    ],
)
def test_what_keeps_people_out_keeps_nobody_out(before: object, visitor: TrialVisitor, detail: str) -> None:
    """Nothing is shown and nothing opens; the record says why."""
    gate = gate_at()
    gate.step(before, at_ms(1000))  # type: ignore[arg-type]  # each is an Input
    effects = gate.step(visitor, at_ms(1100))
    visit = visit_in(effects)
    assert (visit.shown, visit.opened, visit.detail, relays_in(effects)) == (False, False, detail, set())


def test_a_locked_door_still_shows_that_it_works() -> None:
    """Without the lane there is nothing to refuse but a fire, and somebody who is served."""
    gate = gate_at()
    gate.step(Command(number=1, order=Order.LOCK, seconds=600), at_ms(1000))
    assert visit_in(gate.step(SHUT, at_ms(1100))).shown
