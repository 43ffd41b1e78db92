"""The contract of lines and inputs (tests/contract), unchanged, over the box's chip in the kernel."""

import base64
import importlib.util
import io
import tarfile
from pathlib import Path

from pibox.build import ROOT
from pibox.door import Door

SUITES = ("test_lines.py", "test_inputs.py")
PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
"""Python only, so that the door's own Python runs what the host has."""
FOLDER = "/run/contract"
MARKERS = "[pytest]\nmarkers = gpiochip\nfilterwarnings = error\n"
RUN = (
    f"mkdir {FOLDER} && base64 -d | tar -xJ -C {FOLDER} && cd {FOLDER} && "
    "PYTHONPATH=. /opt/kiosk/current/bin/python -B -m pytest -q -rs -m gpiochip -p no:cacheprovider ."
)


def _packed() -> str:
    """The suites and pytest itself, as one line of text."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name in SUITES:
            tar.add(ROOT / "tests" / "contract" / name, name)
        for name in PYTEST:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.origin is not None
            file = Path(spec.origin)
            what = file.parent if spec.submodule_search_locations else file
            tar.add(what, what.name, filter=_python_only)
        about = tarfile.TarInfo("pytest.ini")
        about.size = len(MARKERS)
        tar.addfile(about, io.BytesIO(MARKERS.encode()))
    return base64.b64encode(packed.getvalue()).decode()


def _python_only(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return entry if (entry.isdir() and "__pycache__" not in entry.name) or entry.name.endswith(".py") else None


def test_the_contract_of_lines_holds_on_a_chip_of_the_kernel(door: Door) -> None:
    """What the everyday run proves of simulated lines holds for gpiozero and lgpio on /dev/gpiochip0."""
    door.machine.run("systemctl", "stop", "kiosk", within_s=200)
    try:
        said = door.machine.run("sh", "-c", RUN, within_s=600, stdin=_packed())
    finally:
        door.machine.run("systemctl", "start", "kiosk", within_s=300)
    print(said)
    assert " passed" in said
    assert "failed" not in said
    assert "error" not in said
    door.wait_ready()
