"""What codes a photo holds, and what a reader's answer is worth.

Decides when a read is right. Refuses to know readers and times. Called by `benchmarks/reading.py` and `boofcv.py`.

A read belongs to the code around its middle. It is right where the code's text is known and the same; where nobody
knows the text, place alone counts ("untold"): a QR code corrects its errors or gives nothing. A known text at no code's
place counts for the first unread code that has it: corners can be wrong, and in six photos of the BoofCV set are. Wrong
is a text that no code in the photo has.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import cv2
import numpy as np

from kiosk.camera import IMAGE_SUFFIXES, luma_of_file
from kiosk.engines import Luma

OTHER_CHARSETS = ("shift_jis", "latin-1", "gbk")
"""Of samples whose codes name none: the bytes are right, and a kiosk refuses them as no UTF-8."""
CODE_FREE = "falsepositives"
"""How folders begin whose pictures hold no QR code."""

Corners = Sequence[tuple[float, float]]
Tells = Callable[[bytes], bool]
PlacedRead = tuple[bytes, Corners]


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One code. `corners` in pixels of the photo, None: anywhere in it. `tells` is None where nobody knows the text."""

    corners: Corners | None = None
    tells: Tells | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A file and the codes in it."""

    group: str
    file: Path
    codes: tuple[Code, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one answer is worth. `read` holds positions in the photo's codes; `right`: at least one text is there."""

    read: frozenset[int] = frozenset()
    untold: frozenset[int] = frozenset()
    right: bool = False
    wrong: int = 0


def plain(text: str) -> str:
    """Text as it is compared."""
    return unicodedata.normalize("NFC", text).strip()


def teller(*texts: str) -> Tells:
    """What tells whether a payload is one of these texts: strict UTF-8 first, as `kiosk.credentials` reads it."""
    right = {plain(text) for text in texts}

    def tells(payload: bytes) -> bool:
        try:
            return plain(payload.decode()) in right
        except UnicodeDecodeError:
            return any(plain(payload.decode(charset, "replace")) in right for charset in OTHER_CHARSETS)

    return tells


def middle(corners: Corners) -> tuple[float, float]:
    """The mean of the corners."""
    return mean(x for x, _ in corners), mean(y for _, y in corners)


def holds(corners: Corners, point: tuple[float, float]) -> bool:
    """Whether a point lies within the corners or on an edge."""
    outline = np.array(corners, dtype=np.float32).reshape(-1, 1, 2)
    return cv2.pointPolygonTest(cv2.convexHull(outline), point, measureDist=False) >= 0


def judge(codes: Sequence[Code], reads: Iterable[PlacedRead]) -> Score:
    """Compare an answer with the truth; each code counts once, and so does each wrong text."""
    read: set[int] = set()
    untold: set[int] = set()
    right, wrong = False, set()
    for payload, quad in reads:
        here = [at for at, code in enumerate(codes) if code.corners is None or holds(code.corners, middle(quad))]
        told = [at for at in here if (tells := codes[at].tells) and tells(payload)]
        unknown = [at for at in here if codes[at].tells is None]
        if told:
            read.add(next((at for at in told if at not in read), told[0]))
            right = True
        elif unknown:
            read.add(unknown[0])
            untold.add(unknown[0])
        elif elsewhere := [at for at, code in enumerate(codes) if code.tells and code.tells(payload)]:
            read.update([] if here else [at for at in elsewhere if at not in read][:1])
            right = True
        else:
            wrong.add(payload)
    return Score(read=frozenset(read), untold=frozenset(untold), right=right or bool(untold), wrong=len(wrong))


def gains(scores: Mapping[str, Score]) -> dict[str, tuple[int, int]]:
    """By rung, in the order given: how many codes no earlier rung read, and how many no other rung read."""
    found, earlier = {}, set[int]()
    for name, score in scores.items():
        others = {at for rung, other in scores.items() if rung != name for at in other.read}
        found[name] = len(score.read - earlier), len(score.read - others)
        earlier |= score.read
    return found


def half_of(files: Sequence[Path], half: str) -> list[Path]:
    """Those at even or odd positions, counted from 0, or all."""
    return list(files[{"even": slice(0, None, 2), "odd": slice(1, None, 2), "all": slice(None)}[half]])


def pictures_in(folder: Path) -> dict[Path, list[Path]]:
    """Images by the folder that holds them, both sorted."""
    found: dict[Path, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            found.setdefault(file.parent, []).append(file)
    return found


def tells_of(photo: Path) -> Tells | None:
    """What the .bin or .txt beside a photo says."""
    if photo.with_suffix(".bin").exists():
        return photo.with_suffix(".bin").read_bytes().__eq__
    if photo.with_suffix(".txt").exists():
        return teller(photo.with_suffix(".txt").read_bytes().decode())
    return None


def photos_in(folder: Path, half: str) -> Iterator[Photo]:
    """Every image with a truth beside it, one code each; the rest is left out."""
    for place, files in pictures_in(folder).items():
        told = [(file, tells) for file in files if (tells := tells_of(file))]
        kept = set(half_of([file for file, _ in told], half))
        for file, tells in told:
            if file in kept and not place.name.startswith(CODE_FREE):
                yield Photo(group=place.name, file=file, codes=(Code(tells=tells),))


def code_free_in(folder: Path, *, whole: bool = False) -> list[Photo]:
    """The images without any code: those in folders called so, or the whole folder where the caller says so."""
    return [
        Photo(group=place.name, file=file, codes=())
        for place, files in pictures_in(folder).items()
        for file in files
        if whole or place.name.startswith(CODE_FREE)
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """A photo as a camera of some size gives it."""

    luma: Luma
    scale: float

    def placed(self, reads: Iterable[PlacedRead]) -> list[PlacedRead]:
        """Reads in pixels of the photo."""
        return [(payload, [(x / self.scale, y / self.scale) for x, y in quad]) for payload, quad in reads]


def show(file: Path, size: tuple[int, int] | None) -> Shown | None:
    """Open a photo, made smaller until it fits; None where it is no image that OpenCV knows.

    `size` is the longer and the shorter side, so that a frame is turned as the photo is; None: the photo's own. There
    is no border: engines would spend time on it.
    """
    luma = luma_of_file(np.frombuffer(file.read_bytes(), dtype=np.uint8))
    if luma is None:
        return None
    scale = min(1.0, size[0] / max(luma.shape), size[1] / min(luma.shape)) if size else 1.0
    if scale == 1.0:
        return Shown(luma=luma, scale=scale)
    small = cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Shown(luma=np.asarray(small, dtype=np.uint8), scale=scale)


@dataclass(slots=True)
class Tally:
    """What one reader did with the photos of one group."""

    pictures: int = 0
    right: int = 0
    codes: int = 0
    read: int = 0
    untold: int = 0
    wrong: int = 0
    ms: list[float] = field(default_factory=list)

    def add(self, codes: int, score: Score, ms: float) -> None:
        """Count one more photo."""
        self.pictures += 1
        self.right += score.right
        self.codes += codes
        self.read += len(score.read)
        self.untold += len(score.untold)
        self.wrong += score.wrong
        self.ms.append(ms)

    def figures(self) -> dict[str, Any]:
        """What it did, in numbers."""
        counts = ("pictures", "right", "codes", "read", "untold", "wrong")
        return {name: getattr(self, name) for name in counts} | times(self.ms)


def times(ms: Sequence[float]) -> dict[str, float | None]:
    """Mean, median, and what only one in twenty exceeds."""
    if not ms:
        return {"mean_ms": None, "median_ms": None, "p95_ms": None}
    return {"mean_ms": mean(ms), "median_ms": median(ms), "p95_ms": sorted(ms)[int(0.95 * (len(ms) - 1))]}


def summary(groups: dict[str, Tally], left_out: str = "") -> dict[str, Any]:
    """All groups of one reader together.

    `images_percent`: photos with at least one code read right, without the group left out. `macro_percent`: the mean
    over the groups of the share of codes read, as the published comparison counts.
    """
    counted = [tally for name, tally in groups.items() if name != left_out]
    pictures, codes = sum(tally.pictures for tally in counted), sum(tally.codes for tally in groups.values())
    return {
        "images_percent": 100 * sum(tally.right for tally in counted) / pictures if pictures else None,
        "macro_percent": 100 * mean(tally.read / tally.codes for tally in groups.values()),
        "codes_percent": 100 * sum(tally.read for tally in groups.values()) / codes,
        "wrong": sum(tally.wrong for tally in groups.values()),
        "untold": sum(tally.untold for tally in groups.values()),
        **times([ms for tally in groups.values() for ms in tally.ms]),
    }
