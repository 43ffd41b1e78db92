"""Lets the other threads have the interpreter during a long computation.

numpy and OpenCV give up the interpreter's lock for microseconds in each of many short calls, and have it back before a
thread that waits for it is awake; that thread's own time-out begins anew each time, so `sys.setswitchinterval` does not
help it. Measured: docs/decisions/0001-threads.md. Called in the loops of search and quick look.
"""

import threading
import time

_EVERY_NS = 1_000_000
_ASLEEP_S = 10e-6


class Turns(threading.local):
    """Calls of it are cheap; once in a millisecond of a thread one sleeps for as long as another takes to wake."""

    def __init__(self) -> None:
        self._given_ns = 0

    def __call__(self) -> None:
        """Let others in, if it is time."""
        if time.perf_counter_ns() - self._given_ns > _EVERY_NS:
            time.sleep(_ASLEEP_S)  # noqa: TID251 - the sleep is the point; nothing is waited for
            self._given_ns = time.perf_counter_ns()


give_way = Turns()
