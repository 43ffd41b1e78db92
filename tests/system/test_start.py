"""From power-on to READY, under real systemd with the shipped units."""

from pibox.door import GPIOS, Door
from pibox.machine import within


def test_no_line_leaves_rest_from_power_on_until_the_daemon_is_ready(door: Door) -> None:
    """Every change the kernel recorded so far put a line at rest."""
    seen = [change for change in door.machine.changes if change.line in GPIOS.values()]
    assert {change.line for change in seen if change.kind == "out"} == set(GPIOS.values())
    assert [change for change in seen if change.kind == "set" and change.value != 0] == []


def test_lines_are_put_to_rest_before_the_daemon_starts(door: Door) -> None:
    """kiosk-safe.service has driven and let go of each before the daemon claims it."""
    for line in GPIOS:
        kinds = [change.kind for change in door.changes(line)]
        assert kinds.index("let_go") < len(kinds) - 1, (line, kinds)
    assert door.shown("Result", "ExecMainStatus", unit="kiosk-safe") == {"Result": "success", "ExecMainStatus": "0"}


def test_the_hardened_unit_lets_camera_and_lines_work(door: Door) -> None:
    """The daemon that systemd confines has the devices open, and no fault to tell."""
    pid = door.shown("MainPID")["MainPID"]

    def held() -> str:
        return door.machine.run("sh", "-c", f"ls -l /proc/{pid}/fd")

    assert "/dev/gpiochip0" in held()
    files = door.cache.system.camera_files  # READY does not wait for them
    within(900, lambda: any(name in held() for name in files), "the camera is open")
    assert door.shown("NRestarts", "DevicePolicy", "NoNewPrivileges", "ProtectSystem") == {
        "NRestarts": "0",
        "DevicePolicy": "closed",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
    }
    assert door.view()["fault"] == ""


def test_a_device_that_the_unit_does_not_name_stays_shut(door: Door) -> None:
    """The unit's own allow-list: in its control group root itself opens the lines, and no disk or watchdog."""
    join = "echo $$ >/sys/fs/cgroup/system.slice/kiosk.service/cgroup.procs"
    tries = "for name in gpiochip0 vda watchdog0; do (: </dev/$name) 2>&1 && echo $name opens; done"
    said = door.machine.run("sh", "-c", f"{join} && {tries}")
    assert "gpiochip0 opens" in said
    assert said.count("Operation not permitted") == 2
    assert said.count("opens") == 1


def test_the_daemon_is_online_at_the_broker_with_a_certificate_of_its_own(door: Door) -> None:
    """Mutual TLS to a broker outside of the machine."""
    within(900, lambda: door.view()["online"], "the page says that the city can be reached")
