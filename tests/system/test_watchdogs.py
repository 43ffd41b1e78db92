"""What hangs is ended: a stopped daemon by systemd, a hung kernel by the board's watchdog."""

from pibox.door import Door
from pibox.machine import within

WITHIN_S = 1800.0


def test_a_stopped_process_is_ended_and_started(door: Door) -> None:
    """SIGSTOP: systemd's watchdog ends it after WatchdogSec, and the door works again."""
    before = door.shown("MainPID", "NRestarts")
    door.machine.run("kill", "-STOP", before["MainPID"])
    restarts = str(int(before["NRestarts"]) + 1)
    wanted = {"NRestarts": restarts, "ActiveState": "active"}
    within(WITHIN_S, lambda: door.shown("NRestarts", "ActiveState") == wanted, "it has been started again")
    assert "Watchdog timeout" in door.journal(200)


SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def test_a_hung_kernel_is_reset_and_the_door_comes_back(door: Door) -> None:
    """A kernel that has panicked and stands still: the watchdog resets the machine.

    After 3 s in place of the minute: a kernel that stands still spins, and the emulation needs an hour for that minute.
    """
    boots = len(door.machine.boots)
    assert door.machine.run("busctl", "set-property", *SYSTEMD, "RuntimeWatchdogUSec", "t", "3000000") == ""
    door.machine.hang()
    door.wake(boots + 1)
    door.wait_ready()
    assert len(door.machine.boots) == boots + 1
