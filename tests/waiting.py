"""Waiting for what other threads and processes do, with a deadline and without sleeping a guessed time."""

import threading
from collections.abc import Callable

from kiosk.clock import S, SystemClock


def until(condition: Callable[[], object], within_s: float = 10.0, *, what: str = "") -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it does not hold in time.
    """
    clock, pause = SystemClock(), threading.Event()
    deadline_ns = clock.now().monotonic_ns + round(within_s * S)
    while not condition():
        assert clock.now().monotonic_ns < deadline_ns, f"did not come true within {within_s} s: {what or condition}"
        pause.wait(0.01)
