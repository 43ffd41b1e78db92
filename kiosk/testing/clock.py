"""A clock that moves only when told to.

It decides nothing; it obeys `kiosk.clock.Clock`, so what asks for the time cannot tell. Tests and simulations that
must not wait call it, from one thread or several.
"""

import threading
from datetime import UTC, datetime, timedelta

from kiosk.clock import MS, Now, S

MORNING = datetime(2021, 11, 22, 1, 0, tzinfo=UTC)
"""Eight o'clock in Da Nang."""


class ManualClock:
    """Stands still until `advance`.

    Args:
        utc: what UTC says at first.
        monotonic_ns: what CLOCK_MONOTONIC says at first.
        utc_trusted: whether UTC has been set by somebody since boot.
    """

    def __init__(self, utc: datetime = MORNING, *, monotonic_ns: int = S, utc_trusted: bool = True) -> None:
        self._lock = threading.Lock()
        self._utc_at_zero = utc
        self._zero_ns = monotonic_ns
        self._monotonic_ns = monotonic_ns
        self._utc_trusted = utc_trusted

    @property
    def utc_trusted(self) -> bool:
        """Whether UTC can be believed; set it to say otherwise."""
        return self._utc_trusted

    @utc_trusted.setter
    def utc_trusted(self, trusted: bool) -> None:
        with self._lock:
            self._utc_trusted = trusted

    def now(self) -> Now:
        """Read all hands at once."""
        with self._lock:
            gone = timedelta(microseconds=(self._monotonic_ns - self._zero_ns) // 1000)
            return Now(monotonic_ns=self._monotonic_ns, utc=self._utc_at_zero + gone, utc_trusted=self._utc_trusted)

    def advance(self, ns: int) -> Now:
        """Let time pass on both hands; the answer is the time then.

        Raises:
            ValueError: `ns` is negative; CLOCK_MONOTONIC never goes back.
        """
        if ns < 0:
            raise ValueError(f"time does not go back: {ns} ns")
        with self._lock:
            self._monotonic_ns += ns
        return self.now()

    def advance_ms(self, ms: int) -> Now:
        """Let milliseconds pass; as `advance`."""
        return self.advance(ms * MS)

    def step_utc(self, by: timedelta) -> Now:
        """Set UTC forward or back, as a time server does; CLOCK_MONOTONIC does not notice."""
        with self._lock:
            self._utc_at_zero += by
        return self.now()
