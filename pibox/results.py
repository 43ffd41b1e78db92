"""Runs the tests of the box, two boxes side by side, and shows in one table what passed.

Each box, with its broker and its city, is in a network namespace of its own: an installed door knows its broker by a
port, and both doors come from one disk. Called by `scripts/pibox test`.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table

from pibox.build import ROOT

GROUPS = (
    ("test_power.py", "test_start.py", "test_visitors.py", "test_ends.py"),
    ("test_lines_contract.py", "test_watchdogs.py", "test_clock.py", "test_updates.py"),
)
"""About as long as each other. Power cuts come first, in a box of their own: that of the others stays to the end."""
ALONE = ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
PYTEST = ("-m", "pytest", "-v", "-s", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "junit_family=xunit1")
PASSED = "passed"
COLOURS = {PASSED: "green", "skipped": "yellow"}


def run_tests(folder: Path, groups: Sequence[Sequence[str]], told: Mapping[str, str], built_s: float) -> int:
    """Run each group in a box of its own, say what they say, then the table. The answer is the exit code."""
    began, reports = time.monotonic(), [folder / f"tests-{number}.xml" for number in range(len(groups))]
    running = []
    for number, (group, report) in enumerate(zip(groups, reports, strict=True), 1):
        report.unlink(missing_ok=True)
        words = [name if "/" in name else f"tests/system/{name}" for name in group]
        process = subprocess.Popen(
            [*ALONE, sys.executable, *PYTEST, f"--junitxml={report}", *words],
            cwd=ROOT,
            env=os.environ | told | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        teller = threading.Thread(target=_tell, args=(process, f"{number}| " if len(groups) > 1 else ""))
        teller.start()
        running.append((process, teller))
    codes = [_ended(process, teller) for process, teller in running]
    Console(width=160 if not sys.stdout.isatty() else None).print(table_of(reports))
    print(f"pibox: disk made in {built_s / 60:.1f} min, tested in {(time.monotonic() - began) / 60:.1f} min")
    return max(codes)


def table_of(reports: Sequence[Path]) -> Table:
    """One row a test, in the order in which they ran, with what it has recorded of itself."""
    table = Table("test", "result", "seconds", "figures", title="in the box")
    for case in (case for report in reports if report.exists() for case in ET.parse(report).iter("testcase")):  # noqa: S314 - our own
        wrong = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
        result = wrong[0] if wrong else PASSED
        figures = "; ".join(f"{kept.get('name')}: {kept.get('value')}" for kept in case.iter("property"))
        name = case.get("name", "").removeprefix("test_").replace("_", " ")
        colour = COLOURS.get(result, "red")
        table.add_row(name, f"[{colour}]{result}", f"{float(case.get('time', 0)):.0f}", figures)
    return table


def _tell(process: "subprocess.Popen[str]", before: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        print(f"{before}{line}", end="", flush=True)


def _ended(process: "subprocess.Popen[str]", teller: threading.Thread) -> int:
    code = process.wait()
    teller.join()
    return code
