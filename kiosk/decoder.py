"""Frame to sightings: a ladder of reading engines, cheapest first.

Decides which engine looks at which part of a frame, and how often. Refuses to know what a payload means, what was
read in earlier frames, and what time it is. Called by the daemon's reader thread, one `Decoder` for each.

zxing-cpp looks at every frame. Where it found a code that it could not read, it looks at the sharpened crop too, and
one more rung at the crop: pyzbar and the repairs in turn. Where it found none, but somebody seems to be there, one of
the same looks at every third whole frame; else, at every thirtieth, pyzbar or OpenCV. So no frame pays for more than
one slow rung. docs/decisions/0005-engines.md has order, gains and times.

An engine is `(luma) -> [(payload, quad), ...]`; every one gives the bytes that were encoded, never text that passed
through a guess of the character set. A repair is `(luma) -> luma`, and zxing-cpp reads what it gives.
"""

import ctypes
import weakref
from collections.abc import Callable
from itertools import cycle, islice

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from kiosk.clock import S
from kiosk.errors import KioskError
from kiosk.messages import Frame, Quad, Sighting

Luma = NDArray[np.uint8]
Read = tuple[bytes, Quad]
Engine = Callable[[Luma], list[Read]]
Repair = Callable[[Luma], Luma]
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

_MODEL_2 = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)

_Found = tuple[list[Read], list[Quad]]


def _quad(corners: list[tuple[float, float]]) -> Quad:
    first, second, third, fourth = ((round(x), round(y)) for x, y in corners)
    return first, second, third, fourth


def locate_zxing(luma: Luma) -> _Found:
    """Every code zxing-cpp reads, and the place of every one it finds but cannot read.

    Model 2 only: with `QRCode` come Micro QR codes, whose smallest size corrects no errors and invents digits.
    """
    reads, places = [], []
    for code in zxingcpp.read_barcodes(luma, formats=_MODEL_2, return_errors=True):
        at = code.position
        corners = (at.top_left, at.top_right, at.bottom_right, at.bottom_left)
        quad = _quad([(corner.x, corner.y) for corner in corners])
        if code.valid:
            reads.append((code.bytes, quad))
        else:
            places.append(quad)
    return reads, places


def read_zxing(luma: Luma) -> list[Read]:
    """zxing-cpp alone."""
    return locate_zxing(luma)[0]


def _sharper(luma: Luma, sigma: float, amount: float) -> Luma:
    """Doubled, then the difference to its blurred self added so many times."""
    doubled = cv2.resize(luma, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    sharp = cv2.addWeighted(doubled, 1 + amount, cv2.GaussianBlur(doubled, (0, 0), sigma), -amount, 0)
    return np.asarray(sharp, dtype=np.uint8)


def sharpened(luma: Luma) -> Luma:
    """Undoes slight defocus without raising noise much."""
    return _sharper(luma, 3, 1.5)


def deblurred(luma: Luma) -> Luma:
    """Undoes defocus up to 0.6 modules, and shows modules of 1.5 pixels."""
    return _sharper(luma, 4, 6)


def spread(luma: Luma) -> Luma:
    """Grey levels spread over the whole range, once single noisy pixels are gone: for darkness and for haze."""
    return np.asarray(cv2.normalize(cv2.medianBlur(luma, 3), np.empty_like(luma), 0, 255, cv2.NORM_MINMAX), np.uint8)


REPAIRS: tuple[Repair, ...] = (spread, deblurred)
"""In the order of their turns, on crops and on whole frames."""


def repaired(repair: Repair) -> Engine:
    """Give the engine that is zxing-cpp on the repaired picture."""

    def read(luma: Luma) -> list[Read]:
        picture = repair(luma)
        shrink = luma.shape[1] / picture.shape[1]
        return [(payload, _quad([(x * shrink, y * shrink) for x, y in quad])) for payload, quad in read_zxing(picture)]

    return read


class ReadPyzbar:
    """zbar through pyzbar's bindings. Not for two threads at a time.

    `pyzbar.decode` cannot ask for raw bytes: zbar then guesses Shift-JIS or Latin-1 and re-encodes. So the scanner is
    our own, with configuration BINARY.

    Raises:
        KioskError: libzbar is absent, or too old for BINARY.
    """

    _ANY_SYMBOLOGY = 0
    _QR_CODE = 64
    _ENABLE = 0
    _BINARY = 4
    """zbar.h, zbar_config_t; pyzbar's own enumeration stops before it."""
    _GREY = int.from_bytes(b"Y800", "little")

    def __init__(self) -> None:
        try:
            from pyzbar import wrapper  # noqa: PLC0415 - loads libzbar, which the package can be imported without
        except ImportError as error:
            raise KioskError("pyzbar cannot load libzbar: apt install libzbar0 (Debian 13: libzbar0t64)") from error
        self._zbar = wrapper
        self._components = wrapper.zbar_function(
            "zbar_symbol_get_components", ctypes.c_void_p, ctypes.POINTER(wrapper.zbar_symbol)
        )
        self._scanner = wrapper.zbar_image_scanner_create()
        weakref.finalize(self, wrapper.zbar_image_scanner_destroy, self._scanner)
        self._set(self._ANY_SYMBOLOGY, self._ENABLE, 0)
        self._set(self._QR_CODE, self._ENABLE, 1)
        self._set(self._QR_CODE, self._BINARY, 1)

    def _set(self, symbology: int, setting: int, value: int) -> None:
        if self._zbar.zbar_image_scanner_set_config(self._scanner, symbology, setting, value):
            raise KioskError("libzbar refuses to give raw bytes: install zbar 0.23.90 or newer (apt upgrade libzbar0)")

    def __call__(self, luma: Luma) -> list[Read]:
        """Every whole code zbar reads; light codes on dark ground are beyond it."""
        pixels = np.ascontiguousarray(luma)
        image = self._zbar.zbar_image_create()
        try:
            self._zbar.zbar_image_set_format(image, self._GREY)
            self._zbar.zbar_image_set_size(image, luma.shape[1], luma.shape[0])
            self._zbar.zbar_image_set_data(image, pixels.ctypes.data, pixels.nbytes, None)
            self._zbar.zbar_scan_image(self._scanner, image)
            return self._reads(image)
        finally:
            self._zbar.zbar_image_destroy(image)

    def _reads(self, image: object) -> list[Read]:
        """Leaves out structured append: zbar joins the parts, and marks a missing one with a NUL."""
        zbar, reads = self._zbar, []
        symbol = zbar.zbar_image_first_symbol(image)
        while symbol:
            if symbol.contents.type == self._QR_CODE and not self._components(symbol):
                length = zbar.zbar_symbol_get_data_length(symbol)
                payload = ctypes.string_at(zbar.zbar_symbol_get_data(symbol), length)
                # zbar goes counter-clockwise from the code's own top left.
                corners = [
                    (zbar.zbar_symbol_get_loc_x(symbol, at), zbar.zbar_symbol_get_loc_y(symbol, at))
                    for at in (0, 3, 2, 1)
                ]
                reads.append((payload, _quad(corners)))
            symbol = zbar.zbar_symbol_next(symbol)
        return reads


class ReadOpencv:
    """OpenCV's detector with the finder of its ArUco module: half the time of the default one, and it finds more.

    OpenCV takes bytes that are no UTF-8 for Latin-1 and re-encodes them, and its text ends at a NUL. So its own answer
    never counts: zxing-cpp reads the modules that OpenCV found and sampled, and if it cannot, none is given.
    """

    _QUIET_MODULES = 4
    _MODULE_PX = 4

    def __init__(self) -> None:
        self._detector = cv2.QRCodeDetectorAruco()

    def __call__(self, luma: Luma) -> list[Read]:
        """At most one code."""
        try:
            _, corners, modules = self._detector.detectAndDecode(luma)
        except (cv2.error, UnicodeDecodeError):
            # Kanji that its build cannot decode (-213), and assertions on degenerate finder patterns.
            return []
        payload = b"" if modules is None else self._exactly(modules)
        return [(payload, _quad(corners[0].tolist()))] if payload else []

    def _exactly(self, modules: cv2.typing.MatLike) -> bytes:
        quiet = np.pad(modules, self._QUIET_MODULES, constant_values=255)
        drawn = quiet.repeat(self._MODULE_PX, axis=0).repeat(self._MODULE_PX, axis=1)
        reads = read_zxing(drawn.astype(np.uint8))
        return reads[0][0] if reads else b""


def _crop(luma: Luma, quad: Quad) -> tuple[Luma, tuple[int, int]]:
    """The code with its margin, and where the crop's corner lies in the frame."""
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    reach_x, reach_y = (max(xs) - min(xs)) // MARGIN_PER_SIDE + 1, (max(ys) - min(ys)) // MARGIN_PER_SIDE + 1
    left, top = max(0, min(xs) - reach_x), max(0, min(ys) - reach_y)
    return luma[top : max(ys) + reach_y, left : max(xs) + reach_x], (left, top)


def _moved(quad: Quad, by: tuple[int, int]) -> Quad:
    return _quad([(x + by[0], y + by[1]) for x, y in quad])


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
            engine, reads = self._look_closer(frame.luma, places[0])
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
