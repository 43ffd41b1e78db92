"""Every order of inputs to a door, over an abstract clock: `python -m tests.exploring --depth N`.

Breadth first over canonical states of gate, player and interlock together: everything they keep, times as differences
to now. The clock only goes to the next deadline that the door has asked for, or to just before it. In each state and on
each way to it the laws below are checked against a model of a few lines; a broken law is told with the inputs that lead
there. tests/properties/test_gate_states.py runs it to the depths of docs/door.md.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, timedelta
from enum import Enum
from typing import Any

from kiosk.clock import MS, Now, S
from kiosk.gate import Gate
from kiosk.gate_settings import CityData, GateSettings
from kiosk.gpio_alerts import Player, limits_for
from kiosk.hints import Hints
from kiosk.interlock import Fire as FireState
from kiosk.interlock import Interlock
from kiosk.messages import (
    RELAYS,
    Alert,
    AlertNews,
    AlertState,
    Carry,
    Cause,
    CheckIn,
    Command,
    CommandAnswer,
    Decision,
    Direction,
    Drive,
    Effect,
    Elapsed,
    Event,
    Fire,
    Input,
    InputLine,
    Line,
    Opening,
    Order,
    Record,
    Reset,
    Screen,
    Seen,
    Sensed,
    Show,
    StageHealth,
    View,
)
from tests.builders import COUGHING, START, city, declared, sighting, site

RELAY_MS = 550
"""With the relay's rest it makes a second, as most of the door's times are; so more histories end in one state."""
LIMIT_NS = (RELAY_MS + 250) * MS
CODES = {b"an": declared(subject="a1"), b"cougher": declared(COUGHING, subject="c3")}
FITTED = dict.fromkeys((*RELAYS.values(), Line.RED), 0)
FREED = frozenset({Line.ENTRY_RELAY})
"""At this door a fire holds the entry's turnstile free, and the exit's magnetic lock without power."""
CONTACTS = {
    "fire": InputLine.FIRE,
    "stop": InputLine.EMERGENCY_STOP,
    "key": InputLine.STAFF_OVERRIDE,
    "request": InputLine.REQUEST_TO_EXIT,
    "in": InputLine.ENTRY_PASSAGE,
    "out": InputLine.EXIT_PASSAGE,
}
SECONDS = {Order.UNLOCK: 3, Order.LOCK: 5, Order.MUTE: 5}
ALPHABET = ("an", "cougher", *CONTACTS, "outbox", *map(str, AlertState), "unlock", "lock", "release", "mute", "test")
TICKS = ("tick", "nearly")


class Broken(AssertionError):
    """A law does not hold, after these inputs."""


@dataclass(slots=True)
class World:
    """One door, and what the model makes of what it was told."""

    gate: Gate
    player: Player
    on: set[Line]
    settings: GateSettings
    now_ns: int = S
    active: frozenset[str] = frozenset()
    on_since_ns: dict[Line, int] = field(default_factory=dict)
    view: View | None = None
    awaited: bool = False
    alert: AlertState | None = None
    locked_until_ns: int = 0
    open_until_ns: int = 0

    @property
    def free(self) -> bool:
        """Whether a fire has freed the lane."""
        return self.player._interlock.fire_state is not FireState.NONE

    def now(self) -> Now:
        """Both hands; UTC is never set."""
        return Now(monotonic_ns=self.now_ns, utc=START + timedelta(microseconds=self.now_ns // 1000), utc_trusted=True)


@dataclass(slots=True)
class _Levels:
    """Lines that do as they are told."""

    on: set[Line]

    def set(self, line: Line, *, on: bool) -> None:
        """Change one level."""
        (self.on.add if on else self.on.discard)(line)

    def close(self) -> None:
        """Nothing is held."""


MakeGate = Callable[[GateSettings, CityData], Gate]
LIMITS = limits_for(FITTED, RELAY_MS, FREED)
Interlocked = Callable[[], Interlock]


def interlocked() -> Interlock:
    """The door's own interlock."""
    return Interlock(LIMITS)


def door(settings: GateSettings, make_gate: MakeGate = Gate, make_interlock: Interlocked = interlocked) -> World:
    """A door that has just started and whose contacts rest."""
    on: set[Line] = set()
    player = Player(_Levels(on), frozenset(FITTED), make_interlock())
    world = World(make_gate(settings, city(CODES)), player, on, settings)
    for line in CONTACTS.values():
        world.gate.step(Sensed(line=line, active=False, at_ns=world.now_ns), world.now())
    return world


# One input.


def after(world: World, name: str) -> World | None:
    """The door one input later, checked; None where that input cannot come now."""
    if name in TICKS:
        return _tick(world, nearly=name == "nearly")
    copy: World = clone(world)
    _step(copy, _given(copy, name), name)
    return copy


def _given(world: World, name: str) -> Input:
    if name.encode() in CODES:
        return Seen(sightings=(sighting(name.encode(), world.now_ns // MS),))
    if name in CONTACTS:
        world.active ^= {name}
        return Sensed(line=CONTACTS[name], active=name in world.active, at_ns=world.now_ns)
    if name == "outbox":
        world.active ^= {name}
        return StageHealth(stage="outbox", fault="full" if name in world.active else "")
    if name in set(AlertState):
        state = AlertState(name)
        world.alert = max((state, world.alert or state), key=list(AlertState).index)
        return AlertNews(ledger="ledger", sequence=1, state=state)
    order = Order(name)
    return Command(number=1, order=order, seconds=SECONDS.get(order, 0))


def _tick(world: World, *, nearly: bool) -> World | None:
    deadlines = (world.gate.deadline_ns, world.player.deadline_ns)
    next_ns = min((at for at in deadlines if at is not None), default=None)
    if next_ns is None or (nearly and next_ns - MS <= world.now_ns):
        return None
    copy: World = clone(world)
    copy.now_ns = next_ns - MS if nearly else next_ns
    copy.player.advance(copy.now_ns)
    if copy.gate.deadline_ns is not None and copy.gate.deadline_ns <= copy.now_ns:
        _step(copy, Elapsed(), "tick")
    else:
        _look_at_lines(copy)
    return copy


def _step(world: World, given: Input, name: str) -> None:
    was_free, was_awaited = world.free, world.awaited
    must_open = _must_open(world, given)
    effects = world.gate.step(given, world.now())
    objections: list[str] = []
    for effect in effects:
        match effect:
            case Drive(actuation=actuation):
                objections += world.player.play(actuation, world.now_ns)
            case Fire(on=on):
                (world.player.fire if on else world.player.fire_over)(world.now_ns)
            case Reset():
                objections += filter(None, [world.player.reset(world.now_ns)])
            case Show(view=view):
                world.view = view
    events = [event for effect in effects if isinstance(effect, Record) for event in effect.events]
    _look_at_command(world, given, effects, events)
    _look_at_alarm(world, events, pressed=name == "key" and name in world.active and not was_free and was_awaited)
    _look_at_grants(world, effects, events)
    _law(not objections, "what the gate drives meets no objection")
    _look_at_exit(world, given, effects, events)
    _law(not must_open or Line.EXIT_RELAY in world.on, "an exit opens at once for whoever comes while it has time")
    _look_at_lines(world)
    _law(world.free is world.gate._contacts.free, "gate and interlock agree about a fire")
    _law(world.gate.deadline_ns is None or world.gate.deadline_ns > world.now_ns, "a deadline is in the future")


# The laws.


def _law(holds: bool, law: str) -> None:  # noqa: FBT001 - what is so
    if not holds:
        raise Broken(law)


def _look_at_command(world: World, given: Input, effects: list[Effect], events: list[Event]) -> None:
    answers = [event for event in events if isinstance(event, CommandAnswer)]
    carried = sum(isinstance(effect, Carry) for effect in effects)
    _law(len(answers) + carried == isinstance(given, Command), "a command is answered exactly once")
    done = {answer.order for answer in answers if answer.done}
    _law(not (done and world.free), "in a fire no command is carried out")
    entry = world.settings.direction is Direction.ENTRY
    _law(entry or Order.LOCK not in done, "an exit is never locked")
    if Order.LOCK in done:
        world.locked_until_ns, world.open_until_ns = world.now_ns + SECONDS[Order.LOCK] * S, 0
    if Order.UNLOCK in done:
        world.open_until_ns = world.now_ns + SECONDS[Order.UNLOCK] * S
    if Order.RELEASE in done:
        world.locked_until_ns = world.open_until_ns = 0
    if world.free or "stop" in world.active:
        world.open_until_ns = 0 if world.free or entry else world.open_until_ns
    shut = world.now_ns < world.locked_until_ns and not world.free
    shows = world.view is not None and world.view.screen in {Screen.LOCKED, *_VERDICTS}
    _law(not shut or shows, "a lock-down is shown")


_VERDICTS = frozenset({Screen.GRANTED, Screen.HELD, Screen.DENIED, Screen.AT_RISK})


def _look_at_alarm(world: World, events: list[Event], *, pressed: bool) -> None:
    raised = any(isinstance(event, Alert) for event in events) and not world.free
    if pressed:
        world.awaited = False
    world.awaited = (world.awaited or raised) and world.settings.alarm_waits
    if world.awaited and not world.free:
        again = world.gate.deadline_ns is not None and world.gate.deadline_ns - world.now_ns <= 6 * S
        shown = world.view is not None and world.view.screen in _VERDICTS and "alarm:" in world.view.fault
        _law(again and shown, "an alarm is signalled and shown until staff acknowledge it")
    if world.alert is not AlertState.ACKNOWLEDGED:  # that is shown for an hour
        open_one = None if world.alert is AlertState.CLOSED else world.alert
        _law(world.view is None or world.view.alert is open_one, "an alert is shown until it is closed")


def _look_at_grants(world: World, effects: list[Effect], events: list[Event]) -> None:
    entry, locked = world.settings.direction is Direction.ENTRY, world.now_ns < world.locked_until_ns
    for place, effect in enumerate(effects):
        if not isinstance(effect, Drive) or effect.actuation.grant is None:
            continue
        _law(not world.free, "in a fire no relay is granted")
        before = effects[place - 1] if place else None
        first = isinstance(before, Record) and before.before_drive and any(map(_is_leave, before.events))
        beside = effect.actuation.grant is Direction.EXIT and any(map(_is_leave, events))
        _law(first or beside, "no grant without a record asked for before it")
        _law("outbox" not in world.active or not first or not entry, "no entry is granted that cannot be recorded")
    for event in events:
        granted = isinstance(event, CheckIn) and event.decision is Decision.GRANTED
        _law(not (entry and locked and granted), "a locked entry grants nobody")
        if isinstance(event, Opening) and event.cause is Cause.COMMAND:
            _law(world.now_ns < world.open_until_ns, "the city's order opens only while it lasts")


def _is_leave(event: Event) -> bool:
    return isinstance(event, Opening) or (isinstance(event, CheckIn) and event.decision is Decision.GRANTED)


def _must_open(world: World, given: Input) -> bool:
    """Whether somebody new comes to an exit that has time for them."""
    if not isinstance(given, Seen) or world.settings.direction is Direction.ENTRY or world.free:
        return False
    tracked = world.gate._judging._sightings._tracks
    return world.now_ns >= world.gate._doorway.busy_until_ns and given.sightings[0].payload not in tracked


def _look_at_exit(world: World, given: Input, effects: list[Effect], events: list[Event]) -> None:
    if world.free:
        return
    opened = any(isinstance(effect, Drive) and effect.actuation.grant is Direction.EXIT for effect in effects)
    if isinstance(given, Sensed) and given.line is InputLine.REQUEST_TO_EXIT and given.active:
        soon = Cause.REQUEST_TO_EXIT in world.gate._doorway._wanted and world.gate.deadline_ns is not None
        _law(opened or soon, "a request to exit is never refused")
    overdue = Cause.REQUEST_TO_EXIT in world.gate._doorway._wanted and Line.EXIT_RELAY not in world.on
    rested = world.now_ns >= world.gate._doorway._ready_ns(Direction.EXIT)
    _law(not (overdue and rested), "a request to exit waits for its relay's rest only")
    for event in events:
        if isinstance(event, CheckIn) and event.direction is Direction.EXIT:
            _law(event.decision is Decision.GRANTED, "an exit is never denied")


def _look_at_lines(world: World) -> None:
    for line in RELAYS.values():
        if line not in world.on:
            world.on_since_ns.pop(line, None)
        elif world.free:
            world.on_since_ns[line] = world.now_ns
        since_ns = world.on_since_ns.setdefault(line, world.now_ns) if line in world.on else world.now_ns
        _law(world.now_ns - since_ns <= LIMIT_NS, "no relay is on past its limit")
        _law(not world.free or (line in world.on) is (line in FREED), "a fire has every relay at its level")
    _law(world.free or not world.on.issuperset(RELAYS.values()), "both relays are never on at once")


# Copies and keys.

_ATOMS = (int, str, bytes, float, bool, type(None), Enum, date, timedelta, frozenset, tuple)
_BOXES = (dict, list, set, deque)
_NAMES: dict[type, tuple[str, ...] | None] = {}
"""What each kind of part is made of; None for one that never changes."""


def clone(value: Any) -> Any:  # noqa: ANN401 - any part of a door
    """A copy that shares what cannot change; what two parts hold is theirs in common again."""
    return _clone(value, {})


def _clone(value: Any, made: dict[int, Any]) -> Any:  # noqa: ANN401 - as above
    kind = type(value)
    if kind is dict:
        return {key: _clone(part, made) for key, part in value.items()} if value else {}
    if kind is list:
        return [_clone(part, made) for part in value] if value else []
    names = _NAMES[kind] if kind in _NAMES else _learn(value)
    if names is None:
        return value
    if id(value) in made:
        return made[id(value)]
    if kind in _BOXES:
        copy: Any = value.copy()
    else:
        copy = object.__new__(kind)
        for name in names:
            setattr(copy, name, _clone(getattr(value, name), made))
    made[id(value)] = copy
    return copy


def _learn(value: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - as above
    kind = type(value)
    names: tuple[str, ...] | None = ()
    if is_dataclass(kind):
        names = None if kind.__dataclass_params__.frozen else tuple(each.name for each in fields(kind))  # type: ignore[attr-defined]
    elif issubclass(kind, _ATOMS) or kind is Hints or callable(value):
        names = None
    elif kind not in _BOXES:
        names = tuple(value.__dict__)
    _NAMES[kind] = names
    return names


_LEFT_OUT = frozenset(
    {"_settings", "_ages", "_tally", "_day", "settings", "city", "_limits", "_hints", "now_ns", "view"}
)
"""What never changes here, or is only counted or shown; what is shown is checked on the way."""
_KEPT: dict[type, tuple[str, ...]] = {}
_LOOKED_BACK_NS = {"worked_ns": 31 * S, "_active_ns": 11 * S, "_fire_ended_ns": 4 * S, "given_ns": 6 * S}
"""How far back a time still matters; others do for 2 s at most (absence, rests), or no more once they have come."""


def key(world: World) -> object:
    """What of a state matters for what can come after it."""
    screen = world.view and (world.view.screen, world.view.alert, world.view.muted, world.view.fault)
    return (screen, _key(world, world.now_ns, "world"))


def _key(value: Any, now_ns: int, name: str) -> object:  # noqa: ANN401, PLR0911 - a row for each kind of part
    kind = type(value)
    if kind is int:
        return max(value - now_ns, -_LOOKED_BACK_NS.get(name, 2 * S)) if name.endswith("_ns") else value
    if value is None or kind is frozenset or kind is bool or isinstance(value, str | bytes):
        return value
    if kind is dict:
        return tuple([(part, _key(kept, now_ns, name)) for part, kept in value.items()])
    if kind is list or kind is tuple:
        return tuple([_key(part, now_ns, name) for part in value])
    if kind is set:
        return frozenset(value)
    if kind is View:
        return value.screen
    if kind not in _KEPT:
        _KEPT[kind] = tuple(each for each in _parts(value) if each not in _LEFT_OUT)
    return tuple([_key(getattr(value, each), now_ns, each) for each in _KEPT[kind]])


def _parts(value: Any) -> Iterator[str]:  # noqa: ANN401 - as above
    if is_dataclass(value):
        return (each.name for each in fields(value))
    return iter(getattr(value, "__dict__", {}))


# The search.


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How much was looked at; `whole`: there was nothing new any more."""

    states: int
    ways: int
    depth: int
    whole: bool


def explore(
    start: World, names: tuple[str, ...], depth: int, progress: Callable[[int, int, int], None] | None = None
) -> Found:
    """Try every input in every state, breadth first.

    Raises:
        Broken: a law does not hold; the message ends with the inputs that show it.
    """
    front: list[tuple[World, tuple[str, ...]]] = [(start, ())]
    seen, ways, level = {hash(key(start))}, 0, 0
    while front and level < depth:
        level += 1
        found: list[tuple[World, tuple[str, ...]]] = []
        for place, (world, path) in enumerate(front):
            for name, next_one in _ways(world, path, names):
                ways += 1
                state = hash(key(next_one))
                if state not in seen:
                    seen.add(state)
                    found.append((next_one, (*path, name)) if level < depth else (start, ()))
            if progress and place % 100 == 0:
                progress(level, place, len(front))
        front = found
    return Found(states=len(seen), ways=ways, depth=level, whole=not front)


def _ways(world: World, path: tuple[str, ...], names: tuple[str, ...]) -> Iterator[tuple[str, World]]:
    for name in (*names, *TICKS):
        try:
            next_one = after(world, name)
        except Broken as broken:
            raise Broken(f"{broken}: {' > '.join((*path, name))}") from None
        if next_one is not None:
            yield name, next_one


def settings_for(direction: Direction, *, alarm_waits: bool, hold: bool = False) -> GateSettings:
    """A door of this kind, with short times."""
    return site(
        direction,
        relay_pulse_ms=RELAY_MS,
        absence_ms=2000,
        repeat_window_s=0,
        pass_within_s=2,
        alarm_waits=alarm_waits,
        escalate_after_s=10,
        most_escalations=1,
        hold=frozenset(Direction) if hold else frozenset(),
    )


def main() -> int:
    """Explore each kind of door with every input, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--inputs", nargs="*", default=ALPHABET, help="only these")
    asked = parser.parse_args()

    def progress(level: int, done: int, of: int) -> None:
        filled = "#" * (40 * done // max(of, 1))
        sys.stderr.write(f"\r  depth {level} of {asked.depth} [{filled:<40}] {done:,} of {of:,} states")

    for direction in Direction:
        for alarm_waits in (False, True):
            began_s = time.process_time()
            start = door(settings_for(direction, alarm_waits=alarm_waits))
            found = explore(start, tuple(asked.inputs), asked.depth, progress)
            spent_s = time.process_time() - began_s
            sys.stderr.write("\r" + " " * 100 + "\r")
            print(  # noqa: T201 - a command line prints
                f"{direction}, alarm {'waits' if alarm_waits else 'is timed'}: {found.states:,} states,"
                f" {found.ways:,} ways between them, depth {found.depth}"
                f"{', nothing is left' if found.whole else ''}; {spent_s:.1f} s of CPU"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
