import ast
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kiosk.gate import Gate
from kiosk.interlock import Interlock
from kiosk.messages import Direction
from tests.exploring import ALPHABET, LIMITS, Broken, Found, MakeGate, door, explore, settings_for

ROOT = Path(__file__).parents[2]
ENTRY, EXIT = Direction
FIRE_AND_WAYS_OUT = ("an", "fire", "key", "request")
LANE = ("an", "in", "out")
ALARM = ("cougher", "key", "request", "stop")
COMMANDS = ("an", "unlock", "lock", "release", "request", "fire")
ALERTS = ("an", "raised", "acknowledged", "closed", "mute")

Row = tuple[str, Direction, bool, tuple[str, ...], int]
"""What the inputs are about, the door's direction, whether its alarm waits, the inputs, and how many of them."""
EXPLORED: dict[Row, tuple[int, int]] = {
    ("everything", ENTRY, True, ALPHABET, 2): (228, 356),
    ("everything", EXIT, True, ALPHABET, 2): (201, 334),
    ("fire and ways out", ENTRY, False, FIRE_AND_WAYS_OUT, 5): (2025, 3047),
    ("fire and ways out", EXIT, True, FIRE_AND_WAYS_OUT, 5): (1786, 2787),
    ("lane", ENTRY, False, LANE, 6): (859, 1550),
    ("alarm", ENTRY, True, ALARM, 5): (1984, 3001),
    ("alarm", EXIT, True, ALARM, 5): (1490, 2431),
    ("commands", ENTRY, False, COMMANDS, 4): (785, 1436),
    ("commands", EXIT, False, COMMANDS, 4): (376, 823),
    ("alerts", ENTRY, False, ALERTS, 5): (754, 1716),
}
"""For each, states and ways between them."""


@pytest.mark.parametrize("row", EXPLORED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_no_order_of_inputs_breaks_a_law(row: Row) -> None:
    """In every state that so many inputs and ticks can lead to, and on every way; there are just so many."""
    _, direction, alarm_waits, names, depth = row
    found = explore(door(settings_for(direction, alarm_waits=alarm_waits)), names, depth)
    states, ways = EXPLORED[row]
    assert found == Found(states=states, ways=ways, depth=depth, whole=found.whole)


def test_the_document_has_these_figures() -> None:
    """docs/door.md is compared with the exploration's rows."""
    text = (ROOT / "docs" / "door.md").read_text("utf-8")
    for (about, direction, alarm_waits, _, depth), (states, ways) in EXPLORED.items():
        alarm = "waits" if alarm_waits else "timed"
        assert f"| {about} | {direction} | {alarm} | {depth} | {states:,} | {ways:,} |" in text


def _broken(module: str, right: str, wrong: str) -> MakeGate:
    """A gate made with one line of one module changed, in modules of its own."""
    kept = {name: sys.modules[f"kiosk.{name}"] for name in COPIED}
    package = sys.modules["kiosk"]
    try:
        for name in COPIED[COPIED.index(module) :]:
            text = (ROOT / "kiosk" / f"{name}.py").read_text("utf-8")
            if name == module:
                assert text.count(right) == 1, f"{right!r} stands once in {module}"
                text = text.replace(right, wrong)
            copy = ModuleType(f"kiosk.{name}")
            sys.modules[copy.__name__] = copy
            setattr(package, name, copy)
            exec(compile(ast.parse(text), f"{name}.py", "exec"), copy.__dict__)  # noqa: S102 - our own, changed
        make_gate: MakeGate = sys.modules["kiosk.gate"].Gate
        return make_gate
    finally:
        for name, real in kept.items():
            sys.modules[f"kiosk.{name}"] = real
            setattr(package, name, real)


COPIED = (
    "lane",
    "alerts",
    "orders",
    "choreography",
    "risk",
    "signals",
    "contacts",
    "judging",
    "doorway",
    "display",
    "gate",
)
"""In the order in which they import each other."""
Change = tuple[str, str, str]
"""A module, what stands there once, and what shall stand there."""

BREAKS: dict[str, tuple[Direction, tuple[str, ...], int, Change]] = {
    "a command is answered exactly once": (
        *(ENTRY, ("mute",), 1),
        ("gate", "= [_beside(events.of_answer(orders.answer(command, why_not), now))]", "= []"),
    ),
    "in a fire no command is carried out": (
        *(ENTRY, ("fire", "mute"), 2),
        ("orders", "frozenset(Order) - {Order.RESYNC, Order.DIAGNOSTICS}", "{Order.UNLOCK}"),
    ),
    "an exit is never locked": (
        *(EXIT, ("lock",), 1),
        ("orders", "(Fact.EXIT, {Order.LOCK}", "(Fact.EXIT, set()"),
    ),
    "a lock-down is shown": (
        *(ENTRY, ("lock",), 1),
        ("gate", "Lasting.LOCKED: Fact.LOCKED in facts", "Lasting.LOCKED: False"),
    ),
    "an alarm is signalled and shown until staff acknowledge it": (
        *(ENTRY, ("cougher",), 4),
        ("gate", "Lasting.ALARM: self._display.alarm is not None", "Lasting.ALARM: False"),
    ),
    "an alert is shown until it is closed": (
        *(ENTRY, ("raised", "delivered"), 2),
        ("alerts", "life.state is not AlertState.CLOSED", "life.state is AlertState.RAISED"),
    ),
    "in a fire no relay is granted": (
        *(ENTRY, ("fire", "request"), 2),
        ("gate", "return [] if self._contacts.free else self._answer_people", "return self._answer_people"),
    ),
    "no grant without a record asked for before it": (
        *(ENTRY, ("key",), 1),
        ("gate", "return [record, drive] if first_record else [drive, record]", "return [drive, record]"),
    ),
    "no entry is granted that cannot be recorded": (
        *(ENTRY, ("outbox", "key"), 2),
        ("gate", "Fact.ALARM, Fact.UNRECORDED})", "Fact.ALARM})"),
    ),
    "a locked entry grants nobody": (
        *(ENTRY, ("lock", "an"), 3),
        ("gate", "{Fact.LOCKED, Fact.STOP, Fact.ALARM}", "{Fact.STOP, Fact.ALARM}"),
    ),
    "the city's order opens only while it lasts": (
        *(ENTRY, ("unlock",), 8),
        ("orders", "now_ns + command.seconds * S", "now_ns + (command.seconds + 1) * S"),
    ),
    "a request to exit is never refused": (
        *(ENTRY, ("stop", "request"), 2),
        ("gate", "if direction is Direction.ENTRY and not KEEPING_SHUT", "if not KEEPING_SHUT"),
    ),
    "a request to exit waits for its relay's rest only": (
        *(ENTRY, ("cougher", "request"), 2),
        (
            "doorway",
            "return self._ready_ns(Direction.EXIT) if cause is Cause.REQUEST_TO_EXIT else self.busy_until_ns",
            "return self.busy_until_ns",
        ),
    ),
    "an exit is never denied": (
        *(EXIT, ("cougher",), 1),
        ("risk", "        decision = Decision.GRANTED\n    return Verdict(", "        pass\n    return Verdict("),
    ),
    "an exit opens at once for whoever comes while it has time": (
        *(EXIT, ("stop", "an"), 2),
        ("gate", "Fact.STOP: entry and self", "Fact.STOP: self"),
    ),
    "gate and interlock agree about a fire": (
        *(ENTRY, ("fire",), 1),
        ("gate", "return [Fire(on=True)]", "return []"),
    ),
    "what the gate drives meets no objection": (
        *(ENTRY, ("cougher", "an", "request", "key"), 4),
        ("doorway", "self.busy_until_ns = max(now_ns, self._all_ready_ns())", "self.busy_until_ns = now_ns"),
    ),
    "a deadline is in the future": (
        *(ENTRY, ("an",), 3),
        ("doorway", "busy = self.busy_until_ns if self.busy_until_ns > now_ns else None", "busy = self.busy_until_ns"),
    ),
}
"""For each law a door of which direction, which inputs and how many of them show it broken by which change."""


@pytest.mark.parametrize("law", BREAKS)
def test_every_law_can_be_broken(law: str) -> None:
    """One line changed, and the explorer finds inputs that show it; unchanged, the same inputs break nothing."""
    direction, names, depth, change = BREAKS[law]
    settings = settings_for(direction, alarm_waits=True)
    explore(door(settings), names, depth)
    with pytest.raises(Broken, match=f"^{law}: "):
        explore(door(settings, _broken(*change)), names, depth)


SLOW = {line: replace(limit, longest_on_ns=10 * limit.longest_on_ns) for line, limit in LIMITS.items()}
NO_END = ("choreography", "for at, on in ((start, True), (end, False))", "for at, on in ((start, True),)")
GUARDED: dict[str, tuple[tuple[str, ...], Callable[[], Interlock], Change | None]] = {
    "no relay is on past its limit": (("key", "lock"), lambda: Interlock(SLOW), NO_END),
    "a fire has every relay at its level": (
        ("fire",),
        lambda: Interlock({line: replace(limit, fire_on=None) for line, limit in LIMITS.items()}),
        None,
    ),
    "both relays are never on at once": (
        ("key", "request"),
        lambda: Interlock(LIMITS, both_ways=True),
        ("choreography", "(LineChange(after_ms=0, line=other, on=False), *changes_of(pulses))", "changes_of(pulses)"),
    ),
}
"""Laws that the interlock keeps whatever the gate does: they break with another one only."""


@pytest.mark.parametrize("law", GUARDED)
def test_what_the_interlock_keeps_breaks_without_it(law: str) -> None:
    """With its own interlock, no change of the gate breaks the law."""
    names, other, change = GUARDED[law]
    settings = settings_for(ENTRY, alarm_waits=False)
    make_gate = _broken(*change) if change else Gate
    with pytest.raises(Broken, match=f"^{law}: "):
        explore(door(settings, make_gate, other), names, 4)
    with suppress(Broken):
        explore(door(settings, make_gate), names, 4)
        return
    with pytest.raises(Broken, match=r"^what the gate drives meets no objection"):
        explore(door(settings, make_gate), names, 4)


def test_no_law_is_left_out() -> None:
    """Each that the explorer names is shown to break above."""
    text = (ROOT / "tests" / "exploring.py").read_text("utf-8")
    named = {
        node.args[1].value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_law"
        if isinstance(node.args[1], ast.Constant)
    }
    assert named == BREAKS.keys() | GUARDED.keys()
