"""The lines of a door as a board beside the Pi: every level with its time, kept when whoever drove it dies.

A file that is only appended to; the daemon's lines write it, and so does `resting.py` in the kernel's place.
"""

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from kiosk.clock import MS
from kiosk.messages import RELAYS, Line

LEVEL = struct.Struct("=QBB")
"""CLOCK_BOOTTIME in ns, GPIO, level."""


class BoardLines:
    """`kiosk.gpio_alerts.Lines` on a board; all active high."""

    def __init__(self, gpios: Mapping[Line, int], path: Path) -> None:
        self._gpios = dict(gpios)
        self._board = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def set(self, line: Line, *, on: bool) -> None:
        """Drive it."""
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        os.write(self._board, LEVEL.pack(now_ns, self._gpios[line], on))

    def close(self) -> None:
        """Rest."""
        for line in self._gpios:
            self.set(line, on=False)


class Board:
    """What stands on it, read from outside."""

    def __init__(self, gpios: Mapping[Line, int], path: Path) -> None:
        self._lines = {gpio: line for line, gpio in gpios.items()}
        self._path = path
        path.touch()

    def changes(self, since_ns: int = 0) -> list[tuple[int, Line, bool]]:
        """Every level that was set, those from `since_ns` on."""
        whole = self._path.read_bytes()
        whole = whole[: len(whole) - len(whole) % LEVEL.size]
        return [(at, self._lines[gpio], bool(on)) for at, gpio, on in LEVEL.iter_unpack(whole) if at >= since_ns]

    def on(self) -> dict[Line, int]:
        """The lines that are on now, and since when."""
        since: dict[Line, int] = {}
        for at_ns, line, on in self.changes():
            if not on:
                since.pop(line, None)
            else:
                since.setdefault(line, at_ns)
        return since

    def rested_ns(self, after_ns: int) -> int | None:
        """When the last line went off that was on at `after_ns`; None while one still is, or where none was."""
        on: set[Line] = set()
        for at_ns, line, level in self.changes():
            if at_ns > after_ns and line in on and not level:
                on.discard(line)
                if not on:
                    return at_ns
            elif at_ns <= after_ns:
                (on.add if level else on.discard)(line)
        return None

    def longest_relay_ms(self, since_ns: int) -> int:
        """The longest time a relay was on, of those switched on from then."""
        since: dict[Line, int] = {}
        longest_ns = 0
        for at_ns, line, on in self.changes(since_ns):
            if line in RELAYS.values() and on:
                since.setdefault(line, at_ns)
            elif line in since and not on:
                longest_ns = max(longest_ns, at_ns - since.pop(line))
        return longest_ns // MS
