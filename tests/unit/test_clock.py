from datetime import UTC, timedelta

import pytest

from kiosk.clock import MS, Clock, Now, S, SystemClock
from kiosk.testing.clock import MORNING, ManualClock


def test_the_system_clock_goes_forward_in_utc() -> None:
    """Two readings never go back on the monotonic hand, and UTC says that it is UTC."""
    clock: Clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert 0 < first.monotonic_ns <= second.monotonic_ns
    assert (first.utc.tzinfo, first.utc_trusted) == (UTC, True)


def test_the_system_clock_asks_each_time_whether_utc_can_be_trusted() -> None:
    """A time server that answers after the start is believed from then on."""
    answers = iter([False, True])
    clock = SystemClock(trusted=lambda: next(answers))
    assert [clock.now().utc_trusted, clock.now().utc_trusted] == [False, True]


def test_a_manual_clock_stands_still_until_told() -> None:
    """Reading it changes nothing; advancing moves both hands by as much."""
    clock = ManualClock()
    begin = Now(monotonic_ns=S, utc=MORNING, utc_trusted=True)
    assert (clock.now(), clock.now()) == (begin, begin)
    later = Now(monotonic_ns=S + 1500 * MS, utc=MORNING + timedelta(milliseconds=1500), utc_trusted=True)
    assert (clock.advance_ms(1500), clock.now()) == (later, later)


def test_small_advances_of_a_manual_clock_add_up() -> None:
    """A thousand times a nanosecond is a microsecond on both hands."""
    clock = ManualClock(monotonic_ns=0)
    for _ in range(1000):
        clock.advance(1)
    assert clock.now() == Now(monotonic_ns=1000, utc=MORNING + timedelta(microseconds=1), utc_trusted=True)


def test_a_manual_clock_may_be_set_without_monotonic_time_passing() -> None:
    """UTC can be set back by a day; the monotonic hand stays, and both go on from there."""
    clock = ManualClock(monotonic_ns=0, utc_trusted=False)
    back = MORNING - timedelta(days=1)
    assert clock.step_utc(timedelta(days=-1)) == Now(monotonic_ns=0, utc=back, utc_trusted=False)
    clock.utc_trusted = True
    assert clock.utc_trusted
    assert clock.advance_ms(1) == Now(monotonic_ns=MS, utc=back + timedelta(milliseconds=1), utc_trusted=True)


def test_a_manual_clock_does_not_go_back() -> None:
    """CLOCK_MONOTONIC never does."""
    with pytest.raises(ValueError, match="does not go back: -1 ns"):
        ManualClock().advance(-1)
