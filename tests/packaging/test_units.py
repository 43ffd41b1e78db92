"""The unit that puts lines to rest, and what kiosk.service says about it."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kiosk import rest_lines

ROOT = Path(__file__).parents[2]
UNITS = ("kiosk.service", "kiosk-safe.service", "kiosk-recover.service", "kiosk-screen.service")
EXPOSURES_TENTHS = {"kiosk-safe.service": 10, "kiosk-recover.service": 20}
"""systemd-analyze security: all that the one is allowed is one GPIO chip; the other is root, and alone with systemd."""


def unit_text(name: str) -> str:
    """A unit with its continued lines joined."""
    return (ROOT / "systemd" / name).read_text(encoding="utf-8").replace("\\\n", " ")


def command_of(name: str, key: str) -> list[str]:
    """The words of a unit's only command of that kind."""
    (line,) = re.findall(rf"^{key}=-?(.*)$", unit_text(name), re.MULTILINE)
    return shlex.split(line)


def test_both_units_put_lines_to_rest_by_the_same_command() -> None:
    """After the daemon, however it went, and before it, and after a failure for good."""
    assert command_of("kiosk.service", "ExecStopPost") == command_of("kiosk-safe.service", "ExecStart")
    lines = unit_text("kiosk.service").splitlines()
    assert {"Wants=kiosk-safe.service", "OnFailure=kiosk-safe.service kiosk-recover.service"} <= set(lines)
    (after,) = (line for line in lines if line.startswith("After="))
    assert "kiosk-safe.service" in after


@pytest.mark.parametrize(
    ("note", "config", "code"),
    [(None, '[lines]\npin_factory = "mock"\n', 0), ("", "broken [", 0), (None, "broken [", 3), (None, None, 3)],
    ids=["configuration", "note before configuration", "broken configuration", "nothing"],
)
def test_the_command_works_as_it_stands(tmp_path: Path, note: str | None, config: str | None, code: int) -> None:
    """Its shell, its path with a star and its two files, in a folder that looks like an installed release."""
    packages = tmp_path / "current" / "lib" / "python3.11" / "site-packages" / "kiosk"
    packages.mkdir(parents=True)
    shutil.copy(rest_lines.__file__, packages)
    (tmp_path / "current" / "bin").mkdir()
    (tmp_path / "current" / "bin" / "python").symlink_to(sys.executable)
    places = {
        "/opt/kiosk/current": tmp_path / "current",
        f"/run/kiosk/{rest_lines.NOTE}": tmp_path / "note",
        "/etc/kiosk/kiosk.toml": tmp_path / "kiosk.toml",
    }
    shell, option, script = command_of("kiosk-safe.service", "ExecStart")
    for said, here in places.items():
        assert said in script
        script = script.replace(said, str(here))
    for place, text in (("note", note), ("kiosk.toml", config)):
        if text is not None:
            (tmp_path / place).write_text(text, encoding="utf-8")
    done = subprocess.run([shell, option, script], capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stderr)) == (code, code != 0)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """All units in one folder, the daemon replaced by a program that is on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian's package systemd)")
    for name in UNITS:
        text = re.sub(r"^ExecStart=/(opt|usr/bin/cog).*$", "ExecStart=/bin/true", unit_text(name), flags=re.MULTILINE)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_systemd_understands_the_units_together(units: Path) -> None:
    """No unknown key, no unit that is not there."""
    paths = [str(path) for path in sorted(units.glob("*.service"))]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "kiosk" in line]) == (0, [])


@pytest.mark.parametrize(("name", "tenths"), EXPOSURES_TENTHS.items())
def test_the_small_units_expose_next_to_nothing(units: Path, name: str, tenths: int) -> None:
    """Their exposure stays at or below the bound."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={tenths}", str(units / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
