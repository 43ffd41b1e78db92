"""The wall clock jumps by a week, as it does on a Pi without a clock chip when a network comes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kiosk.messages import Line
from pibox.door import Door
from pibox.machine import within
from pibox.outside import grey

WEEK = timedelta(days=7)
WITHIN_S = 900.0
ROUGHLY_S = 60
"""From reading the box's clock to its jump."""


def test_a_week_forwards_and_back_moves_no_line_and_stops_nobody(door: Door) -> None:
    """Timesyncd sets the clock; each jump is told to the city, no line moves for it, and a visitor is let in."""
    before = door.shown("MainPID", "NRestarts")
    # Two settings at one look are told as one: what the machine's start has set is told before the jump, not with it.
    _let_in(door, datetime.fromtimestamp(int(door.machine.run("date", "+%s")), UTC))
    _jumped(door, WEEK)
    _jumped(door, -WEEK)
    assert door.shown("MainPID", "NRestarts") == before


def _jumped(door: Door, by: timedelta) -> None:
    door.machine.show(grey())  # who came before is gone: a code of next week would be denied
    within(WITHIN_S, lambda: door.view()["screen"] == "attract", "the page is idle")
    to = datetime.fromtimestamp(int(door.machine.run("date", "+%s")), UTC) + by
    since = len(door.machine.changes)
    told = len(door.city.events("clock-step"))
    door.set_time(to)
    within(WITHIN_S, lambda: any(_is(step, by) for step in door.city.events("clock-step")[told:]), "the city knows")
    moved = [change for change in door.machine.changes[since:] if change.kind == "set" and change.value]
    assert moved == []
    _let_in(door, to)


def _is(step: dict[str, Any], by: timedelta) -> bool:
    step_ms: int = step["step_ms"]
    return abs(step_ms / 1000 - by.total_seconds()) < ROUGHLY_S


def _let_in(door: Door, at: datetime) -> None:
    since = len(door.machine.changes)
    door.visit(at=at)
    within(WITHIN_S, lambda: door.pulses(Line.ENTRY_RELAY, since), "the visitor is let in")
