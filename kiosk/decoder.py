"""Frame to sightings: a ladder of reading engines, cheapest first, on two threads.

Decides which engine looks at which part of a frame, and how often. Refuses to know what a payload means and what time
it is. The daemon's decode thread owns one `Reader`, its search thread one `Searcher`.

`Reader` keeps up with the camera: zxing-cpp looks at every frame, and at the sharpened crop where it found a small
code that it could not read. What it could not read, it hands on: the newest such frame is `Searcher`'s, which puts
together what many frames show of one code (`kiosk.fusion`), and gives each frame one slow rung in turn.
docs/decisions/0005-engines.md has order, gains and times.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk import glimpses
from kiosk.clock import S
from kiosk.engines import (
    Engine,
    Found,
    Luma,
    Place,
    Read,
    ReadPyzbar,
    deblurred,
    is_picture,
    lifted,
    locate_zxing,
    looked_at,
    quad_of,
    read_zxing,
    repaired,
    sharpened,
)
from kiosk.fusion import Afterimage, Fusion, look_at, mended, places_in
from kiosk.layouts import read_found
from kiosk.messages import Frame, Glimpse, Quad, Sighting

Rung = tuple[str, Engine]
Finding = Callable[[Luma], Found]
FUSED = "fusion"

MOST_SIGHTINGS = 8
"""Of one frame: two people can hold up two codes; a wall of codes is an attack on the time of the judge."""
IDLE_FRAMES_PER_LOOK = 3
"""Where nothing stirs: what comes to the door stirs, and is looked at in its first frame."""
IDLE_FRAMES_PER_WIDE_LOOK = 90
"""Every three seconds at 30 fps: a whole-frame search costs about twenty times what zxing-cpp costs."""
SEARCH_NS = S
"""After a code was last read or found, frames without one are searched for so long: it is held badly, not gone."""
MOST_FUSED = 2
"""Places tried in one frame: about 15 ms each, and a decoy may come first."""
LONGEST_PX = 1280
"""Side of a picture that the slow rungs look at."""
MARGIN_PER_SIDE = 3
"""A crop reaches a third of the code's size beyond it: a quiet zone, and a corner that was placed badly."""
QUICK_CROP_PX = 320 * 320
"""The largest crop that the quick look sharpens itself: about 5 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A frame that the quick look could not read whole. `places` is empty where no code was found, but may be there."""

    frame: Frame
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the quick look at one frame gave: at most eight sightings, else what is left to search.

    `glimpse` is of the first code that was found and not read.
    """

    sightings: tuple[Sighting, ...] = ()
    wanted: Wanted | None = None
    glimpse: Glimpse | None = None


def crop_of(luma: Luma, quad: Quad) -> tuple[Luma, tuple[int, int]]:
    """The code with its margin, and where the crop's corner lies in the frame."""
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    reach_x, reach_y = (max(xs) - min(xs)) // MARGIN_PER_SIDE + 1, (max(ys) - min(ys)) // MARGIN_PER_SIDE + 1
    left, top = max(0, min(xs) - reach_x), max(0, min(ys) - reach_y)
    return luma[top : max(top, max(ys) + reach_y), left : max(left, max(xs) + reach_x)], (left, top)


def in_crop(engine: Engine, luma: Luma, quad: Quad) -> list[Read]:
    """What an engine reads around one place, in pixels of the frame."""
    crop, (left, top) = crop_of(luma, quad)
    reads = engine(crop) if crop.size else []
    return [(payload, quad_of((x + left, y + top) for x, y in found)) for payload, found in reads]


class Stir:
    """Tells whether a frame differs from what the door has looked like lately.

    In a thumbnail, so that noise averages out; against a slow average, so that somebody who stands still stays seen
    for some seconds. Wrong answers cost time only.
    """

    _SIZE = 80, 45
    _ROW_STEP = 4
    """A quarter of the rows averages the noise well enough, in a quarter of the time."""
    _LEARNED_PER_FRAME = 0.01
    _NEAR = 3, 3
    """Cells that are averaged once more: what comes is larger than one, noise is not."""
    _LEAST_GREY = 0.7
    """In a deep dusk a code is a grey level off; a sensor's noise of 3 grey levels is 0.1 in this average."""
    _LEAST_SHARE = 0.05
    """Of the brightness there: lamps flicker by a few percent."""
    _LEAST_CELLS = 12
    """A code of 60 pixels a side in 1280x720."""

    def __init__(self) -> None:
        self._usual: NDArray[np.float32] | None = None

    def __call__(self, luma: Luma) -> bool:
        """Compare, then learn."""
        now = cv2.resize(luma[:: self._ROW_STEP], self._SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        if self._usual is None:
            self._usual = now
        differs = np.abs(cv2.blur(now - self._usual, self._NEAR)) > self._LEAST_GREY + self._LEAST_SHARE * self._usual
        self._usual += self._LEARNED_PER_FRAME * (now - self._usual)
        return int(np.count_nonzero(differs)) >= self._LEAST_CELLS


class Reader:
    """The quick look. It keeps how the door usually looks, so one belongs to one thread."""

    def __init__(self) -> None:
        self._sharpened = repaired(sharpened)
        self._frames = -1
        self._awake_until_ns = 0
        self._stir = Stir()

    def look(self, frame: Frame) -> Look:
        """Read what can be read at once. Never raises, whatever the picture."""
        if not is_picture(frame.luma):
            return Look()
        self._frames += 1
        awake = self._is_awake(frame)
        if not awake and self._frames % IDLE_FRAMES_PER_LOOK:
            return Look()
        reads, places = locate_zxing(frame.luma)
        engine = "zxing-cpp"
        if reads or places:
            self._awake_until_ns = frame.captured_ns + SEARCH_NS
        if not reads and places and 0 < crop_of(frame.luma, places[0].quad)[0].size <= QUICK_CROP_PX:
            engine, reads = "zxing-cpp sharpened", in_crop(self._sharpened, frame.luma, places[0].quad)
        if reads:
            return Look(sightings=_sightings(frame, engine, reads))
        if places:
            # zxing-cpp may tell of a code without saying where: nothing to crop, still something to say.
            glimpse = glimpses.measure(frame.luma, places[0], frame.captured_ns, frame.exposure)
            return Look(wanted=Wanted(frame=frame, places=tuple(places)), glimpse=glimpse)
        searched = awake or (self._frames and self._frames % IDLE_FRAMES_PER_WIDE_LOOK == 0)
        return Look(wanted=Wanted(frame=frame)) if searched else Look()

    def _is_awake(self, frame: Frame) -> bool:
        """Whether somebody may be there: zxing-cpp finds no code that is too small, blurred, dark or without border."""
        return self._stir(frame.luma) or frame.captured_ns < self._awake_until_ns


class Searcher:
    """The slow rungs, one a frame in turn: a held-up code stays for many frames. One belongs to one thread.

    Raises:
        KioskError: an engine is not installed.
    """

    def __init__(self) -> None:
        self._pyzbar = ReadPyzbar()
        self._fusion, self._afterimage = Fusion(), Afterimage()
        self._close = cycle(self._close_rungs())
        self._wide = cycle(self._wide_rungs())

    def search(self, wanted: Wanted) -> Look:
        """Look at one frame with the rung whose turn it is. Never raises, whatever the picture."""
        frame = wanted.frame
        self._afterimage.add(frame.luma)
        if reads := self._fused(frame, wanted.places):
            return Look(sightings=_sightings(frame, FUSED, reads))
        placed = [place for place in wanted.places if _area(place.quad)]
        if placed:
            engine, look = next(self._close)
            return Look(sightings=_sightings(frame, engine, in_crop(look, frame.luma, placed[0].quad)))
        engine, find = next(self._wide)
        reads, places = find(frame.luma)
        if not reads and places:
            engine, reads = FUSED, self._fused(frame, tuple(places))
        if reads or not places:
            return Look(sightings=_sightings(frame, engine, reads))
        return Look(glimpse=glimpses.measure(frame.luma, places[0], frame.captured_ns, frame.exposure))

    def _fused(self, frame: Frame, places: tuple[Place, ...]) -> list[Read]:
        """Add what the frame shows of a code that was found, or of the one that was followed until now."""
        for place in places[:MOST_FUSED] or (None,):
            if self._fusion.add(frame.luma, place, frame.captured_ns) and (reads := self._fusion.read()):
                return reads
        return []

    def _close_rungs(self) -> list[Rung]:
        """For the crop around a code that was found."""
        return [
            ("finders", read_found),
            ("zxing-cpp sharpened", repaired(sharpened)),
            ("zxing-cpp lifted", repaired(lifted)),
            ("zxing-cpp deblurred", repaired(deblurred)),
            ("pyzbar", self._pyzbar),
        ]

    def _wide_rungs(self) -> list[tuple[str, Finding]]:
        """For a whole frame in which no code was found. The afterimage tells places only: it may mix two codes."""
        after = self._afterimage
        return [
            ("afterimage", lambda _luma: ([], places_in(after.soft()))),
            ("zxing-cpp lifted", _smaller(partial(looked_at, lifted))),
            ("zxing-cpp deblurred", _smaller(partial(looked_at, deblurred))),
            ("afterimage evened", lambda _luma: ([], places_in(after.evened()))),
            ("afterimage deblurred", lambda _luma: ([], places_in(after.deblurred(), enlarged=2))),
            ("finders", _smaller(_only(read_found))),
            ("pyzbar", _smaller(_only(self._pyzbar))),
        ]

    def rungs(self) -> list[Rung]:
        """The ladder in order, each rung on a whole still: for measuring, and for explaining a picture."""
        close = [(f"{name} crop", _at_places(engine)) for name, engine in self._close_rungs()]
        wide: list[Rung] = [(name, _reads(find)) for name, find in self._wide_rungs() if "afterimage" not in name]
        first = [("zxing-cpp", read_zxing), ("zxing-cpp smaller", _reads(_smaller(locate_zxing))), ("mended", _mended)]
        return [*first, *close, *wide]


def _smaller(find: Finding) -> Finding:
    """Look at no more than `LONGEST_PX`: a slow rung on a photo of 12 megapixels takes seconds, and reads less."""

    def look(luma: Luma) -> Found:
        shrink = LONGEST_PX / max(luma.shape)
        if shrink >= 1:
            return find(luma)
        height, width = (max(1, round(side * shrink)) for side in luma.shape)
        reads, places = find(np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)))
        moved = [replace(place, quad=_enlarged(place.quad, shrink)) for place in places]
        return [(payload, _enlarged(quad, shrink)) for payload, quad in reads], moved

    return look


def _enlarged(quad: Quad, shrink: float) -> Quad:
    return quad_of((x / shrink, y / shrink) for x, y in quad)


def _only(engine: Engine) -> Finding:
    return lambda luma: (engine(luma), [])


def _reads(find: Finding) -> Engine:
    return lambda luma: find(luma)[0]


def _area(quad: Quad) -> float:
    return float(cv2.contourArea(np.array(quad, dtype=np.float32)))


def _mended(luma: Luma) -> list[Read]:
    looks = (look_at(luma, place) for place in locate_zxing(luma)[1])
    return [read for look in looks if look and (read := mended([look]))]


def _at_places(engine: Engine) -> Engine:
    def read(luma: Luma) -> list[Read]:
        places = [place for place in locate_zxing(luma)[1] if _area(place.quad)]
        return [found for place in places[:MOST_SIGHTINGS] for found in in_crop(engine, luma, place.quad)]

    return read


def _sightings(frame: Frame, engine: str, reads: Iterable[Read]) -> tuple[Sighting, ...]:
    first_place: dict[bytes, Quad] = {}
    for payload, quad in reads:
        if payload:
            first_place.setdefault(payload, quad)
    sightings = (
        Sighting(payload=payload, engine=engine, frame_number=frame.number, captured_ns=frame.captured_ns, quad=quad)
        for payload, quad in first_place.items()
    )
    return tuple(islice(sightings, MOST_SIGHTINGS))


class Decoder:
    """Both looks one after the other, on one thread: for a picture at a time, where nobody waits for the next.

    Raises:
        KioskError: an engine is not installed.
    """

    def __init__(self) -> None:
        self._reader, self._searcher = Reader(), Searcher()

    def read(self, frame: Frame) -> tuple[Sighting, ...]:
        """All codes that the quick look reads, else those of the slow rung whose turn it is. Never raises."""
        look = self._reader.look(frame)
        return self._searcher.search(look.wanted).sightings if look.wanted else look.sightings

    def rungs(self) -> list[Rung]:
        """See `Searcher.rungs`."""
        return self._searcher.rungs()

    def exhaust(self, luma: Luma) -> dict[str, list[Read]]:
        """What each rung reads in one picture, by its name, in the order of the ladder."""
        return {name: engine(luma) for name, engine in self.rungs()}
