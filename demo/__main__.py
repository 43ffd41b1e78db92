"""`python -m demo`: the door, end to end. scripts/demo installs what it needs and calls it."""

import argparse
import json
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.city import City
from demo.population import MIXED, Visitor, visitors
from demo.processes import DemoFault, Started, free_port, start_broker, start_city, start_kiosk
from demo.report import Format, Report, Visit, file_event, load_visits, report
from kiosk.clock import SystemClock
from kiosk.config import load
from kiosk.settings import Settings
from kiosk.testing.conditions import CONDITIONS
from kiosk.testing.visitors import showings_to_json

WELL, WRONG, USAGE, FAULT = 0, 1, 2, 4
ROOT = Path(__file__).resolve().parent.parent
UNTIL_CTRL_C = 200
"""Visitors of a demo with a screen to look at: a quarter of an hour of them."""

CONFIG = """# Written by the demo.
rules_file = "rules.toml"
[door]
device = "demo-door"
place = "place-demo"
[camera]
source = {source}
path = {path}
width = 1280
height = 720
fps = 30
[lines]
pin_factory = "mock"
[trust]
city_key = "city.pem"
bundle = "trust.bundle"
subject_key_file = "subject.key"
[city_data]
folder = "."
risk_list = "required"
fresh_minutes = 1440
limit_hours = 168
look_up = true
[outbox]
path = "outbox.sqlite3"
[uplink]
host = "127.0.0.1"
port = {broker}
tls = false
[screen]
port = {screen}
[clock]
trust = "always"
[journal]
path = {journal}
"""


def main() -> int:
    """Run the demo; the answer is the exit code."""
    parsed = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kiosk-demo-")))
        try:
            return Demo(parsed, folder, console, stack).run()
        except DemoFault as fault:
            console.print(f"[red]{escape(str(fault))}[/red]")
            return FAULT


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="The whole door on this machine: broker, city, kiosk daemon, and visitors before its camera.",
        epilog="exit codes: 0 all well; 1 a verdict, line or event is wrong; 2 usage; 4 something does not start",
    )
    parser.add_argument("--headless", action="store_true", help="end after the visitors, with a table")
    parser.add_argument(
        "--visitors", type=int, default=50, metavar="N", help="with --headless, default %(default)s; 46 have every kind"
    )
    conditions = [*CONDITIONS, MIXED]
    parser.add_argument(
        "--condition",
        choices=conditions,
        default="plain",
        metavar="NAME",
        help=f"what the visitors' codes are like: {', '.join(conditions)} (of the mild ones); default %(default)s",
    )
    parser.add_argument("--seed", type=int, default=7, metavar="S", help="another mix of visitors")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--port", type=int, default=0, help="of the door's screen, default any free one")
    real = parser.add_mutually_exclusive_group()
    real.add_argument("--camera", metavar="DEVICE", help="a real camera, such as /dev/video0")
    real.add_argument("--video", metavar="FILE", help="a recorded video")
    real.add_argument("--images", metavar="FOLDER", help="a folder of photos")
    return parser.parse_args()


class Demo:
    """One run."""

    def __init__(self, parsed: argparse.Namespace, folder: Path, console: Console, stack: ExitStack) -> None:
        self._parsed = parsed
        self._folder = folder
        self._console = console
        self._stack = stack
        self._clock = SystemClock()
        self._city = City(parsed.seed, self._clock.now().utc)
        self._ingested: list[dict[str, Any]] = []
        self._stopping = threading.Event()
        self._printed = 0
        real = {"v4l2": parsed.camera, "video": parsed.video, "images": parsed.images}
        self._source: str
        self._path: str | None
        self._source, self._path = next(((name, path) for name, path in real.items() if path), ("visitors", None))
        self._visitors: list[Visitor] = []

    def run(self) -> int:
        """Start everything, follow it, tell what came of it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: self._stopping.set())
        settings = self._prepare()
        broker = settings.uplink.port
        start_broker(self._folder, broker, self._stack)
        self._city.publish(broker)
        start_city("lookup", self._folder, broker, self._stack)
        city = start_city("ingest", self._folder, broker, self._stack)
        reader = threading.Thread(target=self._read_city, args=(city,), daemon=True)
        reader.start()
        kiosk, address = start_kiosk(self._folder, self._stack)
        self._console.print(f"screen  [bold]{address}[/bold]\nbroker  127.0.0.1:{broker}   (Ctrl-C ends all of it)\n")
        code = self._follow(kiosk, settings)
        kiosk.stop()
        city.stop()
        reader.join()
        if self._stopping.is_set():
            self._console.print("stopped; nothing of it runs on")
            return WELL
        return self._tell(settings, code)

    def _prepare(self) -> Settings:
        """Write keys, visitors and the configuration.

        Raises:
            DemoFault: the real input that was asked for is not there.
        """
        if self._path and not Path(self._path).exists():
            raise DemoFault(f"{self._path}: there is no such file or device; check its path")
        folder = self._folder
        if self._source == "visitors":
            number = self._parsed.visitors if self._parsed.headless else UNTIL_CTRL_C
            self._visitors = visitors(self._city.cast, number, self._parsed.condition)
            showings = showings_to_json([visitor.showing for visitor in self._visitors])
            (folder / "showings.json").write_text(showings, encoding="utf-8")
        self._city.provision(folder, ROOT / "config" / "rules.toml")
        path = folder / "showings.json" if self._path is None else Path(self._path).resolve()
        journal = "" if self._source == "v4l2" else str(folder / "journal.jsonl")
        text = CONFIG.format(
            source=json.dumps(self._source),
            path=json.dumps(str(path)),
            broker=free_port(),
            screen=self._parsed.port,
            journal=json.dumps(journal),
        )
        (folder / "kiosk.toml").write_text(text, encoding="utf-8")
        return load(folder / "kiosk.toml").settings

    def _read_city(self, city: Started) -> None:
        for line in city.output:
            self._ingested.append(json.loads(line))

    def _follow(self, kiosk: Started, settings: Settings) -> int:
        """Print a line for each visitor, or event, until the daemon ends or Ctrl-C; the answer is its exit code."""
        while not self._stopping.is_set() and kiosk.wait(1.0) is None:
            self._print_new(settings, finished=False)
            faults = [event for event in self._ingested if event["kind"] == "fault"]
            if self._path and self._parsed.headless and any(event["body"]["stage"] == "camera" for event in faults):
                return FAULT  # a door goes on trying; nobody waits for it here
        return kiosk.ended() or 0

    def _print_new(self, settings: Settings, *, finished: bool) -> None:
        if self._source != "visitors":
            for event in self._ingested[self._printed :]:
                self._console.print(event_line(event))
            self._printed = len(self._ingested)
            return
        visits = self._visits(settings)
        done = len(visits) if finished else len(visits) - 1
        for number in range(self._printed, done):
            self._console.print(visit_line(number + 1, visits[number], settings.lines.relay_pulse_ms))
        self._printed = max(self._printed, done)

    def _visits(self, settings: Settings) -> list[Visit]:
        """All visits so far with their events; an event's UTC is laid on the monotonic clock of frames and pins."""
        visits = load_visits(self._visitors, self._folder, settings)
        now = self._clock.now()
        for event in [event for event in self._ingested if event["new"]]:
            ago = now.utc - datetime.fromisoformat(event["body"]["at"])
            file_event(visits, event, now.monotonic_ns - int(ago.total_seconds() * 1e9))
        return visits

    def _tell(self, settings: Settings, code: int) -> int:
        self._print_new(settings, finished=True)
        made = report(self._visits(settings), self._folder, settings, self._ingested, self._city.authority)
        if self._parsed.headless:
            print_report(made, self._console, judged=self._source == "visitors")
        if self._parsed.json:
            self._parsed.json.write_text(json.dumps(made.as_json(), indent=2) + "\n", encoding="utf-8")
        if code:
            self._console.print("[red]the kiosk cannot do its work; it said:[/red]")
            self._console.print((self._folder / "kiosk.log").read_text(encoding="utf-8"), markup=False)
            return FAULT
        incomplete = self._parsed.headless and made.visitors != len(self._visitors)
        return WRONG if incomplete or not made.well else WELL


COLOURS = {"granted": "green", "held": "yellow", "denied": "red"}


def event_line(event: dict[str, Any]) -> str:
    """One stored event in words."""
    body, name = event["body"], f"seq {event['sequence']:>4}"
    if event["kind"] == "fault":
        return f"{name}  fault     {body['stage']} {'works again' if body['recovered'] else escape(body['detail'])}"
    reasons = ", ".join(body["reasons"])
    if event["kind"] == "alert":
        return f"{name}  [red bold]ALERT[/red bold]     {reasons}"
    colour = COLOURS[body["decision"]]
    return f"{name}  [{colour}]{body['decision']:<8}[/{colour}]  {reasons} ({body['scheme'] or 'no format'})"


def visit_line(number: int, visit: Visit, relay_pulse_ms: int) -> str:
    """One visitor in words: what was read, the verdict, what the lines did, the record."""
    wrong = [*visit.wrong_verdicts(), *visit.wrong_lines(relay_pulse_ms)]
    mark = f"[red bold]WRONG: {'; '.join(wrong)}[/red bold]" if wrong else "[green]as it should be[/green]"
    said = []
    for event in visit.check_ins:
        body = event["body"]
        colour = COLOURS[body["decision"]]
        read = body["scheme"] or "no format"
        said.append(f"{read} [{colour}]{body['decision']}[/{colour}] ({', '.join(body['reasons'])})")
    on = [level.line for level in visit.levels if level.on]
    lines = ", ".join(f"{line} x{on.count(line)}" if on.count(line) > 1 else line for line in dict.fromkeys(on))
    sequences = ", ".join(str(event["sequence"]) for event in visit.events)
    medium = visit.visitor.showing.medium
    who = f"#{number:<3} {visit.visitor.kind} ({medium})"
    return f"{who}: {' + '.join(said)}; {lines}; stored by the city as {sequences}; {mark}"


def print_report(made: Report, console: Console, *, judged: bool) -> None:
    """Print the table."""
    table = Table(title="What happened, and what should have", show_header=False)
    times = f"p50 {made.latency_p50_ms} ms, p99 {made.latency_p99_ms} ms (of {made.latencies})"
    against_truth: list[tuple[str, object, bool]] = [
        ("presentations made", made.presentations, True),
        ("read", made.read, made.read == made.presentations),
        ("wrong verdicts", len(made.verdicts_wrong), not made.verdicts_wrong),
        ("sealed identities", made.sealed, True),
        ("not the holder's, when opened", len(made.identities_wrong), not made.identities_wrong),
        ("wrong line histories", len(made.lines_wrong), not made.lines_wrong),
        ("first readable frame to relay", times, True),
    ]
    rows: list[tuple[str, object, bool]] = [
        *(against_truth if judged else [("presentations read", made.read, True)]),
        ("events accepted by the outbox", made.accepted, True),
        ("stored by the city", made.stored, made.stored == made.accepted),
        ("missing", made.missing, not made.missing),
        ("doubled in the city's database", made.doubled, not made.doubled),
        ("delivered more than once on the way", made.redelivered, True),
    ]
    for name, value, fine in rows:
        table.add_row(name, str(value), "[green]✓[/green]" if fine else "[red]✗[/red]")
    console.print(table)
    if judged:
        console.print(formats_table(made))
    for said in [*made.verdicts_wrong, *made.identities_wrong, *made.lines_wrong]:
        console.print(f"[red]{said}[/red]")


def formats_table(made: Report) -> Table:
    """What became of the codes of each format; `right` counts those with the verdict they should have."""
    table = Table(title="By format")
    for name in (columns := [field.name for field in fields(Format)]):
        table.add_column("format" if name == "name" else name, justify="left" if name == "name" else "right")
    for row in made.formats:
        table.add_row(*(str(getattr(row, name)) for name in columns))
    return table


if __name__ == "__main__":
    sys.exit(main())
