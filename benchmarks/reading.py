"""Which reader reads what on stills: by group, wrong texts, reads where no code is, times, and each rung of the ladder.

    scripts/bench reading --corpus FOLDER [--size 1280x720] [--rival pyzbar zxing recipe opencv wechat]

FOLDER holds images with their text in a .txt (or .bin) beside each, in folders by group; or it is the BoofCV set as
published (`benchmark/dataset/QRCode` of the public repository tony-xlh/barcode-dataset), whose truth is a vote: see
`benchmarks/boofcv.py`. Of that set the even positions of each category are measured unless --half says otherwise: the
odd ones are for the last word. Folders named falsepositives* hold no code; a read there ends the run with 1.

The kiosk is measured as two readers: "first look" is one frame through the quick reader; "all rungs" is every rung at
the same still, what a visitor gets who holds still for about a second; it has no cap on codes. Looks: the decoder sees
the photo as a hand and a sensor vary it, until it reads. All readers see each photo turn about, one after the other,
in one process on one core; times are CPU time of the reader alone. Photos are opened one at a time, and made smaller
until they fit the size, which is turned as they are; never larger.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boofcv
import cv2
import rivals
from pictures import photo_looks
from plots import draw
from report import tables
from rich.console import Console
from rich.progress import Progress
from truth import CODE_FREE, Photo, Shown, Tally, code_free_in, gains, judge, photos_in, show, summary, times

from kiosk.camera import GREY
from kiosk.clock import S
from kiosk.decoder import Decoder, Reader
from kiosk.engines import Engine, Luma, Read
from kiosk.messages import Frame
from kiosk.testing.visitors import render

FPS = 30
DOOR_FRAMES = 60
FIRST_LOOK, ALL_RUNGS = "kiosk, first look", "kiosk, all rungs"
NATIVE = "native"

Groups = dict[str, Tally]


def _groups() -> Groups:
    return defaultdict(Tally)


@dataclass(slots=True)
class Stage:
    """What one rung did. `new`: codes that no earlier rung read; `only`: codes that no other rung read."""

    codes: int = 0
    images: int = 0
    new: int = 0
    new_images: int = 0
    only: int = 0
    wrong: int = 0
    ms: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Results:
    """Everything measured in one run."""

    readers: dict[str, Groups] = field(default_factory=lambda: defaultdict(_groups))
    stages: dict[str, Stage] = field(default_factory=lambda: defaultdict(Stage))
    looks: Groups = field(default_factory=_groups)
    skipped: list[str] = field(default_factory=list)
    """Files that OpenCV cannot open."""
    photos: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By file: the positions of the codes that each reader read."""
    code_free_reads: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    code_free: int = 0
    empty_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def frame_of(luma: Luma, number: int) -> Frame:
    """A frame as a camera gives it."""
    luma.setflags(write=False)
    return Frame(luma=luma, number=number, captured_ns=S + number * S // FPS)


def first_look(luma: Luma) -> list[Read]:
    """One frame through a fresh quick reader."""
    return [(seen.payload, seen.quad) for seen in Reader().look(frame_of(luma, 1)).sightings]


def timed(engine: Engine, luma: Luma) -> tuple[list[Read], float]:
    """What an engine reads, and the CPU milliseconds that took."""
    began = time.process_time_ns()
    reads = engine(luma)
    return reads, (time.process_time_ns() - began) / 1e6


Rungs = Sequence[tuple[str, Engine]]
Sides = Mapping[str, Engine]


def compete(results: Results, photo: Photo, shown: Shown, sides: Mapping[str, Engine], *, turned: bool) -> None:
    """Give one photo to every reader, in an order that turns round from photo to photo."""
    for name, engine in list(sides.items())[:: -1 if turned else 1]:
        reads, ms = timed(engine, shown.luma)
        score = judge(photo.codes, shown.placed(reads))
        results.readers[name][photo.group].add(len(photo.codes), score, ms)
        _kept(results, photo)[name] = sorted(score.read)


def _kept(results: Results, photo: Photo) -> dict[str, list[int]]:
    return results.photos.setdefault(f"{photo.file.parent.name}/{photo.file.name}", {})


def climb(results: Results, photo: Photo, shown: Shown, rungs: Rungs) -> None:
    """Give one photo to every rung by itself; all of them together are one reader more."""
    answers = {name: timed(engine, shown.luma) for name, engine in rungs}
    scores = {name: judge(photo.codes, shown.placed(reads)) for name, (reads, _) in answers.items()}
    nobody_yet = True
    for name, (new, only) in gains(scores).items():
        stage, score = results.stages[name], scores[name]
        stage.codes += len(score.read)
        stage.images += score.right
        stage.new += new
        stage.new_images += score.right and nobody_yet
        stage.only += only
        stage.wrong += score.wrong
        stage.ms.append(answers[name][1])
        nobody_yet = nobody_yet and not score.right
    whole = judge(photo.codes, shown.placed([read for reads, _ in answers.values() for read in reads]))
    results.readers[ALL_RUNGS][photo.group].add(len(photo.codes), whole, sum(ms for _, ms in answers.values()))
    _kept(results, photo)[ALL_RUNGS] = sorted(whole.read)


def hold_up(results: Results, photo: Photo, shown: Shown, frames: int, seed: int) -> None:
    """Let the kiosk look at the photo as somebody holds it, until it reads; times are of single looks."""
    decoder = Decoder()
    empty = shown.luma * 0 + GREY
    decoder.read(frame_of(empty, 0))
    tally, spent, score = results.looks[photo.group], [], judge(photo.codes, ())
    for number, luma in enumerate(photo_looks(shown.luma, frames, seed), start=1):
        frame = frame_of(luma, number)
        began = time.process_time_ns()
        sightings = decoder.read(frame)
        spent.append((time.process_time_ns() - began) / 1e6)
        if sightings:
            score = judge(photo.codes, shown.placed((seen.payload, seen.quad) for seen in sightings))
            break
    tally.add(len(photo.codes), score, spent[0])
    tally.ms.extend(spent[1:])


def watch_empty(results: Results, photos: Iterable[Photo], size: tuple[int, int] | None, sides: Sides) -> None:
    """Count reads where no code is, and time the readers at a simulated door with nobody there."""
    for photo in photos:
        if shown := show(photo.file, size):
            results.code_free += 1
            for name, engine in sides.items():
                results.code_free_reads[name] += bool(engine(shown.luma))
    width, height = size or (1280, 720)
    for number in range(DOOR_FRAMES):
        luma = render(None, number, width=width, height=height, fps=FPS, noise_key=0)
        for name, engine in sides.items():
            reads, ms = timed(engine, luma)
            results.code_free_reads[name] += bool(reads)
            results.empty_ms[name].append(ms)
    results.code_free += DOOR_FRAMES


def sampled(photos: Iterable[Photo], most: int) -> list[Photo]:
    """The first so many of each group, or all."""
    groups: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        groups[photo.group].append(photo)
    return [photo for group in groups.values() for photo in group[: most or None]]


def measure(
    photos: Sequence[Photo],
    code_free: Sequence[Photo],
    size: tuple[int, int] | None,
    rivals_in: Sides,
    frames: int,
    step: Callable[[], None],
) -> Results:
    """Measure everything at every photo, then at the frames without a code."""
    results, rungs = Results(), Decoder().rungs()
    sides = {FIRST_LOOK: first_look, **rivals_in}
    for seed, photo in enumerate(photos):
        if shown := show(photo.file, size):
            compete(results, photo, shown, sides, turned=bool(seed % 2))
            climb(results, photo, shown, rungs)
            if frames:
                hold_up(results, photo, shown, frames, seed)
        else:
            results.skipped.append(photo.file.name)
        step()
    watch_empty(results, code_free, size, {**sides, ALL_RUNGS: lambda luma: [r for _, e in rungs for r in e(luma)]})
    return results


def machine() -> dict[str, str]:
    """What figures depend on."""
    parts = {name: version(name) for name in ("numpy", "zxing-cpp", "pyzbar")}
    return {"python": platform.python_version(), "machine": platform.machine(), "opencv": cv2.__version__, **parts}


def figures(results: Results, left_out: str) -> dict[str, Any]:
    """Everything measured, as JSON takes it."""
    readers = {
        name: {
            "groups": {group: tally.figures() for group, tally in groups.items()},
            "all": summary(groups, left_out),
            "code_free_reads": results.code_free_reads[name],
            "empty": times(results.empty_ms[name]),
        }
        for name, groups in results.readers.items()
    }
    stages = {
        name: {key: getattr(stage, key) for key in ("codes", "images", "new", "new_images", "only", "wrong")}
        | times(stage.ms)
        for name, stage in results.stages.items()
    }
    looks = {"all": summary(results.looks, left_out)} if results.looks else {}
    return {"readers": readers, "stages": stages, "looks": looks, "code_free": results.code_free}


def size_of(text: str) -> tuple[int, int] | None:
    """WIDTHxHEIGHT, or None for the photos' own size."""
    if text == NATIVE:
        return None
    width, height = map(int, text.split("x"))
    return width, height


def options() -> argparse.ArgumentParser:
    """What can be asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench reading", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=size_of, default=(1280, 720), metavar="WxH", help="or native; default 1280x720")
    parser.add_argument("--rival", nargs="+", action="extend", choices=rivals.NAMES)
    parser.add_argument("--wechat-models", type=Path, metavar="FOLDER", help=", ".join(rivals.WECHAT_MODELS))
    parser.add_argument("--half", choices=("even", "odd", "all"), help="of each group; default even for the BoofCV set")
    parser.add_argument("--empty", type=Path, metavar="FOLDER", help="more pictures that hold no code")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="the first N photos of each group only")
    parser.add_argument("--frames", type=int, default=30, help="looks at a held photo at most; 0 leaves them out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write PNG pictures there")
    return parser


def main() -> int:
    """Measure, print tables, write what was asked for; 1 where the kiosk read a code that is not there."""
    parser = options()
    parsed = parser.parse_args()
    cv2.setNumThreads(1)
    console = Console(width=None if sys.stdout.isatty() else 120)
    published = boofcv.is_boofcv(parsed.corpus)
    half = parsed.half or ("even" if published else "all")
    photos = sampled((boofcv.photos if published else photos_in)(parsed.corpus, half), parsed.sample)
    code_free = code_free_in(parsed.corpus) + (code_free_in(parsed.empty, whole=True) if parsed.empty else [])
    if not photos:
        parser.error(f"no image with a .txt or .bin beside it in this folder, outside {CODE_FREE}*")
    able, lacking = rivals.engines((parsed.rival or rivals.USUAL), parsed.wechat_models)
    for sentence in lacking:
        console.print(sentence, style="yellow", soft_wrap=True)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=len(photos))
        results = measure(photos, code_free, parsed.size, able, parsed.frames, lambda: progress.advance(task))
    size = NATIVE if parsed.size is None else "x".join(map(str, parsed.size))
    for name in results.skipped:
        console.print(f"not measured, OpenCV {cv2.__version__} cannot open it: {name}", style="yellow")
    about = {"corpus": parsed.corpus.name, "half": half, "size": size, "cores": os.cpu_count()}
    told = {
        **about,
        "photos": len(results.photos),
        "with": machine(),
        **figures(results, boofcv.LOTS if published else ""),
    }
    told["published"] = boofcv.published(parsed.corpus, half) if published and not parsed.sample else {}
    for table in tables(told):
        console.print(table)
    if parsed.json:
        parsed.json.write_text(json.dumps({**told, "reads": results.photos}, indent=1) + "\n", encoding="utf-8")
    if parsed.plots:
        console.print("written:", *(path.name for path in draw(told, parsed.plots)))
    return int(any(told["readers"][name]["code_free_reads"] for name in (FIRST_LOOK, ALL_RUNGS)))


if __name__ == "__main__":
    sys.exit(main())
