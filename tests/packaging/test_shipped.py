"""What is shipped works as it lies: configurations start, the unit holds, the wheel has its page."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from city.signing import new_key, public_pem
from kiosk.cli import main
from kiosk.config import load

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.toml"))
EXPOSURE_TENTHS = 20
"""systemd-analyze security: 2.0 of 10 with camera, GPIO and libcamera's namespaces allowed; a plain unit has 9.2."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The config folder as provisioning leaves it: a copy with keys."""
    copy = tmp_path / "config"
    shutil.copytree(ROOT / "config", copy)
    for folder in (copy, copy / "examples"):
        (folder / "keys").mkdir()
        (folder / "keys" / "subject.key").write_bytes(bytes(32))
        (folder / "keys" / "city.pem").write_bytes(public_pem(new_key()))
    return copy


@pytest.mark.parametrize("name", ["kiosk.toml", *(f"examples/{path.name}" for path in EXAMPLES)])
def test_every_shipped_configuration_loads(config: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`kiosk check-config` finds nothing to mend, says that the bundle is yet to come, and shows no password."""
    assert main(["check-config", str(config / name)]) == 0
    shown = capsys.readouterr().out
    assert "nothing to mend" in shown
    assert "# but: no trust bundle" in shown
    password = load(config / name).settings.uplink.password.get_secret_value()
    assert not password or password not in shown


def unit_text() -> str:
    """The unit, its program replaced by one that is on this machine."""
    text = (ROOT / "systemd" / "kiosk.service").read_text(encoding="utf-8")
    (start,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    return text.replace(start, "ExecStart=/bin/true")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as a file systemd-analyze takes."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian's package systemd)")
    path = tmp_path / "kiosk.service"
    path.write_text(unit_text(), encoding="utf-8")
    return path


def test_systemd_understands_every_line_of_the_unit(unit: Path) -> None:
    """No unknown key, no bad value."""
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    mine = [line for line in done.stderr.splitlines() if "kiosk.service" in line]
    assert (done.returncode, mine) == (0, [])


def test_the_unit_exposes_little(unit: Path) -> None:
    """Its exposure stays at or below the bound."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_TENTHS}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_the_unit_runs_a_verb_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """What ExecStart says, the command line knows."""
    text = (ROOT / "systemd" / "kiosk.service").read_text(encoding="utf-8")
    (start,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    verb, option = start.split()[1:3]
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert option in capsys.readouterr().out


def test_a_configuration_is_not_cured_by_restarting() -> None:
    """The exit code of a bad configuration is the one systemd does not restart on."""
    assert "RestartPreventExitStatus=3 6" in unit_text().splitlines()
    assert main(["check-config", "no-such-file.toml"]) == 3


def test_the_wheel_holds_the_page_and_the_types(tmp_path: Path) -> None:
    """Package data travels with the package."""
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "tests", "docs", "*.egg-info", "build"))
    script = (
        "import setuptools, sys; sys.argv[1:] = ['--quiet', 'build', '--build-lib', sys.argv[1]]; setuptools.setup()"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "built")],
        cwd=source,
        check=True,
        capture_output=True,
    )
    built = tmp_path / "built"
    assert {str(path.relative_to(built)) for path in built.rglob("*") if path.suffix in {".html", ".typed"}} == {
        "kiosk/screen.html",
        "kiosk/py.typed",
        "city/py.typed",
        "fleet/py.typed",
    }


@pytest.mark.parametrize("script", ["scripts/demo", "scripts/test", "scripts/lock", ".ci/run"])
def test_every_command_can_be_run(script: str) -> None:
    """It is executable and its shell understands it."""
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_the_locks_hold_what_the_project_asks_for() -> None:
    """Every dependency is locked for every Raspberry Pi OS, with hashes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {name.split(">")[0].split("<")[0].split("=")[0] for name in project["dependencies"]}
    for lock in sorted((ROOT / "config" / "locks").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        locked = {line.split("==")[0] for line in text.splitlines() if "==" in line}
        assert asked - locked == set(), lock.name
        assert text.count("--hash=sha256:") >= len(locked)
