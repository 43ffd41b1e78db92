"""Which reader reads what: still photos with a known text, and simulated codes under stress, 30 looks at each.

    .venv/bin/python benchmarks/reading.py FOLDER [FOLDER ...] [--frames 30] [--seeds 3] [--json]

Rivals in the same run, turn about at the same pictures: pyzbar as Pi projects call it, zxing-cpp alone, OpenCV. A photo
is fitted into 1280x720; its truth is the .txt or .bin beside it. The first look is at the photo itself, each further
one, as at a door, at the photo with sensor noise and up to 2 px of jitter, until the reader has read it. Stress is a
code of version 9, as a declaration is, in a frame of the simulated door. Times are of the reader alone, one core.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import zxingcpp
from pictures import HEIGHT, WIDTH, Subject, photos, stressed
from pyzbar.pyzbar import ZBarSymbol, decode
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kiosk.clock import S
from kiosk.decoder import Decoder
from kiosk.engines import Luma
from kiosk.messages import Frame
from kiosk.testing.visitors import render

FPS = 30
EMPTY_FRAMES = 60

Reader = Callable[[Frame], list[bytes]]


def _pyzbar() -> Reader:
    return lambda frame: [found.data for found in decode(frame.luma, symbols=[ZBarSymbol.QRCODE])]


def _zxing() -> Reader:
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)
    return lambda frame: [found.bytes for found in zxingcpp.read_barcodes(frame.luma, formats=formats)]


def _kiosk() -> Reader:
    decoder = Decoder()
    return lambda frame: [sighting.payload for sighting in decoder.read(frame)]


def _opencv() -> Reader:
    detector = cv2.QRCodeDetector()

    def read(frame: Frame) -> list[bytes]:
        try:
            text = detector.detectAndDecode(frame.luma)[0]
        except (cv2.error, UnicodeDecodeError):
            return []
        return [text.encode()] if text else []

    return read


READERS: dict[str, Callable[[], Reader]] = {"pyzbar": _pyzbar, "zxing-cpp": _zxing, "kiosk": _kiosk, "OpenCV": _opencv}
BASE = "pyzbar"
LOOKS_ONCE = {"OpenCV"}
"""So slow that thirty looks would be most of the run, and it reads least."""


@dataclass(slots=True)
class Tally:
    """What one reader did with the pictures of one group."""

    pictures: int = 0
    at_once: int = 0
    read: int = 0
    wrong: int = 0
    looks_needed: list[int] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    later_ms: list[float] = field(default_factory=list)


def frame_of(luma: Luma, number: int) -> Frame:
    """A frame as a camera gives it."""
    luma.setflags(write=False)
    return Frame(luma=luma, number=number, captured_ns=S + number * S // FPS)


Tallies = dict[str, dict[str, Tally]]
"""By group, then by reader."""


def measure(subjects: Sequence[Subject], names: Sequence[str], step: Callable[[], None]) -> Tallies:
    """Let the readers look at each picture, turn about; each stops where it has read something."""
    tallies: Tallies = defaultdict(lambda: {name: Tally() for name in names})
    for subject in subjects:
        group = tallies[subject.group]
        waiting = {name: READERS[name]() for name in names}
        for name, tally in group.items():
            tally.pictures += 1
            waiting[name](frame_of(subject.before, 0))
        for number, luma in enumerate(subject.looks, start=1):
            frame = frame_of(luma, number)
            turn = list(waiting.items())[:: 1 if number % 2 else -1]
            for name, reader in turn:
                if look(reader, frame, subject.tells, group[name]) or name in LOOKS_ONCE:
                    del waiting[name]
            if not waiting:
                break
        step()
    return dict(tallies)


def look(reader: Reader, frame: Frame, tells: Callable[[bytes], bool], tally: Tally) -> bool:
    """One look, timed; whether it read anything."""
    began = time.perf_counter()
    payloads = reader(frame)
    (tally.first_ms if frame.number == 1 else tally.later_ms).append((time.perf_counter() - began) * 1000)
    if not payloads:
        return False
    if any(map(tells, payloads)):
        tally.read += 1
        tally.at_once += frame.number == 1
        tally.looks_needed.append(frame.number)
    else:
        tally.wrong += 1
    return True


def empty_ms(names: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds for each look at a door where nobody stands."""
    readers = {name: READERS[name]() for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(1, EMPTY_FRAMES + 1):
        luma = render(None, number, width=WIDTH, height=HEIGHT, fps=FPS, noise_key=0)
        frame = frame_of(luma, number)
        for name, reader in readers.items():
            began = time.perf_counter()
            assert not reader(frame), f"{name} reads a code at an empty door"
            times[name].append((time.perf_counter() - began) * 1000)
    return times


def p95(times: Sequence[float]) -> float | None:
    """The time only one look in twenty exceeds."""
    return sorted(times)[int(0.95 * (len(times) - 1))] if times else None


def figures(tally: Tally) -> dict[str, Any]:
    """What one reader did, in numbers."""
    return {
        "pictures": tally.pictures,
        "read_at_first_look": tally.at_once,
        "read": tally.read,
        "percent": round(100 * tally.read / tally.pictures, 1),
        "wrong": tally.wrong,
        "median_looks": statistics.median(tally.looks_needed) if tally.looks_needed else None,
        "median_ms": statistics.median(tally.first_ms),
        "p95_ms": p95(tally.first_ms),
        "later_median_ms": statistics.median(tally.later_ms) if tally.later_ms else None,
        "later_p95_ms": p95(tally.later_ms),
    }


def total(tallies: Tallies, name: str) -> Tally:
    """All groups of one reader together."""
    whole = Tally()
    for group in tallies.values():
        for key in ("pictures", "at_once", "read", "wrong", "looks_needed", "first_ms", "later_ms"):
            setattr(whole, key, getattr(whole, key) + getattr(group[name], key))
    return whole


def photo_table(tallies: Tallies, empty: dict[str, list[float]], frames: int) -> Table:
    """One row a reader."""
    base = total(tallies, BASE)
    table = Table(
        title=f"{base.pictures} photos, {WIDTH}x{HEIGHT}; ms: first look, later ones, empty door (against {BASE})"
    )
    heads = ("reader", "first look", f"in {frames}", "wrong", "ms", "p95", "later", "p95")
    for head in (*heads, "empty"):
        table.add_column(head, justify="left" if head == "reader" else "right")
    for name, times in empty.items():
        tally = total(tallies, name)
        shown = figures(tally)
        later = [f"{shown[key]:.1f}" if shown[key] is not None else "-" for key in ("later_median_ms", "later_p95_ms")]
        within = "-" if name in LOOKS_ONCE else f"{tally.read}, {shown['percent']:.0f} %"
        ratio = shown["median_ms"] / statistics.median(base.first_ms)
        empty_ratio = statistics.median(times) / statistics.median(empty[BASE])
        table.add_row(
            name,
            f"{tally.at_once}, {100 * tally.at_once / tally.pictures:.0f} %",
            within,
            str(tally.wrong),
            f"{shown['median_ms']:.1f} ({ratio:.2f})",
            f"{shown['p95_ms']:.1f}",
            *later,
            f"{statistics.median(times):.1f} ({empty_ratio:.2f})",
        )
    return table


def group_table(title: str, tallies: Tallies) -> Table:
    """One row a group: percent read, and after how many looks at the median."""
    table = Table(title=title)
    names = [name for name in next(iter(tallies.values())) if name not in LOOKS_ONCE]
    for head in ("group", "pictures", *names):
        table.add_column(head, justify="left" if head == "group" else "right")
    rows = {**tallies, "all": {name: total(tallies, name) for name in names}}
    for group, tallied in rows.items():
        shown = [figures(tallied[name]) for name in names]
        cells = [f"{f['percent']:.0f} %" + (f", {f['median_looks']:.0f}" if f["read"] else "") for f in shown]
        table.add_row(group, str(shown[0]["pictures"]), *cells)
    return table


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parsed = parser.parse_args()
    cv2.setNumThreads(1)
    console = Console(stderr=parsed.json, width=None if sys.stdout.isatty() else 100)
    pictures = list(photos(parsed.folders, parsed.frames))
    if not pictures:
        parser.error("no photo with a .txt or .bin beside it in these folders")
    codes = list(stressed(parsed.seeds, parsed.frames))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("reading", total=len(pictures) + len(codes))
        empty = empty_ms(list(READERS))
        on_photos = measure(pictures, list(READERS), lambda: progress.advance(task))
        names = [name for name in READERS if name not in LOOKS_ONCE]
        on_stress = measure(codes, names, lambda: progress.advance(task))
    if parsed.json:
        both = {"photos": on_photos, "stress": on_stress}
        found = {
            kind: {group: {name: figures(t) for name, t in row.items()} for group, row in tallies.items()}
            for kind, tallies in both.items()
        }
        print(json.dumps({**found, "empty_median_ms": {n: statistics.median(ms) for n, ms in empty.items()}}))
        return
    console.print(photo_table(on_photos, empty, parsed.frames))
    console.print(group_table(f"Photos read within {parsed.frames} looks, and median looks needed", on_photos))
    title = (
        f"Stress: version 9, modules of 4 px unless said, read within {parsed.frames} looks, and median looks needed"
    )
    console.print(group_table(title, on_stress))


if __name__ == "__main__":
    main()
