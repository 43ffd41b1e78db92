"""How long visitors of a simulated door wait until their code is read, by condition and by reader.

    .venv/bin/python benchmarks/visitors.py [--seeds 6] [--slow 1.0] [--condition NAME ...] [--json] [--plots FOLDER]

Rivals: the loop that Pi projects ship (pyzbar on each frame) and zxing-cpp on each frame. All get the same frames, 30
a second, 1280x720, under automatic exposure; a reader that asks for another exposure gets frames of its own. Time is
simulated: a look takes its CPU time, times `--slow` (3 stands for a Pi 5), and frames that come meanwhile are lost but
for the newest. The kiosk's search has a core of its own, as a Pi has four, and takes the newest frame that is left to
it; what the two threads cost each other is not simulated. A visitor counts from their first readable pose, which the
simulation knows (docs/visitors.md); whoever is not read within a second of it is missed.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import zxingcpp
from pyzbar.pyzbar import ZBarSymbol, decode
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kiosk.clock import S
from kiosk.decoder import Reader as KioskReader
from kiosk.decoder import Searcher, Wanted
from kiosk.exposure import ExposureControl
from kiosk.messages import Exposure, Frame
from kiosk.settings import CameraSettings
from kiosk.testing.casting import visitor
from kiosk.testing.conditions import CONDITIONS
from kiosk.testing.sensor import Controls
from kiosk.testing.visitors import Showing, first_pose, frame_count, photograph

FPS, WIDTH, HEIGHT = 30, 1280, 720
EMPTY_FRAMES = 30
"""Before each visitor, so that automatic exposure settles."""
WATCHED_EMPTY = 6
"""The last of them, which the readers see: the kiosk compares a visitor with the door as it was."""
WITHIN_S = (0.5, 1.0, 2.0)
LONGEST_US = CameraSettings().longest_exposure_us

T = TypeVar("T")


class Rival:
    """An engine on each frame, on one thread, which leaves the camera alone."""

    def __init__(self, read: Callable[[Frame], Sequence[bytes]]) -> None:
        self._read = read

    def look(self, frame: Frame, _camera: Controls) -> tuple[Sequence[bytes], None]:
        """What it reads, and that it leaves nothing to search."""
        return self._read(frame), None

    def search(self, _wanted: Wanted) -> Sequence[bytes]:
        """There is no second thread."""
        return ()


class Kiosk:
    """The daemon's decode and search threads, and the exposure control of the first."""

    def __init__(self) -> None:
        self._reader, self._searcher = KioskReader(), Searcher()
        self._control = ExposureControl(LONGEST_US)
        self._asked: Exposure | None = None

    def look(self, frame: Frame, camera: Controls) -> tuple[Sequence[bytes], Wanted | None]:
        """What it reads, and what is left to search; the camera is told its next exposure."""
        look = self._reader.look(frame)
        asked = self._control.step(frame, look.glimpse, read=bool(look.sightings))
        if asked != self._asked:
            camera.expose(asked)
            self._asked = asked
        return [sighting.payload for sighting in look.sightings], look.wanted

    def search(self, wanted: Wanted) -> Sequence[bytes]:
        """What it reads on the second thread."""
        return [sighting.payload for sighting in self._searcher.search(wanted).sightings]


Reader = Rival | Kiosk


def _pyzbar() -> Reader:
    return Rival(lambda frame: [found.data for found in decode(frame.luma, symbols=[ZBarSymbol.QRCODE])])


def _zxing() -> Reader:
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)
    return Rival(lambda frame: [found.bytes for found in zxingcpp.read_barcodes(frame.luma, formats=formats)])


READERS: dict[str, Callable[[], Reader]] = {"pyzbar": _pyzbar, "zxing-cpp": _zxing, "kiosk": Kiosk}
RIVALS = ("pyzbar", "zxing-cpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One code and one reader. Seconds and frames count from the visitor's first frame; None: never."""

    pose_s: float | None
    read_s: float | None
    frames: int | None

    @property
    def missed(self) -> bool:
        """It could be read, and was not within a second."""
        return self.pose_s is not None and (self.read_s is None or self.read_s > self.pose_s + 1)


class Door:
    """One visitor, frame after frame. Frame numbers begin with the empty door."""

    def __init__(self, showing: Showing) -> None:
        self._showing = showing
        self._controls = Controls()
        self._automatic: list[Frame] = []
        self.length = EMPTY_FRAMES + frame_count(showing, FPS)

    def frame(self, number: int, exposure: Exposure | None) -> Frame:
        """A frame with that exposure, or with the camera's own."""
        if exposure:
            return self._taken(number, exposure)
        while len(self._automatic) <= number:
            frame = self._taken(len(self._automatic), self._controls.of(len(self._automatic)))
            assert frame.exposure
            self._controls.meter(frame.luma, frame.exposure)
            self._automatic.append(frame)
        return self._automatic[number]

    def _taken(self, number: int, exposure: Exposure) -> Frame:
        size = {"width": WIDTH, "height": HEIGHT, "noise_key": self._showing.seed}
        luma = photograph(self._showing, number - EMPTY_FRAMES, exposure, fps=FPS, **size)
        luma.setflags(write=False)
        return Frame(luma=luma, number=number, captured_ns=S + number * S // FPS, exposure=exposure)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and the CPU seconds it took."""
    began = time.thread_time()
    made = work()
    return made, time.thread_time() - began


class Watch:
    """One reader at one door, on the simulated clock: its looks and its searches have a core each.

    `found` is when each code was read, and in which frame after the visitor's first.
    """

    def __init__(self, codes: Sequence[bytes], reader: Reader, slow: float) -> None:
        self._codes, self._reader, self._slow = codes, reader, slow
        self._wanted: tuple[float, Wanted] | None = None
        self._search_free_s = 0.0
        self.found: dict[bytes, tuple[float, int]] = {}
        self.wrong = 0

    def run(self, door: Door) -> None:
        """Until all is read or the visitor has left."""
        camera = Controls()
        number = EMPTY_FRAMES - WATCHED_EMPTY
        free_s = number / FPS
        while number < door.length and len(self.found) < len(self._codes):
            asked = camera.of(number)
            frame = door.frame(number, None if camera.is_automatic else asked)
            (payloads, wanted), cost_s = timed(partial(self._reader.look, frame, camera))
            free_s = max(free_s, number / FPS) + cost_s * self._slow
            self._search_until(free_s)
            self._note(payloads, free_s, number)
            if wanted:
                self._wanted = free_s, wanted
            number = max(number + 1, int(free_s * FPS))
        self._search_until(number / FPS)

    def _search_until(self, at_s: float) -> None:
        """Take what waits, if the second thread is free before then; later, something newer may wait."""
        if self._wanted is None or max(self._wanted[0], self._search_free_s) >= at_s:
            return
        (since_s, wanted), self._wanted = self._wanted, None
        payloads, cost_s = timed(partial(self._reader.search, wanted))
        self._search_free_s = max(since_s, self._search_free_s) + cost_s * self._slow
        self._note(payloads, self._search_free_s, wanted.frame.number)

    def _note(self, payloads: Sequence[bytes], at_s: float, number: int) -> None:
        for payload in payloads:
            self.wrong += payload not in self._codes
            read = at_s - EMPTY_FRAMES / FPS, number - EMPTY_FRAMES
            self.found[payload] = min(self.found.get(payload, read), read)


Outcomes = dict[str, dict[str, list[Outcome]]]
"""By condition, then by reader."""


def measure(
    conditions: Sequence[str], seeds: int, slow: float, step: Callable[[], None]
) -> tuple[Outcomes, dict[str, int]]:
    """Show every visitor to every reader; the outcomes, and wrong payloads by reader."""
    outcomes: Outcomes = defaultdict(lambda: {name: [] for name in READERS})
    wrong = dict.fromkeys(READERS, 0)
    for condition in conditions:
        for seed in range(seeds):
            showing = visitor(condition, seed)
            door = Door(showing)
            first = first_pose(showing, fps=FPS, width=WIDTH, height=HEIGHT)
            for name, make in READERS.items():
                watch = Watch(showing.codes, make(), slow)
                watch.run(door)
                wrong[name] += watch.wrong
                for code, index in zip(showing.codes, first, strict=True):
                    read_s, frames = watch.found.get(code, (None, None))
                    pose_s = None if index is None else index / FPS
                    outcomes[condition][name].append(Outcome(pose_s=pose_s, read_s=read_s, frames=frames))
            step()
    return dict(outcomes), wrong


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What one reader did, in numbers. Medians are of what it read."""
    times = [outcome.read_s for outcome in outcomes if outcome.read_s is not None]
    frames = [outcome.frames for outcome in outcomes if outcome.frames is not None]
    within = {f"within_{limit}_s": sum(at <= limit for at in times) / len(outcomes) for limit in WITHIN_S}
    return {
        "codes": len(outcomes),
        "with_readable_pose": sum(outcome.pose_s is not None for outcome in outcomes),
        "missed": sum(outcome.missed for outcome in outcomes),
        "read": len(times),
        **within,
        "median_s": statistics.median(times) if times else None,
        "median_frames": statistics.median(frames) if frames else None,
    }


def summary(outcomes: Outcomes) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures by condition and reader, with a row for all."""
    every = {name: [one for row in outcomes.values() for one in row[name]] for name in READERS}
    rows = {**outcomes, "all": every}
    return {condition: {name: figures(row[name]) for name in READERS} for condition, row in rows.items()}


def ratio(found: dict[str, dict[str, Any]]) -> float | None:
    """The kiosk's misses for each of the better rival's; None if that has none."""
    best = min(found[rival]["missed"] for rival in RIVALS)
    return found["kiosk"]["missed"] / best if best else None


def table_of(found: dict[str, dict[str, dict[str, Any]]], slow: float) -> Table:
    """One row a condition."""
    limits = "/".join(f"{limit:g}" for limit in WITHIN_S)
    table = Table(
        title=f"Missed within 1 s of a readable pose; % read within {limits} s of appearing, median s; time x{slow:g}"
    )
    table.add_column("condition")
    table.add_column("poses", justify="right")
    for name in READERS:
        table.add_column(f"{name} missed", justify="right")
        table.add_column(f"{limits} s", justify="right")
        table.add_column("s", justify="right")
    for condition, row in found.items():
        cells = []
        for name in READERS:
            one = row[name]
            shares = "/".join(f"{100 * one[f'within_{limit}_s']:.0f}" for limit in WITHIN_S)
            cells += [str(one["missed"]), shares, "-" if one["median_s"] is None else f"{one['median_s']:.2f}"]
        table.add_row(condition, str(row["kiosk"]["with_readable_pose"]), *cells, end_section=condition == "versions")
    return table


def plot(outcomes: Outcomes, found: dict[str, dict[str, dict[str, Any]]], folder: Path) -> None:
    """Draw `visitors-missed.png` and `visitors-times.png`."""
    plt = importlib.import_module("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(8, 0.35 * len(outcomes) + 1.5), layout="constrained")
    for place, name in enumerate(READERS):
        shares = [found[c][name]["missed"] / max(found[c][name]["with_readable_pose"], 1) for c in outcomes]
        axes.barh([at + 0.27 * (1 - place) for at in range(len(shares))], shares, height=0.25, label=name)
    axes.set_yticks(range(len(outcomes)), list(outcomes))
    axes.invert_yaxis()
    axes.set_xlabel("share missed within 1 s of a readable pose")
    axes.legend()
    figure.savefig(folder / "visitors-missed.png", dpi=120)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in READERS:
        every = [one.read_s for row in outcomes.values() for one in row[name]]
        times = sorted(at for at in every if at is not None)
        axes.step(
            [0, *times, 3],
            [0, *((n + 1) / len(every) for n in range(len(times))), len(times) / len(every)],
            where="post",
            label=name,
        )
    axes.set(xlabel="seconds since the visitor appeared", ylabel="share of codes read", xlim=(0, 3), ylim=(0, 1))
    axes.legend()
    figure.savefig(folder / "visitors-times.png", dpi=120)


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--slow", type=float, default=1.0)
    parser.add_argument("--condition", action="append", choices=list(CONDITIONS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parsed = parser.parse_args()
    cv2.setNumThreads(1)
    conditions = parsed.condition or list(CONDITIONS)
    console = Console(stderr=parsed.json, width=None if sys.stdout.isatty() else 120)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("visitors", total=len(conditions) * parsed.seeds)
        outcomes, wrong = measure(conditions, parsed.seeds, parsed.slow, lambda: progress.advance(task))
    found = summary(outcomes)
    if parsed.plots:
        plot(outcomes, found, parsed.plots)
    of_better = ratio(found["all"])
    if parsed.json:
        print(json.dumps({"conditions": found, "wrong": wrong, "missed_of_better_rival": of_better}))
        return
    console.print(table_of(found, parsed.slow))
    console.print(f"wrong payloads: {', '.join(f'{name} {count}' for name, count in wrong.items())}")
    if of_better is not None:
        console.print(f"The kiosk misses {of_better:.2f} of what the better rival misses; the aim is at most a third.")


if __name__ == "__main__":
    main()
