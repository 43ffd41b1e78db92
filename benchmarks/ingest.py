"""How many events a second the city's ingest stores on PostgreSQL, each once: real broker, real database, real kiosks.

    scripts/bench ingest [--rate 5000] [--seconds 60] [--workers 2] [--doors 500] [--json FILE]

Everything runs on this machine: mosquitto, PostgreSQL with fsync, the workers (`city ingest`), and a process that is
all the kiosks. A kiosk counts an event as done when the city has acknowledged it, which it does after its commit. The
rival, in the same run: the ingest as it was before, a statement for each event; both then go as fast as they can.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from doors_load import Doors, Figures
from idle import cpu_s
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from city.schema import EVENTS
from city.store import Store
from demo.processes import Signal, Started, free_port
from kiosk.clock import S

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))
from tests.postgres import Postgres  # noqa: E402 - tests/ is no package of ours to install

MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages {in_flight}
max_queued_messages 100000
"""
IN_FLIGHT, FORMER_IN_FLIGHT = 2000, 20
"""As each does best; 20 is mosquitto's default."""
DRAIN_S = 20.0
SPRINT_S, SPRINT_DOORS = 15.0, 50
"""In a sprint 50 kiosks keep their windows full: 800 events on the way, which the former ingest can bear as well."""
ENDLESS = 20_000
"""Events a second that nothing here reaches; so many are made for a sprint."""


class City:
    """A broker, a database and workers."""

    def __init__(self, folder: Path, postgres: Postgres, workers: int, *, former: bool, stack: ExitStack) -> None:
        self.port = free_port()
        self.address = postgres.new_database()
        settings = folder / "mosquitto.conf"
        in_flight = FORMER_IN_FLIGHT if former else IN_FLIGHT
        settings.write_text(MOSQUITTO.format(port=self.port, in_flight=in_flight), encoding="utf-8")
        self.pids = {"PostgreSQL": [postgres.pid]}
        self._start("mosquitto", ["mosquitto", "-c", str(settings)], " running", folder, stack)
        for number in range(workers):
            command = [sys.executable, "-m", "city", "ingest", "--broker", f"127.0.0.1:{self.port}"]
            if former:
                command = [sys.executable, str(ROOT / "benchmarks" / "ingest_former.py"), "--port", str(self.port)]
            command += ["--database", self.address, "--client-id", f"city-ingest-{number}"]
            self._start("workers", command, "city: subscribed", folder, stack)

    def _start(self, name: str, command: Sequence[str], ready: str, folder: Path, stack: ExitStack) -> None:
        said = Signal(ready)
        started = Started(name, command, folder / f"{name}.log", said)
        stack.callback(started.stop)
        said.wait_for(started)
        self.pids.setdefault(name, []).append(started.pid)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and all its children so far, also of those that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return cpu_s(pid) + ended + sum(map(cpu_of, map(int, children)))


def measured(
    parsed: argparse.Namespace, postgres: Postgres, *, rate: int, seconds: float, former: bool
) -> dict[str, Any]:
    """One run with everything new but the PostgreSQL cluster."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        city = City(folder, postgres, parsed.workers, former=former, stack=stack)
        many = parsed.doors if rate else SPRINT_DOORS
        count = round((rate or ENDLESS) * seconds * 1.05 / many) + 1
        doors = stack.enter_context(closing(Doors(city.port, many, count, parsed.seed)))
        before = {name: sum(map(cpu_of, pids)) for name, pids in city.pids.items()} | {"kiosks": cpu_s(os.getpid())}
        figures = doors.run(rate, seconds, DRAIN_S)
        after = {name: sum(map(cpu_of, pids)) for name, pids in city.pids.items()} | {"kiosks": cpu_s(os.getpid())}
        lasted_s = (figures.ended_ns - figures.began_ns) / S
        told = {"cpu_percent": {name: round(100 * (after[name] - before[name]) / lasted_s) for name in after}}
        told |= verdict(doors, figures, city.address)
        print(json.dumps(told), file=sys.stderr)  # the whole takes minutes
        return told


def verdict(doors: Doors, figures: Figures, address: str) -> dict[str, Any]:
    """Compare what the kiosks sent and heard with what the database has."""
    key = (EVENTS.c.device, EVENTS.c.ledger, EVENTS.c.sequence)
    with closing(Store(address)) as store, store.reading() as connection:
        there = {tuple(row) for row in connection.execute(select(*key))}
        rows = connection.execute(select(func.count()).select_from(EVENTS)).scalar_one()
    sent = {(door.device, door.ledger, at) for door in doors.doors for at in range(1, door.next)}
    open_ = {(door.device, door.ledger, at) for door in doors.doors for at in door.in_flight}
    cuts = statistics.quantiles(figures.latencies_ns or [0, 0], n=100)
    return {
        "sent": figures.sent,
        "sent_again": figures.again,
        "acknowledged": figures.acknowledged,
        "unacknowledged": len(open_),
        "events_per_s": round(figures.acknowledged * S / (figures.ended_ns - figures.began_ns)),
        "p50_ms": round(cuts[49] / 1e6, 1),
        "p99_ms": round(cuts[98] / 1e6, 1),
        "lost": len(sent - there),
        "doubled": rows - len(there),
        "acknowledged_and_not_there": len(sent - open_ - there),
    }


def table(runs: dict[str, dict[str, Any]]) -> Table:
    """One row a run."""
    made = Table(title_justify="left")
    for head in ("run", "events/s", "p50 ms", "p99 ms", "sent", "lost", "doubled", "again", "CPU, percent of a core"):
        made.add_column(head, justify="left" if head in {"run", "CPU, percent of a core"} else "right")
    names = ("events_per_s", "p50_ms", "p99_ms", "sent", "lost", "doubled", "sent_again")
    for run, figures in runs.items():
        shares = ", ".join(f"{name} {share}" for name, share in figures["cpu_percent"].items())
        made.add_row(run, *(f"{figures[name]:,}" for name in names), shares)
    return made


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=5000, help="events a second, default %(default)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="default %(default)s")
    parser.add_argument("--doors", type=int, default=500, help="kiosks, default %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-sprint", action="store_true", help="only the run at that rate")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parsed = parser.parse_args()
    with closing(Postgres(max_wal_size="4GB", shared_buffers="512MB").start()) as postgres:
        steady = f"{parsed.workers} workers, {parsed.rate:,}/s for {parsed.seconds:.0f} s"
        runs = {steady: measured(parsed, postgres, rate=parsed.rate, seconds=parsed.seconds, former=False)}
        if not parsed.no_sprint:
            for name, former in (
                (f"as fast as it goes, {SPRINT_S:.0f} s", False),
                ("the same, as it was before", True),
            ):
                runs[name] = measured(parsed, postgres, rate=0, seconds=SPRINT_S, former=former)
    Console(width=None if sys.stdout.isatty() else 140).print(table(runs))
    if not parsed.no_sprint:
        ours, before = (run["events_per_s"] for run in list(runs.values())[1:])
        print(f"{ours / before:.1f} times the ingest as it was before")
    if parsed.json:
        parsed.json.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
