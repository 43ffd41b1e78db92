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

CONFIG_STATUS = "3"
"""Exit code of a configuration with mistakes (kiosk/cli.py): neither a start nor a reboot mends it."""
REBOOT_EVERY_S = 12 * 3600
PAUSE_S = 300.0

Do = Callable[[Sequence[str]], object]


def recover(status: str, stamp: Path, now_s: float, do: Do, wait: Callable[[float], object]) -> str:
    """Do what is left to do, and say what it was.

    Args:
        status: the kiosk's exit status, as systemd has it.
        stamp: holds the time of the last reboot from here, over that reboot.
        now_s: Unix time.
        do: runs a command.
        wait: lets so many seconds pass.
    """
    if status == CONFIG_STATUS:
        return "the configuration has mistakes (kiosk check-config names them); nothing is tried"
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
