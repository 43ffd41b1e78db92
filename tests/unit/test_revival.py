"""A thread's work begins anew after a bug, a few times."""

import pytest

from kiosk.clock import S
from kiosk.revival import MOST_REVIVALS, PAUSE_S, WITHIN_S, revived
from kiosk.testing.clock import ManualClock


class Work:
    """Fails so many times."""

    def __init__(self, failures: int, clock: ManualClock, between_s: int = 0) -> None:
        self.runs = 0
        self._failures, self._clock, self._between_s = failures, clock, between_s

    def __call__(self) -> None:
        """Run."""
        self.runs += 1
        self._clock.advance(self._between_s * S)
        if self.runs <= self._failures:
            raise ZeroDivisionError(self.runs)


def run(work: Work, clock: ManualClock) -> tuple[list[str], list[float]]:
    """Run it revived; the bugs it was told of, and the pauses."""
    bugs, pauses = list[str](), list[float]()
    revived(
        work, clock, on_bug=lambda bug: bugs.append(str(bug)), pause=pauses.append, uniform=lambda low, high: high - low
    )
    return bugs, pauses


def test_work_that_ends_is_not_begun_again() -> None:
    """That is how it is closed."""
    clock = ManualClock()
    work = Work(0, clock)
    assert (run(work, clock), work.runs) == (([], []), 1)


def test_each_bug_is_told_and_the_work_begun_anew_within_ten_seconds() -> None:
    """After a pause that is not the same for all doors."""
    clock = ManualClock()
    work = Work(MOST_REVIVALS, clock)
    assert run(work, clock) == (["1", "2", "3", "4", "5"], [PAUSE_S] * 5)
    assert PAUSE_S < 10


def test_the_sixth_bug_in_ten_minutes_is_raised() -> None:
    """Then systemd has a try."""
    clock = ManualClock()
    work = Work(99, clock)
    with pytest.raises(ZeroDivisionError):
        run(work, clock)
    assert work.runs == MOST_REVIVALS + 1


def test_bugs_that_are_rare_never_end_the_process() -> None:
    """Five in ten minutes are forgiven for ever."""
    clock = ManualClock()
    work = Work(40, clock, between_s=WITHIN_S // MOST_REVIVALS)
    assert len(run(work, clock)[0]) == 40
