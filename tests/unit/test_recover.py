from collections.abc import Sequence
from pathlib import Path

import pytest

from kiosk.recover import PAUSE_S, REBOOT_EVERY_S, recover

NOW_S = 1_637_542_800.0
REBOOT = ("systemctl", "reboot", "--force")
AGAIN = [PAUSE_S, ("systemctl", "reset-failed", "kiosk.service"), ("systemctl", "start", "--no-block", "kiosk.service")]


def recovered(stamp: Path, result: str = "exit-code", status: str = "6", now_s: float = NOW_S) -> list[object]:
    """What was done, in order: commands, and pauses in seconds."""
    done = list[object]()

    def do(command: Sequence[str]) -> None:
        done.append(tuple(command))

    recover(result, status, stamp, now_s, do, done.append)
    return done


def test_the_first_failure_for_good_reboots_and_the_next_only_waits(tmp_path: Path) -> None:
    """Within twelve hours the kiosk is started again after five minutes instead."""
    stamp = tmp_path / "rebooted"
    assert [recovered(stamp), recovered(stamp, now_s=NOW_S + 60)] == [[REBOOT], AGAIN]
    assert recovered(stamp, now_s=NOW_S + REBOOT_EVERY_S) == [REBOOT]


@pytest.mark.parametrize("text", ["", "soon", str(int(NOW_S) + 86_400)], ids=["empty", "damaged", "ahead"])
def test_a_stamp_that_tells_nothing_does_not_forbid_the_reboot(tmp_path: Path, text: str) -> None:
    """Neither a damaged one, nor one of a clock that was ahead."""
    stamp = tmp_path / "rebooted"
    stamp.write_text(text)
    assert recovered(stamp) == [REBOOT]
    assert recovered(stamp) == AGAIN


@pytest.mark.parametrize(
    ("result", "status"),
    [("exit-code", "3"), ("signal", "KILL"), ("watchdog", "ABRT"), ("exit-code", "1"), ("exit-code", "5"), ("", "")],
)
def test_what_a_start_answers_or_only_a_technician_can_is_left_alone(tmp_path: Path, result: str, status: str) -> None:
    """A newer systemd tells of every crash that it answers by a start: one kill must not reboot the door."""
    assert recovered(tmp_path / "rebooted", result, status) == []


def test_ten_starts_in_ten_minutes_reboot(tmp_path: Path) -> None:
    """However the last one ended."""
    assert recovered(tmp_path / "rebooted", "start-limit-hit", "KILL") == [REBOOT]
