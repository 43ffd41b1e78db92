"""The truth of the BoofCV set as published: 536 photos in 16 categories, 1,232 codes by their corners.

Decides what text each code has: `results.zip` holds what seven engines answered in 2023, text and place, and the text
that most of them give at a place is the code's; where two have as many voices, both are. One engine has no voice, as
its trial version masks the ends of texts. A code that none of them read stays untold. None of the readers measured
here has a voice either: they are judged, not asked. Called by `benchmarks/reading.py`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from truth import Code, Corners, Photo, Tally, half_of, holds, judge, middle, pictures_in, plain, summary, teller

ENGINES = ("BoofCV", "Commercial SDK A", "Commercial SDK B", "Dynamsoft", "OpenCV WeChat", "ZBar", "ZXing")
MASKED = "Commercial SDK B"
LOTS = "lots"
"""Seven photos with 420 codes: left out where photos are counted, a category like each other where codes are."""
MARKS = ("results.zip", "detection_result_filenames.json")

Answers = Mapping[str, Sequence[tuple[str, Corners]]]
"""By engine: texts and where they were read."""


def is_boofcv(folder: Path) -> bool:
    """Whether a folder is that set."""
    return all((folder / mark).exists() for mark in MARKS)


def corners_of(found: Mapping[str, Any]) -> Corners:
    """Four corners, as these files spell them."""
    return [(float(found[f"x{at}"]), float(found[f"y{at}"])) for at in (1, 2, 3, 4)]


def votes(corners: Corners, answers: Answers) -> list[str]:
    """Give the text that most engines read within these corners; several where they are equal, none where none did."""
    voices: dict[str, set[str]] = defaultdict(set)
    for engine, reads in answers.items():
        for text, quad in reads:
            if engine != MASKED and plain(text) and holds(corners, middle(quad)):
                voices[plain(text)].add(engine)
    most = max(map(len, voices.values()), default=0)
    return sorted(text for text, engines in voices.items() if len(engines) == most)


def codes_of(places: Iterable[Corners], answers: Answers) -> tuple[Code, ...]:
    """The codes at these places, with their texts."""
    voted = [(corners, votes(corners, answers)) for corners in places]
    return tuple(Code(corners=corners, tells=teller(*texts) if texts else None) for corners, texts in voted)


def _answers(archive: ZipFile, stem: str) -> Answers:
    reads = {engine: json.loads(archive.read(f"{stem}-{engine}.json"))["results"] for engine in ENGINES}
    return {
        engine: [(str(found["barcodeText"]), corners_of(found)) for found in results]
        for engine, results in reads.items()
    }


def _each(folder: Path, half: str) -> Iterator[tuple[Photo, Answers]]:
    with ZipFile(folder / MARKS[0]) as archive:
        for place, files in pictures_in(folder).items():
            for file in half_of(files, half):
                stem = f"{place.name}/{file.stem}"
                answers = _answers(archive, stem)
                places = [corners_of(found) for found in json.loads(archive.read(f"{stem}.txt"))]
                yield Photo(group=place.name, file=file, codes=codes_of(places, answers)), answers


def photos(folder: Path, half: str) -> Iterator[Photo]:
    """Give the photos, category by category, with their codes."""
    return (photo for photo, _ in _each(folder, half))


def published(folder: Path, half: str) -> dict[str, dict[str, Any]]:
    """What each engine of 2023 read, at native size, counted here by the same rules; it has no times of ours."""
    tallies: dict[str, dict[str, Tally]] = {engine: defaultdict(Tally) for engine in ENGINES if engine != MASKED}
    for photo, answers in _each(folder, half):
        for engine, groups in tallies.items():
            reads = [(text.encode(), quad) for text, quad in answers[engine] if plain(text)]
            groups[photo.group].add(len(photo.codes), judge(photo.codes, reads), 0.0)
    wanted = ("images_percent", "macro_percent", "codes_percent", "wrong")
    summaries = {engine: summary(groups, LOTS) for engine, groups in tallies.items()}
    return {engine: {key: found[key] for key in wanted} for engine, found in summaries.items()}
