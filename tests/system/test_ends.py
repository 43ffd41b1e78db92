"""However the daemon ends, the kernel's record shows every line at rest afterwards."""

from kiosk.messages import Line, Symptom
from pibox.door import GPIOS, Door
from pibox.machine import Change, within

WITHIN_S = 900.0
REST_WITHIN_S = 2.0


def _at_end(door: Door, since: int) -> dict[Line, int | None]:
    """The last level each line was driven to, or 0 where its resistor has it; None: nothing happened."""
    ends: dict[Line, int | None] = {}
    for line in GPIOS:
        levels = [change for change in door.changes(line, since) if change.kind in {"set", "let_go"}]
        ends[line] = levels[-1].value if levels else None
    return ends


def _highs(door: Door, since: int) -> list[Change]:
    return [change for change in door.machine.changes[since:] if change.kind == "set" and change.value == 1]


def _in_alarm(door: Door) -> int:
    """Somebody at risk stands at the door: red is on, and the buzzer sounds."""
    within(WITHIN_S, lambda: door.view()["screen"] == "attract", "the page is idle")
    since = len(door.machine.changes)
    door.visit(Symptom.COUGH)
    within(WITHIN_S, lambda: door.changes(Line.RED, since), "the red light is on")
    return since


def test_a_killed_daemon_leaves_every_line_at_rest(door: Door) -> None:
    """SIGKILL in the middle of an alarm: systemd's own command rests each line, and the daemon is back, no reboot."""
    since = _in_alarm(door)
    restarts, boots = int(door.shown("NRestarts")["NRestarts"]), len(door.machine.boots)
    killed = len(door.machine.changes)
    door.machine.run("systemctl", "kill", "--signal=KILL", "kiosk")
    wanted = {"NRestarts": str(restarts + 1), "ActiveState": "active"}
    within(WITHIN_S, lambda: door.shown("NRestarts", "ActiveState") == wanted, "the daemon is back")
    assert len(door.machine.boots) == boots
    assert {line: value for line, value in _at_end(door, since).items() if value} == {}
    assert _highs(door, killed) == []
    (let_go, *_), (rested, *_) = (
        [change for change in door.changes(Line.RED, killed) if change.kind == kind] for kind in ("let_go", "out")
    )
    assert rested.at - let_go.at < REST_WITHIN_S


def test_a_stopped_daemon_leaves_every_line_at_rest(door: Door) -> None:
    """A stop in the middle of an alarm, and start again."""
    since = _in_alarm(door)
    door.machine.run("systemctl", "stop", "kiosk", within_s=200)
    assert {line: value for line, value in _at_end(door, since).items() if value} == {}
    door.machine.run("systemctl", "start", "kiosk", within_s=300)
    door.wait_ready()


def test_no_line_moves_while_the_machine_restarts(door: Door) -> None:
    """From the order to the next READY: recorded by the kernel, not sampled."""
    within(WITHIN_S, lambda: door.view()["screen"] == "attract", "the page is idle")
    since, boots = len(door.machine.changes), len(door.machine.boots)
    door.machine.run("systemctl", "reboot")
    door.wake(boots + 1)
    door.wait_ready()
    assert _highs(door, since) == []
