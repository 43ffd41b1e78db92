"""The diagrams of docs/door.md, held against the code."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _check(script: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_diagrams_are_as_the_code_is() -> None:
    """`scripts/make_diagrams.py --check` finds nothing to draw anew."""
    done = _check(ROOT / "scripts" / "make_diagrams.py")
    assert (done.returncode, done.stdout) == (0, "true\n"), done.stderr


def test_the_check_of_the_diagrams_can_fail(tmp_path: Path) -> None:
    """Beside a page with one arrow less it says what to do."""
    for name in ("scripts", "docs"):
        (tmp_path / name).mkdir()
    (tmp_path / "kiosk").symlink_to(ROOT / "kiosk")
    script = tmp_path / "scripts" / "make_diagrams.py"
    script.write_text((ROOT / "scripts" / "make_diagrams.py").read_text("utf-8"), encoding="utf-8")
    page = (ROOT / "docs" / "door.md").read_text("utf-8")
    assert "    over --> none: reset\n" in page
    (tmp_path / "docs" / "door.md").write_text(page.replace("    over --> none: reset\n", ""), encoding="utf-8")
    done = _check(script)
    assert (done.returncode, done.stdout) == (1, "docs/door.md is not as the code is: run scripts/make_diagrams.py\n")
