import threading
from pathlib import Path

import pytest

from kiosk.machine import MEMORY, TEMPERATURE, THROTTLING, UPTIME, Machine, Vitals

WELL = Vitals(temperature_c=48.2, throttled=0, memory_free_mb=400, disk_free_mb=9000, up_s=77)
HOT = "hotter than 80 °C: give the housing air or shade"


def written(root: Path, **files: str) -> Path:
    """A machine that says this of itself."""
    for name, text in {"proc/meminfo": "", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_pi_tells_its_vitals(tmp_path: Path) -> None:
    """Heat in thousandths, the firmware's bits in hexadecimal, memory in kB, the time since boot in seconds."""
    files = {
        TEMPERATURE: "48200\n",
        THROTTLING: "50005\n",
        MEMORY: "MemTotal:  948304 kB\nMemAvailable:  512000 kB\n",
        UPTIME: "77.41 140.02\n",
    }
    seen = Machine(tmp_path, written(tmp_path, **files)).vitals()
    assert (seen.temperature_c, seen.throttled, seen.memory_free_mb, seen.up_s) == (48.2, 0x50005, 500, 77)
    assert seen.disk_free_mb is not None


def test_what_a_machine_does_not_tell_is_no_trouble(tmp_path: Path) -> None:
    """A computer that is no Pi, and a folder that is not there, give nothing and raise nothing."""
    machine = Machine(tmp_path / "gone", tmp_path)
    seen = machine.vitals()
    nothing = Vitals(temperature_c=None, throttled=None, memory_free_mb=None, disk_free_mb=None, up_s=None)
    assert (seen, machine.trouble(seen)) == (nothing, "")


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ({}, ""),
        ({"temperature_c": 80.0}, HOT),
        ({"throttled": 0x50000}, ""),
        ({"throttled": 0x1}, "too little voltage: use the Pi's own power supply and a short, thick cable"),
        ({"throttled": 0x4}, "slowed down by heat or power"),
        ({"memory_free_mb": 59}, "less than 60 MB of memory left: stop what else runs here"),
        ({"disk_free_mb": 99}, "less than 100 MB of disk left beside the outbox: free it"),
    ],
)
def test_each_trouble_has_its_sentence(seen: dict[str, float], says: str) -> None:
    """What happened once and is over (the firmware's upper bits) is none."""
    fields = {name: getattr(WELL, name) for name in WELL.__slots__} | seen
    assert Machine(Path("/")).trouble(Vitals(**fields)) == says


def test_a_limit_is_left_well_below_it() -> None:
    """At 79 °C a hot Pi is still hot, and a cool one still cool: no report for every degree."""
    machine = Machine(Path("/"))
    heats = [79.0, 80.0, 79.0, 75.0, 74.9, 79.0]
    fields = {name: getattr(WELL, name) for name in WELL.__slots__}
    told = [machine.trouble(Vitals(**fields | {"temperature_c": heat})) for heat in heats]
    assert told == ["", HOT, HOT, HOT, "", ""]


def test_the_watch_tells_at_once_and_ends(tmp_path: Path) -> None:
    """The first look does not wait for the first ten seconds."""
    stopping, told = threading.Event(), list[str]()

    def tell(trouble: str) -> None:
        told.append(trouble)
        stopping.set()

    machine = Machine(tmp_path, written(tmp_path, **{TEMPERATURE: "91000"}))
    machine.watch(stopping, tell, lambda: None)
    assert told == [HOT]
