"""What systemd does when the kiosk has failed for good: reboot, if that was not tried lately, or try again later.

`systemd/kiosk-recover.service` runs it as root, with nothing but the standard library, and tells how the kiosk ended. A
reboot frees what a stuck driver holds and no kill ends. It happens once in twelve hours: a door that reboots all day
lets nobody out by its button and no technician in by SSH.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REBOOT_STATUS, GIVEN_UP = "6", "start-limit-hit"
"""The exit code that says that starting again did not help (kiosk/cli.py), and systemd's word for too many starts. From
version 254 on, systemd calls OnFailure for every single crash that it answers by a start (systemd.service(5),
RestartMode): those are none of ours, and neither is a configuration with mistakes."""
REBOOT_EVERY_S = 12 * 3600
PAUSE_S = 300.0

Do = Callable[[Sequence[str]], object]


def recover(result: str, status: str, stamp: Path, now_s: float, do: Do, wait: Callable[[float], object]) -> str:
    """Do what is left to do, and say what it was.

    Args:
        result: how the kiosk ended, in systemd's words (systemd.exec(5), SERVICE_RESULT).
        status: its exit status, as systemd has it.
        stamp: holds the time of the last reboot from here, over that reboot.
        now_s: Unix time.
        do: runs a command.
        wait: lets so many seconds pass.
    """
    if status != REBOOT_STATUS and result != GIVEN_UP:
        return f"nothing to do: it ended by {result} {status}, and starts again by itself if that can help"
    # A clock that was ahead at the last reboot must not keep this one from happening for ever.
    if not 0 <= now_s - _last(stamp) < REBOOT_EVERY_S:
        stamp.write_text(str(int(now_s)), encoding="ascii")
        os.sync()  # else the stamp may not outlive the reboot, and the door reboots for ever
        do(["systemctl", "reboot", "--force"])
        return "rebooting: starting again did not help"
    wait(PAUSE_S)
    do(["systemctl", "reset-failed", "kiosk.service"])
    do(["systemctl", "start", "--no-block", "kiosk.service"])
    return "a reboot did not help lately; the kiosk starts again after a pause"


def _last(stamp: Path) -> float:
    try:
        return float(stamp.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -REBOOT_EVERY_S


def main(environment: Mapping[str, str]) -> int:
    """As systemd runs it; see systemd.exec(5) on MONITOR_EXIT_STATUS and STATE_DIRECTORY."""
    said = recover(
        environment.get("MONITOR_SERVICE_RESULT", ""),
        environment.get("MONITOR_EXIT_STATUS", ""),
        Path(environment["STATE_DIRECTORY"]) / "rebooted",
        time.time(),  # noqa: TID251 - nobody's clock here: the firmware is not running
        lambda command: subprocess.run(command, check=True),  # noqa: S603 - the three commands above
        threading.Event().wait,
    )
    sys.stderr.write(f"kiosk-recover: {said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
