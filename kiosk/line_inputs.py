"""Inputs of the door through gpiozero: contacts are read, debounced, and told when they change.

They are polled, not awaited: a poll works alike on lgpio, RPi.GPIO (whose edge detection fails on Linux 6.6 and later,
gpiozero/gpiozero issue 1136) and the simulated factory, cannot miss the level that a contact stays at, and notices a
chip that goes away. What a contact means, and that a sensor is stuck, the gate decides. The input thread owns all of
this; whoever makes it closes it before the lines.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event
from typing import Any, Protocol

from kiosk.clock import MS, Clock, S
from kiosk.errors import LineFault
from kiosk.gpio_alerts import driver_errors
from kiosk.messages import InputLine, Sensed
from kiosk.settings import Contact

POLL_S = 0.007
"""No divisor of the mains' 20 ms: hum on a broken wire must not look like a level that holds."""
MOST_EDGES = 20
"""In a second. A contact gives two for each person, and a few more where it bounces."""
QUIET_NS = 2 * S
"""A contact that chattered is believed again when it has held one level for so long."""

SAFE = frozenset({InputLine.FIRE, InputLine.TAMPER, InputLine.REQUEST_TO_EXIT, InputLine.EMERGENCY_STOP})
"""Inputs that count as active while they cannot be believed; of the others nothing is assumed to have happened."""


class Inputs(Protocol):
    """The inputs of one door."""

    def active(self, line: InputLine) -> bool:
        """Read one, now.

        Raises:
            LineFault: the driver refuses.
        """

    def close(self) -> None:
        """Give every input back."""


class GpioInputs:
    """Inputs of a 40-pin header.

    Args:
        contacts: how each is wired.
        factory: from `gpio_alerts.pin_factory`; not closed with the inputs, because the lines use it too.

    Raises:
        LineFault: an input does not exist or belongs to somebody else.
    """

    def __init__(self, contacts: Mapping[InputLine, Contact], factory: Any) -> None:  # noqa: ANN401 - no types
        from gpiozero import InputDevice  # noqa: PLC0415 - driver, imported where used

        self._errors = driver_errors()
        self._contacts = dict(contacts)
        self._devices: dict[InputLine, Any] = {}
        pulls = {"up": True, "down": False, "none": None}
        for line, contact in contacts.items():
            floats = True if contact.pull == "none" else None  # gpiozero asks for it only there; we read the level
            try:
                self._devices[line] = InputDevice(
                    contact.gpio, pull_up=pulls[contact.pull], active_state=floats, pin_factory=factory
                )
            except self._errors as error:
                self.close()
                raise LineFault(
                    f"inputs.{line}: GPIO {contact.gpio} cannot be claimed ({error});"
                    " check the number, and that no other program holds it"
                ) from error

    def active(self, line: InputLine) -> bool:
        """Read one, now."""
        try:
            return bool(self._devices[line].pin.state) is self._contacts[line].active_high
        except self._errors as error:
            raise LineFault(f"inputs.{line}: cannot be read ({error}); restart, then check the board") from error

    def close(self) -> None:
        """Give every input back; one that refuses keeps no other from it."""
        for device in self._devices.values():
            with suppress(*self._errors):
                device.close()
        self._devices.clear()


class Debounce:
    """PURE. Makes what one contact says out of its levels.

    Args:
        line: which.
        hold_ns: how long a level must hold before it counts.
    """

    def __init__(self, line: InputLine, hold_ns: int) -> None:
        self._line = line
        self._hold_ns = hold_ns
        self._level: bool | None = None
        self._since_ns = 0
        self._edges: deque[int] = deque()
        self._chatters = False
        self._told: tuple[bool, str] | None = None

    def step(self, level: bool, now_ns: int) -> Sensed | None:  # noqa: FBT001 - the level is all there is
        """Take a level; the answer is what is new, if anything."""
        if level is not self._level:
            if self._level is not None:
                self._edges.append(now_ns)
            self._level, self._since_ns = level, now_ns
        while self._edges and self._edges[0] <= now_ns - S:
            self._edges.popleft()
        held_ns = now_ns - self._since_ns
        self._chatters = len(self._edges) > MOST_EDGES or (self._chatters and held_ns < QUIET_NS)
        if self._chatters:
            why = f"more than {MOST_EDGES} changes in a second; check the contact, its cable and its ground"
            return self.distrust(f"inputs.{self._line}: {why}", now_ns)
        return self._tell(level, self._since_ns, "") if held_ns >= self._hold_ns else None

    def distrust(self, trouble: str, now_ns: int) -> Sensed | None:
        """Say why it cannot be believed now, once for each reason."""
        return self._tell(self._line in SAFE, now_ns, trouble)

    def _tell(self, active: bool, at_ns: int, trouble: str) -> Sensed | None:  # noqa: FBT001
        if self._told == (active, trouble):
            return None
        self._told = (active, trouble)
        return Sensed(line=self._line, active=active, at_ns=at_ns, trouble=trouble)


class InputWatch:
    """All inputs of a door, debounced.

    Args:
        inputs: what is read.
        contacts: those fitted, and how long a level of each must hold.
    """

    def __init__(self, inputs: Inputs, contacts: Mapping[InputLine, Contact]) -> None:
        self._inputs = inputs
        self._debounces = {line: Debounce(line, contact.debounce_ms * MS) for line, contact in contacts.items()}

    def poll(self, now_ns: int) -> list[Sensed]:
        """Read every input once; the answer is what is new."""
        news = [self._step(line, debounce, now_ns) for line, debounce in self._debounces.items()]
        return [sensed for sensed in news if sensed]

    def run(self, clock: Clock, stopping: Event, report: Callable[[Sensed], None], stamp: Callable[[], None]) -> None:
        """Poll until `stopping`, and stamp progress each time; the body of the input thread."""
        while not stopping.wait(POLL_S):
            stamp()
            for sensed in self.poll(clock.now().monotonic_ns):
                report(sensed)

    def _step(self, line: InputLine, debounce: Debounce, now_ns: int) -> Sensed | None:
        try:
            return debounce.step(self._inputs.active(line), now_ns)
        except LineFault as fault:
            return debounce.distrust(str(fault), now_ns)
