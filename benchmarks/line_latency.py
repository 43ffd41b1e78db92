"""How long from a code at the gate to the line that answers it, with the decoder at full load and the buzzer playing.

    scripts/bench line-latency [--codes 200] [--seed 1] [--json]

The whole daemon but its camera and lines. "held" is a code that no rule admits: it drives at once. "granted" is a
declaration: it waits for its record on disk, 150 ms at most. Counted from the core's reading of the clock before it
gives to the gate what makes the verdict (the code, or the end of the one before), until `set` of the buzzer or the
entry's relay.
Full load: 30 pictures a second of 1280x720 with a code that is found and whose data is noise, so that quick look and
search never rest, and a process that wakes 5,400 times a second, as the drivers' own thread does that plays a passive
buzzer of 2.7 kHz. The rival, in turns with it in the same run: no load. The daemon's clock goes four times as fast, so
that people come sooner; times here are the machine's. Fails where the 99th of 100 held codes under load takes 5 ms, and
where the load was none: the daemon used less than LEAST_CORES.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from link_city import percentile
from pictures import STRESS, declared, door, noisy, stress_looks
from report import number
from rich.console import Console
from rich.progress import track
from rich.table import Table

from city.declare import declaration_payload
from city.provision import new_secrets, provision
from city.signing import load_key
from kiosk import wire
from kiosk.clock import MS, Clock, Now, SystemClock
from kiosk.config import load
from kiosk.daemon import Daemon
from kiosk.engines import Luma
from kiosk.messages import Drive, Exposure, Frame, Line, Seen, Sighting
from kiosk.parts import Parts
from kiosk.supervisor import ServiceNotifier
from kiosk.testing.lines import RecordingLines

ROOT = Path(__file__).parents[1]
AIM_MS = 5.0
LEAST_CORES = 0.8
"""Of processor time a second: the quick look and the search never rest, and numpy lets both run at once."""
RATE = 4
CORE = "core"
FPS, QUIET_FPS = 30, 10
RING = 8
SEED = 2
TONE = "import time\nwhile True: time.sleep(1 / 5400)"
SHARES = (0.5, 0.9, 0.99)
QUAD = ((100, 100), (300, 100), (300, 300), (100, 300))
APART_S = (0.6, 0.8)
"""Between two codes: the door has done with the one before, at its pace."""
CONFIG = """rules_file = {rules}
[camera]
source = "images"
path = "."
[lines]
pin_factory = "mock"
relay_pulse_ms = 100
[door]
absence_ms = 200
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "none"
look_up = false
[outbox]
path = "outbox.sqlite3"
[uplink]
port = 1
tls = false
[screen]
port = 0
[clock]
trust = "always"
"""


class FastClock:
    """The machine's, at a pace."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._began = self._clock.now()

    def now(self) -> Now:
        """Read it."""
        began, now = self._began, self._clock.now()
        gone_ns = (now.monotonic_ns - began.monotonic_ns) * RATE
        utc = began.utc + timedelta(microseconds=gone_ns // 1000)
        return Now(monotonic_ns=began.monotonic_ns + gone_ns, utc=utc, utc_trusted=True)

    def machine_ns(self, ns: int) -> int:
        """The machine's time at that time of this one."""
        return self._began.monotonic_ns + (ns - self._began.monotonic_ns) // RATE


class TimedLines(RecordingLines):
    """Lines that note when the awaited one goes on."""

    def __init__(self, fitted: frozenset[Line], clock: Clock) -> None:
        super().__init__(fitted)
        self._clock = clock
        self.awaited = Line.BUZZER
        self.at_ns = 0
        self.changed = threading.Event()

    def set(self, line: Line, *, on: bool) -> None:
        """As every line; note the time."""
        super().set(line, on=on)
        if on and line is self.awaited and not self.changed.is_set():
            self.at_ns = self._clock.now().monotonic_ns
            self.changed.set()


def unreadable(seed: int) -> Luma:
    """The modules of a code with noise in its middle: every pattern that finds it is there, and its data is not."""
    modules = declared(seed)[1].copy()
    at, until = (round(len(modules) * share) for share in (0.2, 0.8))
    noise = np.random.default_rng(seed).integers(0, 2, (until - at, until - at), dtype=np.uint8)
    modules[at:until, at:until] = noise * 255
    return modules


class Camera:
    """Gives hard pictures while there is load, and an empty door else."""

    def __init__(self, clock: Clock) -> None:
        self.busy = threading.Event()
        self._ring = list(stress_looks(unreadable(SEED), STRESS["plain"], RING, SEED))
        random = np.random.default_rng(SEED)
        self._nobody = [noisy(door(STRESS["plain"]), random) for _ in range(RING)]
        self._clock, self._closed = clock, threading.Event()

    def frames(self) -> Iterator[Frame]:
        """Thirty a second, or ten that show nothing."""
        number = 0
        while not self._closed.wait(1 / FPS if self.busy.is_set() else 1 / QUIET_FPS):
            luma = (self._ring if self.busy.is_set() else self._nobody)[number % RING]
            yield Frame(luma=luma, number=number, captured_ns=self._clock.now().monotonic_ns)
            number += 1

    def expose(self, exposure: Exposure | None) -> None:
        """It cannot."""

    def close(self) -> None:
        """End."""
        self._closed.set()


@dataclass(slots=True)
class Took:
    """Milliseconds, of each code in turn."""

    missed: int = 0
    """Codes for which the line did not move: who held them was gone before the door had time."""
    from_gate: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Way:
    """One load: what it took, and how much of the machine the daemon used meanwhile."""

    took: dict[str, Took] = field(default_factory=lambda: {kind: Took() for kind in ("held", "granted")})
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def cores(self) -> float:
        """Processor time a second."""
        return self.cpu_s / self.wall_s


class Bench:
    """The daemon, and who holds codes up to it."""

    def __init__(self, folder: Path, random: Random) -> None:
        self._clock, self._fast, self._random = SystemClock(), FastClock(), random
        held = new_secrets(b"the benchmark's pseudonym key...")
        provision(folder, held, self._clock.now().utc)
        (folder / "kiosk.toml").write_text(
            CONFIG.format(rules=json.dumps(str(ROOT / "config" / "rules.toml"))), encoding="utf-8"
        )
        loaded = load(folder / "kiosk.toml")
        self._key, self._number, self._pause = load_key(held.declaration), 0, threading.Event()
        self._lines = TimedLines(frozenset(loaded.settings.lines.gpios()), self._clock)
        self.camera = Camera(self._fast)
        self._journal = io.StringIO()
        self._daemon = Daemon(
            Parts(
                loaded=loaded,
                clock=self._fast,
                open_camera=lambda: self.camera,
                lines=self._lines,
                notifier=ServiceNotifier(""),
                journal=self._journal,
            )
        )
        self._core = threading.Thread(target=self._daemon.run, name=CORE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While it runs."""
        self._core.start()
        try:
            yield
        finally:
            self._daemon.stop()
            self._core.join(30.0)

    def show(self, kind: str, took: Took) -> None:
        """One code."""
        self._number += 1
        self._pause.wait(self._random.uniform(*APART_S))
        payload = f"https://menu.example/{self._number:08}".encode() if kind == "held" else self._declaration()
        self._journal.seek(0)
        self._journal.truncate()
        self._lines.awaited = Line.BUZZER if kind == "held" else Line.ENTRY_RELAY
        self._lines.changed.clear()
        at_ns = self._fast.now().monotonic_ns
        seen = Sighting(payload=payload, engine="none", frame_number=self._number, captured_ns=at_ns, quad=QUAD)
        self._daemon._inbox.put(Seen(sightings=(seen,)))  # noqa: SLF001 - as the decoder does
        if not self._lines.changed.wait(5.0):
            took.missed += 1
            return
        took.from_gate.append((self._lines.at_ns - self._fast.machine_ns(self._given_ns())) / MS)

    def _given_ns(self) -> int:
        """When the step began that made the verdict; its entry in the journal comes after the effects."""
        while True:
            lines = self._journal.getvalue().split("\n")[:-1]
            for entry in map(wire.decode_entry, lines):
                drives = [effect.actuation for effect in entry.effects if isinstance(effect, Drive)]
                if any(change.line is self._lines.awaited for drive in drives for change in drive.changes):
                    return entry.now.monotonic_ns
            self._pause.wait(0.005)

    def _declaration(self) -> bytes:
        return declaration_payload(
            key=self._key, sub=f"{self._number:032x}", initials="N.V.A.", issued_at=self._clock.now().utc
        )


@contextmanager
def load_of(bench: Bench) -> Iterator[None]:
    """The decoder has all it can do, and the buzzer sounds."""
    tone = subprocess.Popen([sys.executable, "-c", TONE])
    bench.camera.busy.set()
    try:
        yield
    finally:
        bench.camera.busy.clear()
        tone.kill()
        tone.wait()


WAYS = {"full load": True, "rival: no load": False}
TURN = 10
"""Codes of each kind between two changes of the load, so that a busy moment of the machine falls on all alike."""


def measure(codes: int, random: Random, console: Console) -> dict[str, Way]:
    """By way."""
    measured = {way: Way() for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), random)
        with bench.running():
            bench.show("granted", Took())  # warms up
            for _ in track(range(max(1, codes // TURN)), "turns", console=console, transient=True):
                for way, loaded in WAYS.items():
                    if loaded:
                        with load_of(bench):
                            shown(bench, min(TURN, codes), measured[way])
                    else:
                        shown(bench, min(TURN, codes), measured[way])
    return measured


def shown(bench: Bench, codes: int, way: Way) -> None:
    """So many codes of each kind, in turns; the first second is for what was begun before."""
    threading.Event().wait(1.0)
    cpu_s, wall_s = time.process_time(), time.monotonic()
    for _ in range(codes):
        for kind, into in way.took.items():
            bench.show(kind, into)
    way.cpu_s += time.process_time() - cpu_s
    way.wall_s += time.monotonic() - wall_s


def figures_of(measured: dict[str, Way]) -> dict[str, Any]:
    """Percentiles, and the ratio to the rival."""
    told: dict[str, Any] = {}
    for name, way in measured.items():
        for kind, one in way.took.items():
            row: dict[str, Any] = {"codes": len(one.from_gate), "missed": one.missed, "cores": round(way.cores, 2)}
            row |= {f"from_gate_p{share:.0%}"[:-1]: round(percentile(one.from_gate, share), 2) for share in SHARES}
            row["from_gate_most"] = round(max(one.from_gate), 2)
            told.setdefault(name, {})[kind] = row
    rival = told["rival: no load"]
    for kinds in told.values():
        for kind, row in kinds.items():
            row["ratio"] = round(row["from_gate_p99"] / rival[kind]["from_gate_p99"], 2)
    return told


def table_of(told: dict[str, Any]) -> Table:
    """One row a way and kind."""
    table = Table(title="ms to the line; ratio: p99 from the gate to the rival's")
    heads = (
        "codes",
        "missed",
        "cores",
        "from_gate_p50",
        "from_gate_p90",
        "from_gate_p99",
        "from_gate_most",
        "ratio",
    )
    for head in ("way", "code", *heads):
        table.add_column(head.replace("_", " "), justify="left" if head in ("way", "code") else "right")
    for way, kinds in told.items():
        for kind, row in kinds.items():
            table.add_row(way, kind, *(str(row[head]) if head in heads[:2] else number(row[head], 2) for head in heads))
    return table


def main() -> int:
    """Measure, and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=int, default=200, help="of each kind and way; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    console = Console(stderr=given.json)
    told = figures_of(measure(given.codes, Random(given.seed), console))  # noqa: S311 - seeded, not secret
    held = told["full load"]["held"]
    good = held["from_gate_p99"] < AIM_MS and held["cores"] >= LEAST_CORES
    if given.json:
        print(json.dumps({"passed": good, **told}))
    else:
        console.print(table_of(told))
        aim = f"p99 under {AIM_MS} ms, held, {LEAST_CORES} cores or more"
        print(f"line-latency: {'passed' if good else 'FAILED'}: aim {aim}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
