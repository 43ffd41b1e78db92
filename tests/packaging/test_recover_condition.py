from pathlib import Path

UNIT = Path(__file__).parents[2] / "systemd" / "kiosk-recover.service"


def test_recovery_waits_until_systemd_has_given_up() -> None:
    """Its condition comes before its command: the first crash of a daemon that starts again reboots nothing."""
    commands = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if line.startswith("Exec")]
    assert commands[0] == "ExecCondition=/usr/bin/systemctl is-failed --quiet kiosk.service"
    assert commands[1].startswith("ExecStart=")
