"""Time as an argument: the only module that reads a clock.

Durations and deadlines use `monotonic_ns`; records carry `utc_now` and whether it can be trusted.
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

TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches this file at its first good answer since boot (systemd-timesyncd.service(8))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """One reading of the clock; what pure stages get instead of a clock."""

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
        """Read CLOCK_MONOTONIC and UTC."""
        return Now(
            monotonic_ns=time.monotonic_ns(),  # noqa: TID251 - the one place
            utc=datetime.now(UTC),  # noqa: TID251 - the one place
            utc_trusted=self._trusted(),
        )
