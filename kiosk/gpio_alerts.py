"""Lights, buzzer and relays on GPIO through gpiozero, and the player that moves them through the interlock.

`Lines` is the seam to the hardware; `Player` turns an actuation into levels at their times. The pin factory is named
in the configuration and never guessed: gpiozero's own choice falls back in silence. Every line is claimed at its rest
level, and is put there again on every way out. The core thread owns both; no other may touch them.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from kiosk.clock import MS
from kiosk.errors import LineFault
from kiosk.interlock import Grant, Interlock, Limit
from kiosk.messages import Actuation, Line
from kiosk.passive_buzzer import passive_buzzer

FactoryName = Literal["lgpio", "rpigpio", "mock"]

LONGEST_LIGHT_NS = 6000 * MS
LONGEST_BUZZER_NS = 1500 * MS
"""No sound of the choreography lasts longer; a stuck buzzer drives a guard to pull the plug."""
RELAY_MARGIN_NS = 250 * MS
"""Above the pulse a site asks for: room for a busy core thread, not for a second person."""
RELAY_REST_NS = 200 * MS
"""A turnstile needs to see the release end before the next one begins (input pulses of at least 100 ms)."""


class Lines(Protocol):
    """The outputs of one door."""

    def set(self, line: Line, *, on: bool) -> None:
        """Change one level.

        Raises:
            LineFault: the driver refuses.
        """

    def close(self) -> None:
        """Put every line to rest and give it back."""


def pin_factory(name: FactoryName) -> Any:  # noqa: ANN401 - gpiozero ships no types
    """Make the pin factory of that name.

    Raises:
        LineFault: it is not installed or finds no GPIO; there is no fall-back.
    """
    from gpiozero.pins.mock import MockFactory  # noqa: PLC0415 - driver, imported where used

    if name == "mock":
        return MockFactory()
    unusable: tuple[type[Exception], ...] = (ImportError, *driver_errors())
    try:
        return _hardware_factory(name)
    except unusable as error:
        raise LineFault(
            f"lines.pin_factory: {name!r} cannot be used here ({error});"
            " install its package, or add the user to the group gpio, or name another factory"
        ) from error


def _hardware_factory(name: FactoryName) -> Any:  # noqa: ANN401
    if name == "rpigpio":
        from gpiozero.pins.rpigpio import RPiGPIOFactory  # noqa: PLC0415

        return RPiGPIOFactory()
    import lgpio  # noqa: PLC0415
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin  # noqa: PLC0415

    class RestingPin(LGPIOPin):  # type: ignore[misc]  # gpiozero ships no types
        """Claims an output at its level; gpiozero's own claims it low first, which opens an active-low relay."""

        def output_with_state(self, state: int) -> None:
            lgpio.gpio_claim_output(self.factory._handle, self._number, int(state))  # noqa: SLF001

    factory = LGPIOFactory()
    factory.pin_class = RestingPin
    return factory


def driver_errors() -> tuple[type[Exception], ...]:
    """What gpiozero and the libraries below it raise; lgpio's own error is a bare Exception."""
    from gpiozero.exc import GPIOZeroError  # noqa: PLC0415

    errors = (GPIOZeroError, OSError, RuntimeError, ValueError)
    try:
        import lgpio  # noqa: PLC0415
    except ImportError:
        return errors
    return (*errors, lgpio.error)


class GpioLines:
    """Lines of a 40-pin header.

    Args:
        gpios: Broadcom GPIO number of each line.
        active_low: lines that are on at low level.
        factory: from `pin_factory`.
        buzzer_hz: the tone of a passive buzzer; None for an active one, which has its own.

    Raises:
        LineFault: a line does not exist or belongs to somebody else.
    """

    def __init__(
        self,
        gpios: Mapping[Line, int],
        active_low: frozenset[Line],
        factory: Any,  # noqa: ANN401 - gpiozero ships no types
        buzzer_hz: int | None = None,
    ) -> None:
        self._errors = driver_errors()
        self._factory = factory
        self._devices: dict[Line, Any] = {}
        for line, gpio in gpios.items():
            try:
                hz = buzzer_hz if line is Line.BUZZER else None
                self._devices[line] = _claimed(gpio, hz, active_high=line not in active_low, factory=factory)
            except self._errors as error:
                self.close()
                raise LineFault(f"lines.{line}: GPIO {gpio} cannot be claimed ({error}); check the number") from error

    def set(self, line: Line, *, on: bool) -> None:
        """Change one level."""
        try:
            if on:
                self._devices[line].on()
            else:
                self._devices[line].off()
        except self._errors as error:
            raise LineFault(f"lines.{line}: its level cannot be set ({error}); check the wiring and restart") from error

    def close(self) -> None:
        """Rest, and give the lines back; one that refuses keeps no other from it."""
        for device in self._devices.values():
            with suppress(*self._errors):
                device.off()
        for device in self._devices.values():
            with suppress(*self._errors):
                device.close()
        self._devices.clear()
        with suppress(*self._errors):
            self._factory.close()


def _claimed(gpio: int, hz: int | None, *, active_high: bool, factory: Any) -> Any:  # noqa: ANN401 - as above
    from gpiozero import DigitalOutputDevice  # noqa: PLC0415 - driver, imported where used

    if hz is not None:
        return passive_buzzer(gpio, hz, active_high=active_high, factory=factory)
    return DigitalOutputDevice(gpio, active_high=active_high, initial_value=False, pin_factory=factory)


@dataclass(frozen=True, slots=True)
class _Due:
    at_ns: int
    line: Line
    on: bool


class Player:
    """Plays actuations on lines, one after another; the newest has the lights, a relay's pulse always ends.

    A line whose driver fails is named in `faults` until it works again; the others go on.

    Args:
        lines: what is driven.
        fitted: the lines this door has; changes for others are passed over.
        interlock: asked before every change, and obeyed.
    """

    def __init__(self, lines: Lines, fitted: frozenset[Line], interlock: Interlock) -> None:
        self.faults: dict[Line, str] = {}
        self._lines = lines
        self._fitted = fitted
        self._interlock = interlock
        self._due: list[_Due] = []
        self._on: set[Line] = set()
        self._grant: Grant | None = None

    @property
    def deadline_ns(self) -> int | None:
        """When `advance` must be called next."""
        times = [due.at_ns for due in self._due]
        if (demand_ns := self._interlock.next_demand_ns()) is not None:
            times.append(demand_ns)
        return min(times, default=None)

    def play(self, actuation: Actuation, now_ns: int) -> list[str]:
        """Start an actuation; the answer is what the interlock objected to."""
        changes = [change for change in actuation.changes if change.line in self._fitted]
        first_on = {change.line for change in changes if change.on and change.after_ms == 0}
        releases = self._interlock.releases
        self._due = [due for due in self._due if due.line in releases and not due.on]
        self._due += [_Due(now_ns, line, on=False) for line in self._on - releases - first_on]
        self._due += [_Due(now_ns + change.after_ms * MS, change.line, change.on) for change in changes]
        self._grant = Grant(direction=actuation.grant, given_ns=now_ns) if actuation.grant else None
        return self.advance(now_ns)

    def advance(self, now_ns: int) -> list[str]:
        """Make every change that is due, and end whatever is on for too long."""
        ready = sorted((due for due in self._due if due.at_ns <= now_ns), key=lambda due: due.at_ns)
        self._due = [due for due in self._due if due.at_ns > now_ns]
        objections = [self._switch(due.line, now_ns, on=due.on) for due in ready]
        refused = set(self.faults)
        objections += [
            f"{line} was on for its whole limit and was put to rest"
            for line in self._obey(now_ns)
            if line not in refused
        ]
        return [objection for objection in objections if objection]

    def rest(self, now_ns: int) -> None:
        """Drop every plan and put every line to rest, but for what a fire holds on."""
        self._due.clear()
        for line in self._fitted:
            self._switch(line, now_ns, on=False)

    def fire(self, now_ns: int) -> None:
        """There is a fire: every release goes to its fire level, and stays there until `reset`."""
        self._due = [due for due in self._due if due.line not in self._interlock.releases]
        self._interlock.fire(now_ns)
        self._obey(now_ns)

    def fire_over(self, now_ns: int) -> None:
        """The fire input is at rest again; no line changes."""
        self._interlock.fire_over(now_ns)
        self._obey(now_ns)

    def reset(self, now_ns: int) -> str:
        """Put what the fire held on to rest; the answer is what the interlock objected to."""
        objection = self._interlock.reset(now_ns)
        self._obey(now_ns)
        return objection

    def _obey(self, now_ns: int) -> list[Line]:
        """Set what the interlock demands; the answer is what had to go off."""
        demands = self._interlock.demands(now_ns)
        for line, on in demands:
            self._switch(line, now_ns, on=on)
        return [line for line, on in demands if not on]

    def _switch(self, line: Line, now_ns: int, *, on: bool) -> str:
        ask = self._interlock
        objection = ask.objection_to_on(line, now_ns, self._grant) if on else ask.objection_to_off(line, now_ns)
        if on and not objection:
            self._on.add(line)
            self._set(line, now_ns, on=True)
        elif not objection and line in self._on and self._set(line, now_ns, on=False):
            self._on.discard(line)
        return objection

    def _set(self, line: Line, now_ns: int, *, on: bool) -> bool:
        try:
            self._lines.set(line, on=on)
        except LineFault as fault:
            self.faults[line] = str(fault)
            self._interlock.note_refused(line, now_ns)
            return False
        self.faults.pop(line, None)
        return True


def limits_for(
    lines: Mapping[Line, int], relay_pulse_ms: int, freed_by_fire: frozenset[Line] = frozenset()
) -> dict[Line, Limit]:
    """What the interlock allows each line of a door; those in `freed_by_fire` are on for as long as a fire lasts."""
    relay = Limit(longest_on_ns=relay_pulse_ms * MS + RELAY_MARGIN_NS, shortest_rest_ns=RELAY_REST_NS)
    light = Limit(longest_on_ns=LONGEST_LIGHT_NS, shortest_rest_ns=0)
    buzzer = Limit(longest_on_ns=LONGEST_BUZZER_NS, shortest_rest_ns=0)
    special = {Line.BUZZER: buzzer, Line.ENTRY_RELAY: relay, Line.EXIT_RELAY: relay}
    limits = {line: special.get(line, light) for line in lines}
    return limits | {line: replace(limits[line], fire_on=True) for line in freed_by_fire & limits.keys()}
