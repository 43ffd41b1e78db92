"""What waits between two threads: the core's inbox, and slots in which only the newest counts.

Decides what gives way when nobody has time: frames and glimpses to newer ones, codes beyond the newest eight frames.
Nothing else is ever dropped. Made by the daemon.
"""

import threading
from collections import deque
from typing import Generic, TypeVar

from kiosk.clock import S
from kiosk.gate_settings import CityData
from kiosk.messages import Glimpse, Input, Seen

MOST_SEEN = 8
"""Frames with codes that may wait for the core; older ones are dropped, the newest say the same."""

T = TypeVar("T")


class Inbox:
    """What waits for the core thread."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._seen: deque[Seen] = deque(maxlen=MOST_SEEN)
        self._glimpse: Glimpse | None = None
        self._rest: deque[Input | CityData] = deque()
        self._woken = False

    def put(self, given: Input | CityData) -> None:
        """Add one input; codes beyond `MOST_SEEN` frames push out the oldest, a glimpse the one before."""
        with self._ready:
            if isinstance(given, Seen):
                self._seen.append(given)
                self._glimpse = None
            elif isinstance(given, Glimpse):
                self._glimpse = given
            else:
                self._rest.append(given)
            self._ready.notify()

    def wake(self) -> None:
        """Make a waiting `get` return."""
        with self._ready:
            self._woken = True
            self._ready.notify()

    def get(self, timeout_ns: int) -> Input | CityData | None:
        """Take the next input, or None after the time or a wake-up."""
        with self._ready:
            self._ready.wait_for(self._is_waited_for, timeout=max(0, timeout_ns) / S)
            self._woken = False
            if self._rest:
                return self._rest.popleft()
            if self._seen:
                return self._seen.popleft()
            glimpse, self._glimpse = self._glimpse, None
            return glimpse

    def _is_waited_for(self) -> bool:
        return bool(self._woken or self._rest or self._seen or self._glimpse)


class Newest(Generic[T]):
    """A slot for one thing; a newer one replaces what nobody has taken."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._held: T | None = None

    def put(self, thing: T) -> None:
        """Offer it."""
        with self._ready:
            self._held = thing
            self._ready.notify()

    def take(self, timeout_s: float) -> T | None:
        """Take the newest, or None after the time."""
        with self._ready:
            self._ready.wait_for(lambda: self._held is not None, timeout=timeout_s)
            held, self._held = self._held, None
            return held
