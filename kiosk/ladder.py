"""PURE. What to try next when a stage that opening again does not cure keeps the door out of order.

The drivers of camera and lines are meant; a full disk and a dark hall no restart cures. First the process starts anew,
then the machine, and then it is left alone: a door whose camera is broken must not be rebooted all day. What was tried
is remembered over restarts (`encoded`, `decoded`); the daemon keeps it in a file.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from kiosk.clock import Now, S

PATIENCE_NS = 60 * S
"""So long may opening again try by itself, every two seconds."""


class Step(StrEnum):
    """What may cure it."""

    RESTART = "restart"
    REBOOT = "reboot"


BUDGET = {Step.RESTART: (3, timedelta(hours=1)), Step.REBOOT: (1, timedelta(hours=12))}
"""How often within how long, in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One step that was taken."""

    step: Step
    at: datetime


class Ladder:
    """Counts how long a stage has been down.

    Args:
        tried: what was tried before, by this process or those before it.
    """

    def __init__(self, tried: tuple[Tried, ...] = ()) -> None:
        self.tried = tried
        self._since_ns: int | None = None

    def step(self, now: Now, *, down: bool) -> Step | None:
        """What to do now, if anything; it counts as tried. `down`: a driver fails that a restart begins anew."""
        if not down:
            self._since_ns = None
            return None
        if self._since_ns is None:
            self._since_ns = now.monotonic_ns
        if now.monotonic_ns - self._since_ns < PATIENCE_NS:
            return None
        self._since_ns = now.monotonic_ns
        longest = max(within for _, within in BUDGET.values())
        # A clock that was ahead when it was noted must not block the budget for ever: then it counts as just now.
        recent = (Tried(step=one.step, at=min(one.at, now.utc)) for one in self.tried)
        self.tried = tuple(one for one in recent if now.utc - one.at < longest)
        for step, (most, within) in BUDGET.items():
            if sum(one.step is step and now.utc - one.at < within for one in self.tried) < most:
                self.tried += (Tried(step=step, at=now.utc),)
                return step
        return None


def encoded(tried: tuple[Tried, ...]) -> str:
    """For the file."""
    return json.dumps([[one.step, one.at.isoformat()] for one in tried])


def decoded(text: str) -> tuple[Tried, ...]:
    """From the file; nothing from one that is damaged, which costs a restart too many."""
    try:
        return tuple(Tried(step=Step(step), at=datetime.fromisoformat(at)) for step, at in json.loads(text))
    except (ValueError, TypeError):
        return ()
