"""Which gaps are an alarm: those that stand still at a door that can send."""

from datetime import UTC, datetime

from city.gaps import Gap
from city.missing import SETTLED_NS, TAIL_NS, Loss, Missing
from kiosk.clock import S

SINCE = datetime(2021, 11, 22, 1, 0, tzinfo=UTC)


def gap(first: int, last: int, *, device: str = "door-01", ledger: str = "aa") -> Gap:
    """A gap; when it was seen first plays no part here."""
    return Gap(device=device, ledger=ledger, first=first, last=last, since=SINCE)


def loss(missing: int, first: int, last: int) -> Loss:
    """What is told of it."""
    return Loss(device="door-01", ledger="aa", missing=missing, first=first, last=last)


def looked(missing: Missing, at_ns: int, *gaps: Gap, tails: tuple[Gap, ...] = (), away: str = "") -> list[Loss]:
    """One look, at a door that can send unless it is away."""
    return missing.look(at_ns, gaps, tails, lambda device: device != away)


def test_a_gap_that_stands_still_is_told_once_and_its_end_once() -> None:
    """Of two gaps in a ledger, the sum and the span."""
    missing = Missing()
    both = (gap(5, 6), gap(9, 9))
    assert looked(missing, 0, *both) + looked(missing, SETTLED_NS - 1, *both) == []
    assert looked(missing, SETTLED_NS, *both) == [loss(3, 5, 9)]
    assert looked(missing, 1000 * S, *both) + looked(missing, 2000 * S, both[0]) == []
    assert (looked(missing, 3000 * S), looked(missing, 4000 * S)) == ([loss(0, 0, 0)], [])


def test_a_gap_that_is_being_filled_is_no_alarm() -> None:
    """A door sends three days of history behind an alert; when it stops half-way, it is one."""
    missing = Missing()
    shrinking = [looked(missing, at * 5 * S, gap(1 + at, 1000)) for at in range(200)]
    assert shrinking == [[]] * 200
    assert looked(missing, 1100 * S, gap(200, 1000)) == [loss(801, 200, 1000)]


def test_what_was_no_alarm_has_no_end() -> None:
    """Filled before it was told."""
    missing = Missing()
    assert looked(missing, 0, gap(1, 5)) + looked(missing, 10 * S) == []
    assert looked(missing, 11 * S, gap(7, 9)) + looked(missing, 12 * S) == []


def test_more_that_is_missing_is_told_again() -> None:
    """And less is not."""
    missing = Missing()
    looked(missing, 0, gap(5, 6))
    assert looked(missing, SETTLED_NS, gap(5, 6)) == [loss(2, 5, 6)]
    assert looked(missing, 2 * SETTLED_NS, gap(5, 6), gap(8, 8)) == [loss(3, 5, 8)]
    assert looked(missing, 9 * SETTLED_NS, gap(8, 8)) == []


def test_of_a_door_that_is_away_nothing_is_missing_yet() -> None:
    """It may have it; when it has been back for a while and does not send it, it is told."""
    missing = Missing()
    for at in range(100):
        assert looked(missing, at * S, gap(5, 6), away="door-01") == []
    assert looked(missing, 99 * S + SETTLED_NS - 1, gap(5, 6)) == []
    assert looked(missing, 99 * S + SETTLED_NS, gap(5, 6)) == [loss(2, 5, 6)]


def test_an_alarm_does_not_end_because_its_door_goes_away() -> None:
    """Only because what was missing has come."""
    missing = Missing()
    looked(missing, 0, gap(5, 6))
    looked(missing, SETTLED_NS, gap(5, 6))
    assert looked(missing, 2 * SETTLED_NS, gap(5, 6), away="door-01") == []
    assert looked(missing, 3 * SETTLED_NS, away="door-01") == [loss(0, 0, 0)]


def test_the_end_of_a_ledger_is_missing_when_the_door_waits_for_nothing_for_a_minute() -> None:
    """A heartbeat overtakes what the ingest is about to store."""
    missing = Missing()
    tail = (gap(8, 9),)
    assert looked(missing, 0, tails=tail) + looked(missing, TAIL_NS - 1, tails=tail) == []
    assert looked(missing, TAIL_NS, tails=tail) == []
    assert looked(missing, TAIL_NS + SETTLED_NS, tails=tail) == [loss(2, 8, 9)]
    assert looked(missing, 2 * TAIL_NS) == [loss(0, 0, 0)]
    assert looked(missing, 3 * TAIL_NS, tails=tail) + looked(missing, 4 * TAIL_NS - 1, tails=tail) == []


def test_each_ledger_is_told_for_itself() -> None:
    """A door with two files, and another door."""
    missing = Missing()
    gaps = (gap(1, 1), gap(1, 2, ledger="bb"), gap(1, 3, device="door-02"))
    looked(missing, 0, *gaps)
    told = looked(missing, SETTLED_NS, *gaps)
    assert [(one.device, one.ledger, one.missing) for one in told] == [
        ("door-01", "aa", 1),
        ("door-01", "bb", 2),
        ("door-02", "aa", 3),
    ]
