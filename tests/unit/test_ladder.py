from datetime import UTC, datetime, timedelta

import pytest

from kiosk.clock import Now, S
from kiosk.ladder import PATIENCE_NS, Ladder, Step, Tried, decoded, encoded

START = datetime(2021, 11, 22, 1, 0, tzinfo=UTC)


def at_s(second: int) -> Now:
    """So long after the start."""
    return Now(monotonic_ns=second * S, utc=START + timedelta(seconds=second), utc_trusted=True)


def climbed(until_s: int, tried: tuple[Tried, ...] = ()) -> list[tuple[int, Step]]:
    """Each step and its second, asked every second."""
    ladder = Ladder(tried)
    return [(second, step) for second in range(until_s) if (step := ladder.step(at_s(second), down=True))]


def test_restarts_come_first_then_one_reboot_then_peace() -> None:
    """Three restarts a minute apart, a reboot, and restarts again only when an hour has passed."""
    assert climbed(3500) == [
        (60, Step.RESTART),
        (120, Step.RESTART),
        (180, Step.RESTART),
        (240, Step.REBOOT),
    ]
    assert [second for second, step in climbed(40_000) if step is Step.REBOOT] == [240]


def test_a_stage_that_recovers_begins_anew() -> None:
    """A minute of faults in pieces is no minute."""
    ladder = Ladder()
    told = [ladder.step(at_s(second), down=bool(second % 50)) for second in range(500)]
    assert set(told) == {None}


def test_what_was_tried_is_remembered_over_restarts() -> None:
    """A process that is told of three restarts lately goes straight to the reboot."""
    before = tuple(Tried(step=Step.RESTART, at=START - timedelta(minutes=minute)) for minute in (1, 2, 3))
    assert climbed(100, decoded(encoded(before))) == [(60, Step.REBOOT)]


def test_a_clock_that_was_ahead_does_not_block_for_ever() -> None:
    """What was noted for next year counts as tried now, and an hour later no more."""
    ahead = tuple(Tried(step=Step.RESTART, at=START + timedelta(days=365)) for _ in range(3))
    assert climbed(100, ahead) == [(60, Step.REBOOT)]
    assert climbed(PATIENCE_NS // S + 3700, ahead)[1][1] is Step.RESTART


@pytest.mark.parametrize("text", ["", "{", "[[1]]", '[["restart", "yesterday"]]', '[["dance", "2021-11-22T01:00:00"]]'])
def test_a_damaged_file_remembers_nothing(text: str) -> None:
    """It raises nothing."""
    assert decoded(text) == ()
