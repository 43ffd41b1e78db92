"""What a list of a million people costs a kiosk: load, memory, look-up, update, and the pause others feel meanwhile.

    scripts/bench risk-list [--entries 1000000] [--rounds 5] [--json]

The rival, in the same run, is what a first version would do: a Python `set` of the pseudonyms, loaded from a text file.
The pause is the longest time that a thread which wakes every millisecond was kept waiting by an update in another one,
over what it was kept waiting without.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from city import risk, signing
from kiosk.city_files import RiskFiles
from kiosk.credentials.cose import kid_of
from kiosk.credentials.issuer import Issuer, Use, by_kid
from kiosk.messages import Flag
from kiosk.risk_list import CODE_OF, Keys, RiskList, Update

MADE = datetime(2021, 11, 22, tzinfo=UTC)
CHANGED = 2000
"""People that a delta adds, and as many that it removes: a bad day of the city."""
LOOK_UPS = 20_000


def with_memory(work: Callable[[], object]) -> tuple[float, float]:
    """MiB that the work keeps, and the most it held at a time."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (kept - before) / 2**20, (most - before) / 2**20


def update(keys: Keys, *, version: int, base: int, removed: Keys) -> Update:
    """A change in which everybody is a contact."""
    kinds = np.full(len(keys), CODE_OF[Flag.F1], dtype=np.uint8)
    return Update(version=version, base=base, made_at=MADE, keys=keys, kinds=kinds, removed=removed)


class Metronome:
    """A thread that wants to wake every millisecond, as the door's core must within its own."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def _beat(self) -> None:
        last = time.perf_counter()
        while not self._stop.wait(0.001):
            now = time.perf_counter()
            self.worst_ms = max(self.worst_ms, (now - last) * 1000 - 1)
            last = now

    def during(self, work: Callable[[], object]) -> float:
        """The longest delay while the work was done, in ms."""
        self._thread.start()
        work()
        self._stop.set()
        self._thread.join()
        return self.worst_ms


def timed_s(work: Callable[[], object]) -> float:
    """Seconds it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(folder: Path, entries: int, rng: np.random.Generator) -> dict[str, float]:
    """One round."""
    key = signing.load_key(signing.new_key())
    city = by_kid([Issuer(kid=kid_of(key.public_key()), key=key.public_key(), uses=frozenset({Use.CITY}))])
    keys = np.unique(rng.integers(1, 2**63, entries + CHANGED, dtype=np.uint64))
    on, later = np.sort(rng.permutation(keys)[:entries]), keys[:CHANGED]
    none = np.array([], dtype=np.uint64)
    snapshot = risk.signed(update(on, version=1, base=0, removed=none), key)
    delta = risk.signed(update(later, version=2, base=1, removed=on[:: max(1, entries // CHANGED)]), key)
    names = folder / "names.txt"
    names.write_text("".join(f"{value:016x}\n" for value in on.tolist()), encoding="ascii")
    files = RiskFiles(folder, city)
    files.take(None, snapshot)
    del keys, snapshot
    loaded: list[RiskList | None] = []
    memory_mib, peak_mib = with_memory(lambda: loaded.append(files.load()[0]))
    load_s = timed_s(files.load)
    held = loaded[0]
    assert isinstance(held, RiskList)
    people = [f"{value:016x}".ljust(32, "0") for value in rng.permutation(on)[:LOOK_UPS].tolist()]
    assert all(held.flag_of(person) is Flag.F1 for person in people)
    look_up_s = timed_s(lambda: [held.flag_of(person) for person in people])
    update_s = timed_s(lambda: files.take(held, delta))
    at_rest_ms = Metronome().during(lambda: time.sleep(0.3))
    (folder / "risk-list.2.delta").unlink()
    pause_ms = Metronome().during(lambda: files.take(held, delta))
    reload_ms = Metronome().during(files.load)
    rival: list[set[str]] = []
    set_s = timed_s(lambda: set(names.read_text(encoding="ascii").split()))
    set_mib, _ = with_memory(lambda: rival.append(set(names.read_text(encoding="ascii").split())))
    set_look_up_s = timed_s(lambda: [person[:16] in rival[0] for person in people])
    return {
        "load_s": load_s,
        "memory_mib": memory_mib,
        "memory_while_loading_mib": peak_mib,
        "look_up_us": look_up_s / LOOK_UPS * 1e6,
        "update_ms": update_s * 1000,
        "pause_of_update_ms": pause_ms,
        "pause_of_load_ms": reload_ms,
        "pause_at_rest_ms": at_rest_ms,
        "set_load_s": set_s,
        "set_memory_mib": set_mib,
        "set_look_up_us": set_look_up_s / LOOK_UPS * 1e6,
    }


GOALS = {
    "load_s": 3,
    "memory_mib": 64,
    "memory_while_loading_mib": 64,
    "look_up_us": 20,
    "pause_of_update_ms": 20,
    "pause_of_load_ms": 20,
}


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    console = Console(stderr=parsed.json)
    rounds = []
    for seed in track(range(parsed.rounds), "risk list", console=console, transient=True):
        with tempfile.TemporaryDirectory(prefix="kiosk-risk-") as folder:
            rounds.append(measure(Path(folder), parsed.entries, np.random.default_rng(seed)))
    figures = {name: statistics.median(round_[name] for round_ in rounds) for name in rounds[0]}
    if parsed.json:
        print(json.dumps(figures))
        return
    table = Table(title=f"{parsed.entries:,} people on the list; medians of {parsed.rounds} rounds")
    for head in ("", "kiosk", "goal", "Python set"):
        table.add_column(head, justify="left" if not head else "right")
    for name in [name for name in figures if not name.startswith("set_")]:
        goal, rival = GOALS.get(name), figures.get(f"set_{name}")
        table.add_row(
            name, f"{figures[name]:.2f}", f"under {goal}" if goal else "", "" if rival is None else f"{rival:.2f}"
        )
    console.print(table)


if __name__ == "__main__":
    main()
