"""Which reader reads hard codes, look after look: simulated codes under stress, 30 looks at each.

    scripts/bench stress [--frames 30] [--seeds 3] [--rival pyzbar zxing] [--json FILE]

A code of version 9, as a declaration is, in a frame of the simulated door; one thing is made hard at a time. Readers
look turn about at the same pictures, and each stops where it has read something. Times are CPU time of the reader
alone, one core.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import rivals
from pictures import HEIGHT, STRESS, WIDTH, Subject, stressed
from reading import frame_of
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from truth import times

from kiosk.decoder import Decoder
from kiosk.engines import Engine
from kiosk.messages import Frame

Looker = Callable[[Frame], list[bytes]]


@dataclass(slots=True)
class Tally:
    """What one reader did with the pictures of one condition."""

    pictures: int = 0
    wrong: int = 0
    looks_needed: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """What it did, in numbers."""
        needed = statistics.median(self.looks_needed) if self.looks_needed else None
        counts = {"pictures": self.pictures, "read": len(self.looks_needed), "wrong": self.wrong}
        return {**counts, "median_looks": needed, **times(self.ms)}


Tallies = dict[str, dict[str, Tally]]
"""By condition, then by reader."""


def kiosk() -> Looker:
    """Give a new decoder of the kiosk: it keeps what the door looks like."""
    decoder = Decoder()
    return lambda frame: [sighting.payload for sighting in decoder.read(frame)]


def of_engine(engine: Engine) -> Looker:
    """Make a reader of frames from a reader of pictures."""
    return lambda frame: [payload for payload, _ in engine(frame.luma)]


def look(reader: Looker, frame: Frame, subject: Subject, tally: Tally) -> bool:
    """One look, timed; whether it read anything."""
    began = time.process_time_ns()
    payloads = reader(frame)
    tally.ms.append((time.process_time_ns() - began) / 1e6)
    if any(map(subject.tells, payloads)):
        tally.looks_needed.append(frame.number)
    else:
        tally.wrong += bool(payloads)
    return bool(payloads)


def watch(subject: Subject, makers: dict[str, Callable[[], Looker]], tallies: dict[str, Tally]) -> None:
    """Let every reader look at one sequence until it has read it."""
    waiting = {name: make() for name, make in makers.items()}
    for name, reader in waiting.items():
        tallies[name].pictures += 1
        reader(frame_of(subject.before, 0))
    for number, luma in enumerate(subject.looks, start=1):
        frame = frame_of(luma, number)
        for name, reader in list(waiting.items())[:: 1 if number % 2 else -1]:
            if look(reader, frame, subject, tallies[name]):
                del waiting[name]
        if not waiting:
            return


def table(tallies: Tallies, names: Sequence[str], frames: int) -> Table:
    """One row a condition: how many were read, and after how many looks at the median."""
    title = f"version 9, modules of 4 px unless said, {WIDTH}x{HEIGHT}: read within {frames} looks; median looks needed"
    made = Table(title=title, title_justify="left")
    for head in ("condition", "n", *names):
        made.add_column(head, justify="left" if head == "condition" else "right")
    for condition, row in tallies.items():
        told = [row[name].figures() for name in names]
        cells = [f"{f['read']}" + (f"; {f['median_looks']:.0f}" if f["read"] else "") for f in told]
        made.add_row(condition, str(told[0]["pictures"]), *cells)
    sums = [sum(len(row[name].looks_needed) for row in tallies.values()) for name in names]
    pictures = sum(row[names[0]].pictures for row in tallies.values())
    made.add_row("all", str(pictures), *map(str, sums), style="bold")
    wrong = [sum(row[name].wrong for row in tallies.values()) for name in names]
    made.add_row("wrong", "", *map(str, wrong))
    return made


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench stress", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rival", nargs="+", choices=rivals.USUAL, default=("pyzbar", "zxing"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parsed = parser.parse_args()
    cv2.setNumThreads(1)
    able, _ = rivals.engines(parsed.rival, None)
    makers: dict[str, Callable[[], Looker]] = {"kiosk": kiosk}
    makers |= {name: partial(of_engine, engine) for name, engine in able.items()}
    tallies: Tallies = defaultdict(lambda: {name: Tally() for name in makers})
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("stress", total=parsed.seeds * len(STRESS))
        for subject in stressed(parsed.seeds, parsed.frames):
            watch(subject, makers, tallies[subject.group])
            progress.advance(task)
    Console(width=None if sys.stdout.isatty() else 120).print(table(tallies, list(makers), parsed.frames))
    if parsed.json:
        told = {group: {name: tally.figures() for name, tally in row.items()} for group, row in tallies.items()}
        parsed.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
