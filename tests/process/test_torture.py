"""The short forms of the tortures, and that the longest promise can fail where it should."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mosquitto import PROGRAM

ROOT = Path(__file__).parents[2]


def tortured(name: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and verdict of one torture."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: apt-get install strace")
    command = [sys.executable, str(ROOT / "torture" / f"{name}.py"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=ROOT)
    if done.returncode == 4:
        pytest.skip(done.stderr)
    assert done.stdout, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, verdict


def test_nothing_confirmed_is_lost_in_a_power_cut() -> None:
    """Unsynced writes dropped, reordered and torn; no file is damaged and no sequence given twice."""
    code, said = tortured("power", "--cuts", "150", "--events", "120")
    assert (code, said["cuts"], said["faults"]) == (0, 150, [])
    assert said["with_unsynced_writes"] > 50
    assert said["confirmed"] >= 120


def test_the_power_cuts_find_what_a_weaker_sync_loses() -> None:
    """With synchronous = NORMAL the same cuts lose confirmed events."""
    code, said = tortured("power", "--cuts", "60", "--events", "60", "--control")
    assert code == 1
    assert said["lost"] > 0


def test_a_kill_loses_and_doubles_nothing_on_its_way_to_the_city() -> None:
    """The real daemon, broker and ingest; every sequence is in the city's database once."""
    if PROGRAM is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    code, said = tortured("kill", "--kills", "3", "--seed", "3")
    assert (code, said["kills"], said["faults"]) == (0, 3, [])
    assert said["accepted"] == said["stored"] > 0


@pytest.mark.parametrize("how", ["full", "read-only", "failing", "slow"])
def test_a_bad_disk_costs_the_door_its_bound_and_no_event(how: str) -> None:
    """Every event is stored once the disk works again, in order; the door waited 150 ms for each at most."""
    code, said = tortured("disk", "--only", how, "--events", "24", "--stall", "0.5")
    assert (code, said["faults"], said[how]["stored"]) == (0, [], 24)


def test_an_event_costs_the_card_little() -> None:
    """About one sync and 5.5 KB, counted at the kernel."""
    code, said = tortured("wear", "--events", "400")
    assert (code, said["faults"]) == (0, [])
