"""Where one frame's time and memory go: stages, the functions within them, arrays made, and what grows.

    scripts/bench frame [--frames 200] [--json FILE]

Four doors of 1280x720: empty; a code that is read at once; one that is found, but glare hides too much of it; one too
dark to be found. Each frame takes the kiosk's own way from the camera's buffer through the quick look, and a slow rung
where that is wanted, on one thread; times are CPU time of that thread. Each meter has a pass of its own, so that none
disturbs another: plain times, cProfile (shares; it makes small functions look dearer), tracemalloc (whole arrays alive
at once, in sizes of a frame; it sees Python, numpy and what OpenCV gives back, but not what engines keep inside: for
those the process's resident memory is told). What is still held after the last frame and was not after the warm-up has
grown.
"""

import argparse
import cProfile
import gc
import json
import os
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import cv2
from pictures import HEIGHT, STRESS, WIDTH, declared, stress_looks
from reading import FPS, frame_of
from report import number
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from truth import times

from kiosk.camera import luma_of_rows
from kiosk.decoder import Reader, Searcher
from kiosk.engines import Luma
from kiosk.frame_watch import FrameWatch
from kiosk.testing.visitors import render

RING = 8
"""Different pictures of each door, over and over."""
WARM_UP = 60
FRAME_BYTES = WIDTH * HEIGHT
GROWTH_RUNS = 3
"""A leak is in each of them; what free lists and caches settle to is not. The least counts."""
FUNCTIONS = 12
"""Rows of the table of functions."""
DOORS = {"code read": "plain", "code found, glare": "glare 8 %", "code not found, dark": "dark, white 14"}
SEED = 2
"""With it the glare hides enough that the code is found and not read."""

Around = Callable[[str], AbstractContextManager[None]]
"""A meter round one stage, by its name."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a frame passes, as the daemon's threads own it."""

    watch: FrameWatch = field(default_factory=FrameWatch)
    reader: Reader = field(default_factory=Reader)
    searcher: Searcher = field(default_factory=Searcher)

    def pass_through(self, buffer: Luma, at: int, around: Around) -> None:
        """One frame, from the camera's buffer to sightings."""
        with around("camera: luma copied"):
            luma = luma_of_rows(buffer, WIDTH, HEIGHT, WIDTH)
        frame = frame_of(luma, at)
        with around("frame watch"):
            self.watch.judge(frame)
        with around("quick look"):
            look = self.reader.look(frame)
        if look.wanted:
            with around("slow rung"):
                self.searcher.search(look.wanted)


def began_empty(empty: Luma) -> Parts:
    """Parts that have seen the door with nobody there, so that whoever comes is noticed."""
    parts = Parts()
    parts.pass_through(empty, 0, nothing)
    return parts


def buffers() -> dict[str, list[Luma]]:
    """Camera buffers of each door: the luma plane alone, flat."""
    doors = {"empty": [render(None, at, width=WIDTH, height=HEIGHT, fps=FPS, noise_key=0) for at in range(RING)]}
    for door, stress in DOORS.items():
        doors[door] = list(stress_looks(declared(SEED)[1], STRESS[stress], RING, SEED))
    return {door: [luma.reshape(-1) for luma in lumas] for door, lumas in doors.items()}


@contextmanager
def nothing(_stage: str) -> Iterator[None]:
    """No meter."""
    yield


def stage_times(parts: Parts, ring: list[Luma], frames: int) -> list[dict[str, float]]:
    """Milliseconds of each stage, frame by frame."""
    spent: list[dict[str, float]] = []

    @contextmanager
    def clocked(stage: str) -> Iterator[None]:
        began = time.thread_time_ns()
        yield
        spent[-1][stage] = (time.thread_time_ns() - began) / 1e6

    for at in range(frames):
        spent.append({})
        parts.pass_through(ring[at % RING], at, clocked)
    return spent


def name_of(code: CodeType | str) -> str:
    """A function's name: kiosk's with its module, native ones as they are called."""
    if isinstance(code, CodeType):
        return f"{Path(code.co_filename).stem}.{code.co_qualname}"
    return code.strip("<>").removeprefix("built-in method ").removeprefix("method ")


def own_times(parts: Parts, ring: list[Luma], frames: int) -> dict[str, list[float]]:
    """Milliseconds that each function spent itself, one figure for each frame; 0 where it was not called."""
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0] * frames)
    for at in range(frames):
        profile = cProfile.Profile(time.thread_time_ns, 1e-6)
        profile.enable()
        parts.pass_through(ring[at % RING], at, nothing)
        profile.disable()
        for entry in profile.getstats():
            if not (name := name_of(entry.code)).startswith(("contextlib.", "frame.")):
                spent[name][at] += entry.inlinetime
    return spent


def most_alive(parts: Parts, ring: list[Luma], frames: int) -> dict[str, float]:
    """The most memory that each stage had in use at once, in frames."""
    most: dict[str, float] = defaultdict(float)

    @contextmanager
    def weighed(stage: str) -> Iterator[None]:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        yield
        most[stage] = max(most[stage], (tracemalloc.get_traced_memory()[1] - before) / FRAME_BYTES)

    with traced():
        for at in range(frames):
            parts.pass_through(ring[at % RING], at, weighed)
    return dict(most)


@contextmanager
def traced() -> Iterator[None]:
    """Every allocation that Python knows of is counted."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def resident_mb() -> float:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(parts: Parts, ring: list[Luma], frames: int) -> dict[str, float]:
    """What so many frames leave behind that the warm-up had not: bytes a frame that Python holds, resident memory."""

    def run(count: int) -> None:
        for at in range(count):
            parts.pass_through(ring[at % RING], at, nothing)
        gc.collect()

    run(WARM_UP)
    resident = resident_mb()
    run(frames)
    resident = resident_mb() - resident
    grown = []
    with traced():
        run(frames)
        for _ in range(GROWTH_RUNS):
            held = tracemalloc.get_traced_memory()[0]
            run(frames)
            grown.append((tracemalloc.get_traced_memory()[0] - held) / frames)
    return {"bytes_a_frame": min(grown), "resident_mb": resident}


def profile(ring: list[Luma], empty: Luma, frames: int) -> dict[str, Any]:
    """Everything about one door; each pass has parts of its own."""
    spent = stage_times(began_empty(empty), ring, frames)
    stages = {
        name: [ms[name] for ms in spent if name in ms] for name in dict.fromkeys(name for ms in spent for name in ms)
    }
    own = own_times(began_empty(empty), ring, frames)
    dearest = sorted(own, key=lambda name: -sum(own[name]))[:FUNCTIONS]
    whole = sum(map(sum, own.values()))
    return {
        "stages": {name: {"of_frames": len(ms) / frames, **times(ms)} for name, ms in stages.items()},
        "all": times([sum(ms.values()) for ms in spent]),
        "functions": {name: {"share": sum(own[name]) / whole, **times(own[name])} for name in dearest},
        "frames_alive": most_alive(began_empty(empty), ring, WARM_UP),
        "growth": growth(began_empty(empty), ring, frames),
    }


def stage_table(told: dict[str, Any], frames: int) -> Table:
    """One row a stage of each door."""
    title = f"{frames} frames of {WIDTH}x{HEIGHT} a door; ms of CPU in the frames that pass the stage; memory in frames"
    table = Table(title=title, title_justify="left")
    for head in ("door", "stage", "of frames", "median", "p95", "most alive at once"):
        table.add_column(head, justify="left" if head in ("door", "stage") else "right")
    for door, found in told.items():
        for name, stage in found["stages"].items():
            alive = number(found["frames_alive"].get(name), 2)
            ms = (number(stage["median_ms"], 2), number(stage["p95_ms"], 2))
            table.add_row(door, name, f"{100 * stage['of_frames']:.0f} %", *ms, alive)
        grown = f"{found['growth']['bytes_a_frame']:+.1f} B a frame, RSS {found['growth']['resident_mb']:+.1f} MB"
        whole = (number(found["all"]["median_ms"], 2), number(found["all"]["p95_ms"], 2))
        table.add_row("", "all; grown", "100 %", *whole, grown, style="bold", end_section=True)
    return table


def function_table(door: str, functions: dict[str, Any]) -> Table:
    """One row a function: what it spent itself."""
    table = Table(title=f"{door}: functions by their own time, callees not counted", title_justify="left")
    for head in ("function", "share", "ms median", "p95"):
        table.add_column(head, justify="left" if head == "function" else "right")
    for name, found in functions.items():
        ms = (number(found["median_ms"], 3), number(found["p95_ms"], 3))
        table.add_row(name, f"{100 * found['share']:.1f} %", *ms)
    return table


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench frame", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parsed = parser.parse_args()
    cv2.setNumThreads(1)
    console = Console(width=None if sys.stdout.isatty() else 120)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        rings = buffers()
        empty = rings["empty"][0]
        told = {
            door: profile(ring, empty, parsed.frames)
            for door, ring in progress.track(rings.items(), description="doors")
        }
    console.print(stage_table(told, parsed.frames))
    for door, found in told.items():
        console.print(function_table(door, found["functions"]))
    if parsed.json:
        parsed.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
