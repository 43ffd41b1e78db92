"""An installed door in the box, with the city around it, and what can be seen of it from outside.

Called by tests/system and by `scripts/pibox run`.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from kiosk.messages import Line, Symptom
from kiosk.settings import LineSettings
from pibox.build import Cache, cache_for
from pibox.machine import Change, Machine, overlay, within
from pibox.outside import City, grey, visitor

GPIOS: dict[Line, int] = {
    line: getattr(LineSettings(), line.value) for line in Line if getattr(LineSettings(), line.value) >= 0
}
"""As in the shipped configuration."""
PASSAGE, FIRE, STAFF_KEY = 5, 6, 13
SYNCHRONISED = "/run/systemd/timesync/synchronized"
"""Empty, and there once timesyncd has set the clock since the machine started (systemd-timesyncd.service(8))."""
READY_WITHIN_S = 1800.0
"""By the host's clock: a busy one may give the box a twentieth of what it needs."""


class Door:
    """One door: `machine`, `city`, and verbs for what people do."""

    def __init__(self, cache: Cache, disk: str, folder: Path) -> None:
        self.cache, self.folder = cache, folder
        self.city = City(cache.folder / "outside", work=folder)
        self.machine = Machine(cache, disk, folder)
        self._people = count(1)

    @classmethod
    def on(cls, disk: str, folder: Path) -> "Door":
        """On a disk of the caller's."""
        return cls(cache_for(), disk, folder)

    def open(self) -> None:
        """Broker and city up, power on, until the daemon says READY."""
        self.city.open()
        self.machine.power_on()
        self.wake()
        self.wait_ready()

    def wake(self, boot: int = 1) -> None:
        """After power-on: wait for the box, close the fire contact, show an empty door, tell the time."""
        self.machine.wait_boot(boot, READY_WITHIN_S)
        self.machine.ask("pull", line=FIRE, up=False)
        self.machine.show(grey())
        self.machine.ask("time", utc=time.time())

    def wait_ready(self) -> float:
        """Wait until systemd has the daemon as active, and its clock set; the answer is how long that took."""
        waited = within(READY_WITHIN_S, lambda: self.shown("ActiveState")["ActiveState"] == "active", "kiosk is active")
        return waited + within(READY_WITHIN_S, self._clock_set, "timesyncd has set the clock")

    def _clock_set(self) -> bool:
        return self.machine.run("cat", SYNCHRONISED) == ""

    def shown(self, *properties: str, unit: str = "kiosk") -> dict[str, str]:
        """Properties of a unit."""
        words = [f"--property={name}" for name in properties]
        said = self.machine.run("systemctl", "show", unit, *words)
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def view(self) -> dict[str, Any]:
        """What the page at the door gets."""
        told: dict[str, Any] = json.loads(self.machine.ask("page", path="/view"))
        return told

    def visit(self, *symptoms: Symptom, at: datetime | None = None) -> None:
        """Somebody new walks up, holds up their declaration and goes. Returns at once."""
        number = next(self._people)
        frames = list(visitor(self.city.code(number, *symptoms, at=at), number))
        self.machine.show(*frames, grey(), fps=3.0)

    def set_time(self, utc: datetime) -> None:
        """Have timesyncd set the clock to this."""
        self.machine.ask("time", utc=utc.timestamp())
        self.machine.run("systemctl", "restart", "systemd-timesyncd")

    def release(self) -> str:
        """The name of the release that runs."""
        return self.machine.run("readlink", "/opt/kiosk/current").strip().rpartition("/")[2]

    def press_staff_key(self, held_s: float = 0.5) -> None:
        """Staff press and let go."""
        self._closed(STAFF_KEY, held_s)

    def pass_through(self) -> None:
        """Somebody turns the arm."""
        self._closed(PASSAGE, 0.5)

    def _closed(self, contact: int, held_s: float) -> None:
        self.machine.ask("pull", line=contact, up=False)
        self.machine.run("sleep", str(held_s))  # by the box's own clock
        self.machine.ask("pull", line=contact, up=True)

    def replug(self) -> None:
        """Pull the plug, put it in again, and wait until the door is READY."""
        boots = len(self.machine.boots)
        self.machine.cut_power()
        self.machine.power_on()
        self.wake(boots + 1)
        self.wait_ready()

    def changes(self, line: Line, since: int = 0) -> list[Change]:
        """What one output did, of the changes from that number on."""
        gpio = GPIOS[line]
        return [change for change in self.machine.changes[since:] if change.line == gpio]

    def pulses(self, line: Line, since: int = 0) -> list[float]:
        """How long one output was high each time, in seconds, of the changes from that number on."""
        levels = [change for change in self.changes(line, since) if change.kind != "in"]
        pulses = []
        high: float | None = None
        for change in levels:
            if change.kind == "set" and change.value == 1:
                high = change.at if high is None else high
            elif high is not None:
                pulses.append(change.at - high)
                high = None
        return pulses

    def journal(self, lines: int = 50) -> str:
        """The newest of what the kiosk's units said."""
        return self.machine.run("journalctl", "-u", "kiosk*", "-n", str(lines), "--no-pager", "-o", "short-monotonic")

    def close(self) -> None:
        """Pull the plug, and end the city."""
        self.machine.close()
        self.city.close()


@contextmanager
def opened(folder: Path) -> Iterator[Door]:
    """A door on the disk that `scripts/pibox test` has named."""
    cache = cache_for()
    door = Door(cache, overlay(cache, Path(os.environ["PIBOX_DISK"]), folder / "disk.qcow2"), folder)
    try:
        door.open()
        yield door
    finally:
        door.close()
