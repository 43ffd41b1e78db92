"""What goes to a bare door: an agent of the standard library alone, its units, and the commands that make them."""

import ast
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fleet import on_device
from fleet.agent import agent

ROOT = Path(__file__).parents[2]
FOLDER = Path(next(iter(on_device.__path__)))
UNITS = sorted(FOLDER.glob("*.service"))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.name)
def test_the_agent_imports_nothing_that_a_bare_device_lacks(file: Path) -> None:
    """Python's own library, and its own folder."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    strange = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in strange if not name.startswith("fleet.on_device")} == set()


def test_the_agent_is_one_file_that_starts(tmp_path: Path) -> None:
    """With no package of ours in reach; an unknown verb is the only thing it can be asked without root."""
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent())
    done = subprocess.run(
        [sys.executable, "-I", str(path), "no-such"], input="", capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().endswith("KeyError: 'no-such'")
    with zipfile.ZipFile(io.BytesIO(agent())) as packed:
        assert {f"fleet/on_device/{unit.name}" for unit in UNITS} <= set(packed.namelist())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_the_agent_s_units(unit: Path, tmp_path: Path) -> None:
    """No unknown key, no bad value."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian's package systemd)")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/usr/bin/python3", "/bin/true"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


@pytest.mark.parametrize("script", ["scripts/bundle", "scripts/provision-proof"])
def test_every_command_can_be_run(script: str) -> None:
    """It is executable and its shell understands it."""
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
