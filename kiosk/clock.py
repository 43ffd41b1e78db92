"""Time as an argument: the only module that reads a clock.

Durations and deadlines use `monotonic_ns`; records carry UTC, whether it can be trusted, and the time since boot.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

MS = 1_000_000
"""Nanoseconds in a millisecond."""
S = 1_000_000_000
"""Nanoseconds in a second."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""The kernel's random name for this boot (random(4))."""
TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches this file at its first good answer since boot (systemd-timesyncd.service(8))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """One reading of the clock; what pure stages get instead of a clock.

    `monotonic_ns` is CLOCK_BOOTTIME, which never steps and tells how long ago this machine was switched on.
    """

    monotonic_ns: int
    utc: datetime
    utc_trusted: bool


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Now:
        """Read all hands at once."""


def _always() -> bool:
    return True


class SystemClock:
    """The machine's clocks. `trusted` tells whether UTC has been set by somebody since boot."""

    def __init__(self, trusted: Callable[[], bool] = _always) -> None:
        self._trusted = trusted

    def now(self) -> Now:
        """Read CLOCK_BOOTTIME and UTC."""
        return Now(
            monotonic_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            utc=datetime.now(UTC),  # noqa: TID251 - the one place
            utc_trusted=self._trusted(),
        )


def boot_id() -> str:
    """Name this boot: 36 characters; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
