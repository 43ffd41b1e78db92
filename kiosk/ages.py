"""PURE. What the door knows of time: jumps of the wall clock, since when the link is as it is, how old the list is.

Deadlines go by the monotonic hand, which never steps; ages and what people read go by UTC, and are unknown while it is
not to be trusted. The gate calls it at each step.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from kiosk.clock import Now, S
from kiosk.messages import LinkStatus, View

STEP_MS = 1000
"""What the wall clock has gone ahead of the monotonic one, or fallen behind, before it counts as a jump. Time servers
mend less than half a second without one (systemd-timesyncd slews up to 0.4 s)."""
MINUTE = timedelta(minutes=1)
_MS = timedelta(milliseconds=1)
_US = timedelta(microseconds=1)


class Ages:
    """The hands of one door's clock, compared from step to step."""

    def __init__(self) -> None:
        self.link = LinkStatus(online=False, waiting=0)
        self._utc_at_boot: datetime | None = None
        self._link_since_boot: timedelta | None = None
        self._link_since: datetime | None = None
        self._trusted = False

    def jump_ms(self, now: Now) -> int:
        """How far UTC has jumped since `step` last said so, and 0 if it has not."""
        if self._utc_at_boot is None:
            return 0
        jump_ms = (now.utc - _since_boot(now) - self._utc_at_boot) // _MS
        return jump_ms if abs(jump_ms) >= STEP_MS else 0

    def step(self, now: Now) -> int:
        """Compare the hands; the answer is as `jump_ms`."""
        jump_ms = self.jump_ms(now)
        if jump_ms or self._utc_at_boot is None:
            self._utc_at_boot = now.utc - _since_boot(now)
        if jump_ms or now.utc_trusted is not self._trusted:
            self._trusted = now.utc_trusted
            self._tell_link()
        return jump_ms

    def note_link(self, link: LinkStatus, now: Now) -> None:
        """Hear from the uplink; only another answer to whether it is online starts a new time."""
        if self._link_since_boot is None or link.online is not self.link.online:
            self._link_since_boot = _since_boot(now)
            self._tell_link()
        self.link = link

    def put_on(self, view: View, listed_at: datetime | None, now: Now) -> View:
        """The same view, with where the uplink stands, since when, and how old the city's list is."""
        age = age_s(listed_at, now)
        return replace(
            view,
            online=self.link.online,
            waiting=self.link.waiting,
            link_since=self._link_since,
            city_age_s=None if age is None else age - age % 60,
        )

    def _tell_link(self) -> None:
        self._link_since = None
        if self._trusted and self._utc_at_boot and self._link_since_boot is not None:
            self._link_since = (self._utc_at_boot + self._link_since_boot).replace(microsecond=0)


def age_s(made_at: datetime | None, now: Now) -> int | None:
    """Whole seconds since then; None where there is no then, or the clock may be wrong."""
    return max(0, int((now.utc - made_at).total_seconds())) if made_at and now.utc_trusted else None


def next_minute_ns(made_at: datetime | None, now: Now) -> int | None:
    """When an age in whole minutes will next change, or a clock that cannot be trusted be looked at again."""
    if made_at is None:
        return None
    if not now.utc_trusted:
        return now.monotonic_ns - now.monotonic_ns % (60 * S) + 60 * S
    left = MINUTE - (now.utc - made_at) % MINUTE
    return now.monotonic_ns + left // _US * 1000


def _since_boot(now: Now) -> timedelta:
    return timedelta(microseconds=now.monotonic_ns // 1000)
