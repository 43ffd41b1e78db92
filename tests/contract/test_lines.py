"""One contract for the real lines and the recording ones, and the player that moves them through the interlock.

`pytest -m gpiochip` runs it over a real chip too: one of the kernel's gpio-sim, whose levels a test can read from
outside. What it cannot see there is a blip shorter than its look, and a driver that refuses.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from gpiozero.exc import PinSetInput
from gpiozero.pins.mock import MockFactory, MockPin

from kiosk.choreography import busy_ms
from kiosk.clock import MS
from kiosk.errors import LineFault
from kiosk.gpio_alerts import (
    LONGEST_BUZZER_NS,
    LONGEST_LIGHT_NS,
    RELAY_MARGIN_NS,
    GpioLines,
    Lines,
    Player,
    limits_for,
    pin_factory,
)
from kiosk.interlock import GRANT_FRESH_NS, Interlock
from kiosk.messages import Actuation, Decision, Direction, Line, LineChange, Reason, Verdict
from kiosk.testing.lines import RecordingLines

GPIOS = {
    Line.GREEN: 17,
    Line.AMBER: 27,
    Line.RED: 22,
    Line.BUZZER: 23,
    Line.ENTRY_RELAY: 24,
    Line.EXIT_RELAY: 25,
}
PULSE_MS = 500
LEVELS = sorted(Path("/sys/devices/platform").glob("gpio-sim.*/gpiochip*/sim_gpio*/value"))
"""How gpio-sim tells the level of a line from outside."""


class DrivenPin(MockPin):  # type: ignore[misc]  # gpiozero ships no types
    """A pin that keeps the levels it drove itself, not those it floated at, and whose driver can be told to fail.

    It takes an output's first level together with its function, as RPi.GPIO and our lgpio pins do.
    """

    def __init__(self, factory: Any, info: Any) -> None:  # noqa: ANN401 - gpiozero ships no types
        self.driven: list[bool] = []
        self.failing = False
        super().__init__(factory, info)

    def output_with_state(self, state: float) -> None:
        """Become an output at this level."""
        self._refuse_if_told()
        self._state = bool(state)
        self.function = "output"

    def _set_function(self, value: str) -> None:
        super()._set_function(value)
        if value == "output":
            self.driven.append(self._state)

    def _set_state(self, value: float) -> None:
        self._refuse_if_told()
        super()._set_state(value)
        if self.driven[-1:] != [bool(value)]:
            self.driven.append(bool(value))

    def _refuse_if_told(self) -> None:
        if self.failing:
            raise PinSetInput("the driver says no")


class Wired:
    """Lines and the eyes of a test on them: `history` since the claim, True where on; `fail` and `mend` a driver."""

    def __init__(
        self,
        lines: Lines,
        history: Callable[[Line], list[bool]],
        fail: Callable[[Line], None],
        mend: Callable[[Line], None],
    ) -> None:
        self.lines = lines
        self.history = history
        self.fail = fail
        self.mend = mend


def wired_gpio(active_low: frozenset[Line]) -> Wired:
    """Real `GpioLines` on gpiozero's mock header."""
    factory = MockFactory(pin_class=DrivenPin)
    lines = GpioLines(GPIOS, active_low, factory)
    pins = {line: factory.pin(gpio) for line, gpio in GPIOS.items()}

    def history(line: Line) -> list[bool]:
        return [level is not (line in active_low) for level in pins[line].driven]

    def fail(line: Line) -> None:
        pins[line].failing = True

    def mend(line: Line) -> None:
        pins[line].failing = False

    return Wired(lines, history, fail, mend)


def wired_fake(_active_low: frozenset[Line]) -> Wired:
    """The fake; it has no electric level, so nothing is low."""
    lines = RecordingLines(GPIOS)
    return Wired(lines, lambda line: [False, *lines.of(line)], lines.failing.add, lines.failing.discard)


class Watched:
    """Lines of a simulated chip, whose levels are read at the kernel's side after every call."""

    def __init__(self, levels: Mapping[Line, Path], active_low: frozenset[Line]) -> None:
        self.driven: dict[Line, list[bool]] = {line: [] for line in levels}
        self._levels, self._active_low = levels, active_low
        for line, path in levels.items():  # as the resistor at the relay board does, before and after the claim
            pull = "pull-up" if line in active_low else "pull-down"
            path.with_name("pull").write_text(pull, encoding="ascii")
        self._look()
        self._lines = GpioLines(GPIOS, active_low, pin_factory("lgpio"))
        self._look()

    def set(self, line: Line, *, on: bool) -> None:
        """See `Lines`."""
        self._lines.set(line, on=on)
        self._look()

    def close(self) -> None:
        """See `Lines`."""
        self._lines.close()
        self._look()

    def _look(self) -> None:
        for line, path in self._levels.items():
            on = (path.read_text(encoding="ascii").strip() == "1") is not (line in self._active_low)
            if self.driven[line][-1:] != [on]:
                self.driven[line].append(on)


def wired_chip(active_low: frozenset[Line]) -> Wired:
    """Real `GpioLines` on a simulated chip of the kernel's, through lgpio."""
    levels = {int(path.parent.name.removeprefix("sim_gpio")): path for path in LEVELS}
    watched = Watched({line: levels[gpio] for line, gpio in GPIOS.items()}, active_low)

    def refuse(_line: Line) -> None:
        watched.close()
        pytest.skip("a gpio-sim chip cannot be taken away from under its user")

    return Wired(watched, lambda line: watched.driven[line], refuse, refuse)


WIRINGS = {"gpio": wired_gpio, "recording": wired_fake, "chip": wired_chip}
CHIP = [pytest.param(f"chip, active {level}", marks=pytest.mark.gpiochip) for level in ("high", "low")]


@pytest.fixture(params=["gpio, active high", "gpio, active low", "recording", *CHIP])
def wired(request: pytest.FixtureRequest) -> Iterator[Wired]:
    """Every kind of lines."""
    kind = request.param.partition(",")[0]
    if kind == "chip" and not LEVELS:
        pytest.skip("no gpio-sim chip in /sys/devices/platform: modprobe gpio-sim, on a kernel that has it")
    made = WIRINGS[kind](frozenset(GPIOS) if "low" in request.param else frozenset())
    yield made
    made.lines.close()


def test_every_line_is_claimed_at_rest_without_a_blip(wired: Wired) -> None:
    """Between power-on and the first command a line is driven at its rest level and no other."""
    assert {line: wired.history(line) for line in GPIOS} == {line: [False] for line in GPIOS}


def test_a_line_follows_what_it_is_told_and_no_other_line_moves(wired: Wired) -> None:
    """One line's levels are exactly the commands; repeating a level changes nothing."""
    for on in (True, True, False, False, True, False):
        wired.lines.set(Line.RED, on=on)
    assert wired.history(Line.RED) == [False, True, False, True, False]
    assert {line: wired.history(line) for line in GPIOS if line is not Line.RED} == {
        line: [False] for line in GPIOS if line is not Line.RED
    }


def test_close_puts_every_line_to_rest(wired: Wired) -> None:
    """Lines that are on go off at the end, and a second close is harmless."""
    wired.lines.set(Line.ENTRY_RELAY, on=True)
    wired.lines.set(Line.GREEN, on=True)
    wired.lines.close()
    wired.lines.close()
    on_once = [False, True, False]
    assert (wired.history(Line.ENTRY_RELAY), wired.history(Line.GREEN)) == (on_once, on_once)


def test_a_driver_that_refuses_is_a_fault_that_names_the_line(wired: Wired) -> None:
    """The sentence has the line and what to do; other lines still work, and this one does when its driver does."""
    wired.fail(Line.GREEN)
    with pytest.raises(LineFault, match=r"^lines\.green: .*check the wiring"):
        wired.lines.set(Line.GREEN, on=True)
    wired.lines.set(Line.RED, on=True)
    wired.mend(Line.GREEN)
    wired.lines.set(Line.GREEN, on=True)
    assert (wired.history(Line.GREEN), wired.history(Line.RED)) == ([False, True], [False, True])


def test_close_rests_the_other_lines_when_one_driver_refuses(wired: Wired) -> None:
    """A broken lamp does not keep a relay on."""
    for line in GPIOS:
        wired.lines.set(line, on=True)
    wired.fail(Line.GREEN)
    wired.lines.close()
    off = [line for line in GPIOS if wired.history(line) == [False, True, False]]
    assert off == [line for line in GPIOS if line is not Line.GREEN]


@pytest.mark.parametrize("active_low", [frozenset[Line](), frozenset(GPIOS)], ids=["active high", "active low"])
def test_the_pins_of_gpiozeros_own_mock_are_at_rest_level_and_given_back(active_low: frozenset[Line]) -> None:
    """The whole history of an unaltered mock pin: rest, on, rest; afterwards it is an input again."""
    factory = pin_factory("mock")
    lines = GpioLines({Line.RED: 22}, active_low, factory)
    pin = factory.pin(22)
    pin.clear_states()
    lines.set(Line.RED, on=True)
    lines.set(Line.RED, on=False)
    rest = bool(active_low)
    assert [bool(entry.state) for entry in pin.states] == [rest, not rest, rest]
    lines.close()
    assert ([bool(entry.state) for entry in pin.states], pin.function) == ([rest, not rest, rest], "input")


@pytest.mark.parametrize(
    ("gpios", "says"),
    [
        ({Line.GREEN: 17, Line.RED: 99}, r"^lines\.red: GPIO 99 cannot be claimed .*check the number$"),
        ({Line.GREEN: 17, Line.RED: 17}, r"^lines\.red: GPIO 17 cannot be claimed .*check the number$"),
    ],
    ids=["there is no such GPIO", "it belongs to another line"],
)
def test_a_gpio_that_cannot_be_had_is_a_fault_that_names_line_number_and_fix(
    gpios: Mapping[Line, int], says: str
) -> None:
    """What was claimed before it is given back."""
    factory = MockFactory(pin_class=DrivenPin)
    green = factory.pin(17)
    with pytest.raises(LineFault, match=says):
        GpioLines(gpios, frozenset(), factory)
    assert (green.driven, green.function) == ([False], "input")


@pytest.mark.parametrize("name", ["lgpio", "rpigpio"])
def test_a_pin_factory_that_cannot_work_here_is_a_fault_and_no_other_is_taken(
    name: Literal["lgpio", "rpigpio"],
) -> None:
    """On a machine without a 40-pin header the technician is told, instead of gpiozero's silent choice."""
    if any(Path("/dev").glob("gpiochip*")):
        pytest.skip(f"this machine has GPIO that {name} may drive")
    says = (
        rf"^lines\.pin_factory: '{name}' cannot be used here \(.+\); install its package, or add the user to the"
        r" group gpio, or name another factory$"
    )
    with pytest.raises(LineFault, match=says):
        pin_factory(name)


# The player, over the real interlock, in integer time.


class Door:
    """A player and its recording lines, and a time that moves only when told."""

    def __init__(
        self, fitted: frozenset[Line] = frozenset(GPIOS), freed_by_fire: frozenset[Line] = frozenset()
    ) -> None:
        self.ns = 7_000 * MS
        self.lines = RecordingLines(fitted)
        self.log: list[tuple[int, Line, bool]] = []
        self.objections: list[str] = []
        gpios = {line: GPIOS[line] for line in fitted}
        self.player = Player(self.lines, fitted, Interlock(limits_for(gpios, PULSE_MS, freed_by_fire)))
        self._started_ns = self.ns

    def play(self, *changes: tuple[int, Line, bool], grant: Direction | None = None) -> None:
        """Play an actuation now."""
        timeline = tuple(LineChange(after_ms=at, line=line, on=on) for at, line, on in changes)
        self._note(self.player.play(Actuation(changes=timeline, grant=grant), self.ns))

    def run_to(self, ms: int, step_ns: int | None = None) -> None:
        """Let time pass to so many milliseconds after the start, waking when the player asks to, or every step."""
        end_ns = self._started_ns + ms * MS
        while self.ns < end_ns:
            wake_ns = self.player.deadline_ns if step_ns is None else self.ns + step_ns
            self.ns = end_ns if wake_ns is None else min(end_ns, max(wake_ns, self.ns))
            self._note(self.player.advance(self.ns))

    def rest(self) -> None:
        """Put all to rest now."""
        self.player.rest(self.ns)
        self._note([])

    def fire(self) -> None:
        """The fire input becomes active now."""
        self.player.fire(self.ns)
        self._note([])

    def fire_over(self) -> None:
        """The fire input is at rest again."""
        self.player.fire_over(self.ns)
        self._note([])

    def reset(self) -> str:
        """Somebody resets the fire now."""
        objection = self.player.reset(self.ns)
        self._note([])
        return objection

    def of(self, line: Line) -> list[tuple[float, bool]]:
        """Milliseconds after the start, and level, of every change of one line."""
        return [((at - self._started_ns) / MS, on) for at, which, on in self.log if which is line]

    def _note(self, objections: list[str]) -> None:
        self.objections += objections
        self.log += [(self.ns, line, on) for line, on in self.lines.history[len(self.log) :]]


RELAY_PULSE = ((0, Line.ENTRY_RELAY, True), (PULSE_MS, Line.ENTRY_RELAY, False))


def test_a_relays_pulse_has_its_exact_length() -> None:
    """On at once, off to the nanosecond after the pulse, when the core wakes at the player's deadlines."""
    door = Door()
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    door.run_to(3000)
    assert (door.of(Line.ENTRY_RELAY), door.objections) == ([(0, True), (500, False)], [])
    assert door.player.deadline_ns is None


@pytest.mark.parametrize("at_ms", [0, 1, 250, 499])
@pytest.mark.parametrize("grant", [None, Direction.ENTRY, Direction.EXIT])
def test_a_new_actuation_takes_the_lights_but_neither_cuts_nor_prolongs_a_relays_pulse(
    at_ms: int, grant: Direction | None
) -> None:
    """Green gives way to red at once; the relay ends where its own pulse ends, whatever the new actuation asks."""
    door = Door()
    door.play(*RELAY_PULSE, (0, Line.GREEN, True), (2500, Line.GREEN, False), grant=Direction.ENTRY)
    door.run_to(at_ms)
    door.play(*RELAY_PULSE, (0, Line.RED, True), (3000, Line.RED, False), grant=grant)
    door.run_to(9000)
    assert (door.of(Line.ENTRY_RELAY), door.of(Line.GREEN), door.of(Line.RED)) == (
        [(0, True), (500, False)],
        [(0, True), (at_ms, False)],
        [(at_ms, True), (at_ms + 3000, False)],
    )


def test_a_light_that_the_next_actuation_also_wants_stays_on_without_a_blink() -> None:
    """Two grants in a row: green from the first to the end of the second."""
    door = Door()
    green = ((0, Line.GREEN, True), (2500, Line.GREEN, False))
    door.play(*green)
    door.run_to(1000)
    door.play(*green)
    door.run_to(9000)
    assert door.of(Line.GREEN) == [(0, True), (3500, False)]


def test_a_light_that_every_verdict_wants_stays_on_past_its_limit_and_a_relay_never_does() -> None:
    """A busy hour keeps green on and is no fault; a demo with photos found that it was one."""
    door = Door()
    for ms in range(0, 10_000, 2000):
        door.run_to(ms)
        door.play((0, Line.GREEN, True), (2500, Line.GREEN, False))
    door.run_to(12_000)
    assert (door.of(Line.GREEN), door.objections) == ([(0, True), (10_500, False)], [])
    held = Door()
    for ms in range(0, 900, 100):
        held.run_to(ms)
        held.play((0, Line.ENTRY_RELAY, True), grant=Direction.ENTRY)
    limit_ms = PULSE_MS + RELAY_MARGIN_NS // MS
    assert held.of(Line.ENTRY_RELAY)[:2] == [(0, True), (limit_ms, False)]


@pytest.mark.parametrize(
    ("grant", "relay", "objection"),
    [
        (None, Line.ENTRY_RELAY, "entry_relay has no grant"),
        (Direction.EXIT, Line.ENTRY_RELAY, "entry_relay has no grant"),
        (Direction.ENTRY, Line.EXIT_RELAY, "exit_relay has no grant"),
    ],
)
def test_a_relay_without_its_grant_stays_off_and_the_objection_says_so(
    grant: Direction | None, relay: Line, objection: str
) -> None:
    """The lights of the same actuation are played."""
    door = Door()
    door.play((0, relay, True), (0, Line.RED, True), (100, Line.RED, False), (500, relay, False), grant=grant)
    door.run_to(2000)
    assert (door.of(relay), door.of(Line.RED), door.objections) == ([], [(0, True), (100, False)], [objection])


def test_both_relays_are_never_on_together() -> None:
    """An exit granted while the entry relay is on is objected to."""
    door = Door()
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    door.run_to(100)
    door.play((0, Line.EXIT_RELAY, True), (500, Line.EXIT_RELAY, False), grant=Direction.EXIT)
    door.run_to(2000)
    assert (door.of(Line.EXIT_RELAY), door.objections) == ([], ["entry_relay is on"])


def test_a_relay_planned_later_than_its_grant_stays_fresh_is_not_opened() -> None:
    """A grant is for the person who stands there now."""
    door = Door()
    late_ms = GRANT_FRESH_NS // MS + 1
    door.play((late_ms, Line.ENTRY_RELAY, True), (late_ms + 500, Line.ENTRY_RELAY, False), grant=Direction.ENTRY)
    door.run_to(5000)
    assert (door.of(Line.ENTRY_RELAY), door.objections) == ([], ["the grant for entry_relay is stale"])


@pytest.mark.parametrize(
    ("line", "limit_ns"),
    [
        (Line.ENTRY_RELAY, PULSE_MS * MS + RELAY_MARGIN_NS),
        (Line.BUZZER, LONGEST_BUZZER_NS),
        (Line.RED, LONGEST_LIGHT_NS),
    ],
)
def test_a_line_nobody_puts_to_rest_is_put_to_rest_at_its_limit(line: Line, limit_ns: int) -> None:
    """The objection names it, the change comes at the limit exactly, and only once."""
    door = Door()
    door.play((0, line, True), grant=Direction.ENTRY)
    door.run_to(20_000)
    assert (door.of(line), door.objections) == (
        [(0, True), (limit_ns / MS, False)],
        [f"{line} was on for its whole limit and was put to rest"],
    )


def test_a_core_that_wakes_late_makes_each_change_at_its_next_chance_and_in_order() -> None:
    """A busy core prolongs a pulse by its own lateness, not by more."""
    door = Door()
    door.play(*RELAY_PULSE, (0, Line.BUZZER, True), (120, Line.BUZZER, False), grant=Direction.ENTRY)
    door.run_to(1600, step_ns=400 * MS)
    assert (door.of(Line.BUZZER), door.of(Line.ENTRY_RELAY)) == ([(0, True), (400, False)], [(0, True), (800, False)])


@pytest.mark.parametrize("late_ms", [1, RELAY_MARGIN_NS // MS])
def test_the_next_grant_opens_although_the_last_pulse_ended_late(late_ms: int) -> None:
    """The gate keeps a grant for so long that the interlock never meets the next one; a demo found it did."""
    door = Door()
    granted = Verdict(decision=Decision.GRANTED, reasons=(Reason.NO_RISK,), alarm=False, direction=Direction.ENTRY)
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    door.run_to(PULSE_MS + late_ms, step_ns=(PULSE_MS + late_ms) * MS)
    door.run_to(busy_ms(granted, PULSE_MS))
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    assert (len(door.of(Line.ENTRY_RELAY)), door.objections) == (3, [])


def test_a_line_whose_driver_fails_is_named_until_it_works_again_and_the_others_go_on() -> None:
    """The relay opens although green is broken, and the fault is gone with the first level that could be set."""
    door = Door()
    door.lines.failing.add(Line.GREEN)
    door.play(*RELAY_PULSE, (0, Line.GREEN, True), (2500, Line.GREEN, False), grant=Direction.ENTRY)
    assert list(door.player.faults) == [Line.GREEN]
    assert door.player.faults[Line.GREEN].startswith("lines.green: ")
    door.run_to(1000)
    assert (door.of(Line.ENTRY_RELAY), list(door.player.faults)) == ([(0, True), (500, False)], [Line.GREEN])
    door.lines.failing.clear()
    door.run_to(2500)
    assert door.player.faults == {}


def test_a_relay_whose_driver_refuses_to_rest_is_told_again_until_it_does() -> None:
    """A release that does not end by itself is worse than a dark lamp."""
    door = Door()
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    door.lines.failing.add(Line.ENTRY_RELAY)
    door.run_to(1850)
    assert (door.of(Line.ENTRY_RELAY), list(door.player.faults)) == ([(0, True)], [Line.ENTRY_RELAY])
    door.lines.failing.clear()
    door.run_to(5000)
    assert (door.of(Line.ENTRY_RELAY), door.player.faults) == ([(0, True), (1900, False)], {})
    assert door.player.deadline_ns is None


def test_lines_not_fitted_are_passed_over() -> None:
    """A door without lights and buzzer opens, and nobody objects."""
    door = Door(fitted=frozenset({Line.ENTRY_RELAY}))
    door.play(*RELAY_PULSE, (0, Line.GREEN, True), (120, Line.BUZZER, True), grant=Direction.ENTRY)
    door.run_to(2000)
    assert (door.lines.history, door.objections) == ([(Line.ENTRY_RELAY, True), (Line.ENTRY_RELAY, False)], [])


def test_rest_drops_every_plan_and_puts_all_to_rest() -> None:
    """Nothing moves after it, however much was planned."""
    door = Door()
    door.play(*RELAY_PULSE, (0, Line.GREEN, True), (300, Line.BUZZER, True), grant=Direction.ENTRY)
    door.run_to(100)
    door.rest()
    door.run_to(5000)
    assert (door.of(Line.ENTRY_RELAY), door.of(Line.GREEN), door.of(Line.BUZZER)) == (
        [(0, True), (100, False)],
        [(0, True), (100, False)],
        [],
    )
    assert (door.player.deadline_ns, door.objections) == (None, [])


# Fire.


FREED = frozenset({Line.EXIT_RELAY})


def test_a_fire_puts_the_entry_relay_to_rest_and_holds_the_exit_relay_on_until_the_reset() -> None:
    """Mid-pulse, past every limit and pulse end, and past the input's end; a reset before that is refused."""
    door = Door(freed_by_fire=FREED)
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    door.run_to(100)
    door.fire()
    door.run_to(5000)
    assert door.reset() == "the fire input is still active"
    door.fire_over()
    door.run_to(9000)
    assert door.reset() == ""
    door.run_to(10_000)
    assert door.of(Line.ENTRY_RELAY) == [(0, True), (100, False)]
    assert door.of(Line.EXIT_RELAY) == [(100, True), (9000, False)]
    assert (door.objections, door.player.deadline_ns) == ([], None)


def test_in_a_fire_a_grant_moves_no_relay_and_its_lights_are_played() -> None:
    """The end of a pulse that was granted does not end the fire's, and what was tried is named."""
    door = Door(freed_by_fire=FREED)
    door.fire()
    door.play(*RELAY_PULSE, (0, Line.RED, True), (100, Line.RED, False), grant=Direction.ENTRY)
    door.run_to(1000)
    door.play((0, Line.EXIT_RELAY, True), (500, Line.EXIT_RELAY, False), grant=Direction.EXIT)
    door.run_to(3000)
    door.rest()
    assert (door.of(Line.ENTRY_RELAY), door.of(Line.EXIT_RELAY)) == ([], [(0, True)])
    assert door.of(Line.RED) == [(0, True), (100, False)]
    assert door.objections == [
        "entry_relay stays at rest until the fire is reset",
        "exit_relay is held on until the fire is reset",
    ]


def test_a_driver_that_refuses_in_a_fire_is_told_again_until_it_frees_the_exit() -> None:
    """Every 100 ms, whatever else is played."""
    door = Door(freed_by_fire=FREED)
    door.lines.failing.add(Line.EXIT_RELAY)
    door.fire()
    door.play((0, Line.RED, True), (100, Line.RED, False))
    door.run_to(950)
    assert (door.of(Line.EXIT_RELAY), list(door.player.faults)) == ([], [Line.EXIT_RELAY])
    door.lines.failing.clear()
    door.run_to(5000)
    assert (door.of(Line.EXIT_RELAY), door.player.faults) == ([(1000, True)], {})


def test_a_relay_whose_driver_refuses_to_rest_keeps_the_other_off() -> None:
    """It may be on for all anybody knows."""
    door = Door()
    door.play(*RELAY_PULSE, grant=Direction.ENTRY)
    door.lines.failing.add(Line.ENTRY_RELAY)
    door.run_to(1000)
    door.play((0, Line.EXIT_RELAY, True), (500, Line.EXIT_RELAY, False), grant=Direction.EXIT)
    door.run_to(2000)
    assert (door.of(Line.EXIT_RELAY), door.objections) == ([], ["entry_relay is on"])
