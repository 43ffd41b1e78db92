"""Frame to sightings: a ladder of reading engines, cheapest first.

Decides which engine looks at which part of a frame, and how often. Refuses to know what a payload means, what was
read in earlier frames, and what time it is. Called by the daemon's reader thread, one `Decoder` for each.

zxing-cpp looks at every frame. Where it found a code that it could not read, it looks at the sharpened crop too, and
one more rung at the crop: pyzbar and the repairs in turn. Where it found none, but somebody seems to be there, one of
the same looks at every third whole frame; else, at every thirtieth, pyzbar or OpenCV. So no frame pays for more than
one slow rung. docs/decisions/0005-engines.md has order, gains and times.
"""

from itertools import cycle, islice

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.clock import S
from kiosk.engines import (
    REPAIRS,
    Engine,
    Luma,
    Read,
    ReadOpencv,
    ReadPyzbar,
    locate_zxing,
    quad_of,
    repaired,
    sharpened,
)
from kiosk.messages import Frame, Quad, Sighting

Rung = tuple[str, Engine]

MOST_SIGHTINGS = 8
"""Of one frame: two people can hold up two codes; a wall of codes is an attack on the time of the judge."""
BLANK_FRAMES_PER_SEARCH = 30
"""About once a second at 30 fps: a whole-frame search costs about ten times what zxing-cpp costs."""
FRAMES_PER_WIDE_LOOK = 3
"""While somebody is there without a code that can be read: two frames in three stay quick, for a code may come into
focus in any of them. A wide look at every frame doubled the time from first readable frame to relay in the demo."""
SEARCH_NS = S
"""After a code was last read or found, frames without one are searched for so long: it is held badly, not gone."""
MARGIN_PER_SIDE = 3
"""A crop reaches a third of the code's size beyond it: a quiet zone, and a corner that was placed badly."""


def _crop(luma: Luma, quad: Quad) -> tuple[Luma, tuple[int, int]]:
    """The code with its margin, and where the crop's corner lies in the frame."""
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    reach_x, reach_y = (max(xs) - min(xs)) // MARGIN_PER_SIDE + 1, (max(ys) - min(ys)) // MARGIN_PER_SIDE + 1
    left, top = max(0, min(xs) - reach_x), max(0, min(ys) - reach_y)
    return luma[top : max(ys) + reach_y, left : max(xs) + reach_x], (left, top)


def _moved(quad: Quad, by: tuple[int, int]) -> Quad:
    return quad_of([(x + by[0], y + by[1]) for x, y in quad])


class Stir:
    """Tells whether a frame differs from what the door has looked like lately.

    In a thumbnail, so that noise averages out; against a slow average, so that somebody who stands still stays seen
    for some seconds. Wrong answers cost time only.
    """

    _SIZE = 80, 45
    _ROW_STEP = 4
    """A quarter of the rows averages the noise well enough, in a quarter of the time."""
    _LEARNED_PER_FRAME = 0.01
    _LEAST_GREY = 2.0
    _LEAST_SHARE = 0.04
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
        differs = np.abs(now - self._usual) > self._LEAST_GREY + self._LEAST_SHARE * self._usual
        self._usual += self._LEARNED_PER_FRAME * (now - self._usual)
        return int(np.count_nonzero(differs)) >= self._LEAST_CELLS


class Decoder:
    """Reads frames. It keeps whose turn it is and how the door usually looks, so one belongs to one thread.

    Raises:
        KioskError: an engine is not installed.
    """

    def __init__(self) -> None:
        pyzbar: Rung = ("pyzbar", ReadPyzbar())
        opencv: Rung = ("opencv", ReadOpencv())
        repairs: list[Rung] = [(f"zxing-cpp {repair.__name__}", repaired(repair)) for repair in REPAIRS]
        self._sharpened = repaired(sharpened)
        self._closer = cycle((pyzbar, *repairs))
        self._wider = cycle((*repairs, pyzbar))
        self._idle = cycle((pyzbar, opencv))
        self._blank = 0
        self._sought = 0
        self._search_until_ns = 0
        self._stir = Stir()

    def read(self, frame: Frame) -> tuple[Sighting, ...]:
        """All codes of the frame, each payload once. Never raises, whatever the picture."""
        if frame.luma.size == 0:
            return ()
        reads, places = locate_zxing(frame.luma)
        engine = "zxing-cpp"
        if reads or places:
            self._search_until_ns = frame.captured_ns + SEARCH_NS
        if not reads and places:
            engine, reads = self._look_closer(frame.luma, places[0].quad)
        elif not reads:
            engine, reads = self._search(frame)
        return _sightings(frame, engine, reads)

    def _look_closer(self, luma: Luma, place: Quad) -> tuple[str, list[Read]]:
        """A code is there. It stays for many frames, so the slow rungs take turns and each frame pays for one."""
        crop, corner = _crop(luma, place)
        engine, reads = "zxing-cpp", self._sharpened(crop)
        if not reads:
            engine, look = next(self._closer)
            reads = look(crop)
        return engine, [(payload, _moved(quad, corner)) for payload, quad in reads]

    def _search(self, frame: Frame) -> tuple[str, list[Read]]:
        """No code was found: zxing-cpp finds none that is too small, blurred or dark, or lacks its quiet zone."""
        stirred = self._stir(frame.luma)
        self._blank += 1
        if stirred or frame.captured_ns < self._search_until_ns:
            self._sought += 1
            if self._sought % FRAMES_PER_WIDE_LOOK:
                return "", []
            engine, look = next(self._wider)
        elif self._blank % BLANK_FRAMES_PER_SEARCH == 0:
            engine, look = next(self._idle)
        else:
            return "", []
        return engine, look(frame.luma)


def _sightings(frame: Frame, engine: str, reads: list[Read]) -> tuple[Sighting, ...]:
    first_place: dict[bytes, Quad] = {}
    for payload, quad in reads:
        if payload:
            first_place.setdefault(payload, quad)
    sightings = (
        Sighting(payload=payload, engine=engine, frame_number=frame.number, captured_ns=frame.captured_ns, quad=quad)
        for payload, quad in first_place.items()
    )
    return tuple(islice(sightings, MOST_SIGHTINGS))
