"""Engines that read codes in a picture, and repairs that a picture may need before one can.

Decides how each engine is called so that it gives exact bytes. Refuses to know frames, order and cost: that is the
ladder's (`kiosk.decoder`), its only caller.

An engine is `(luma) -> [(payload, quad), ...]`; every one gives the bytes that were encoded, never text that passed
through a guess of the character set. A repair is `(luma) -> luma`, and zxing-cpp reads what it gives.
"""

import ctypes
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from kiosk.errors import KioskError
from kiosk.messages import Quad

Luma = NDArray[np.uint8]
Read = tuple[bytes, Quad]
Engine = Callable[[Luma], list[Read]]
Repair = Callable[[Luma], Luma]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a code is that could not be read. What its format information says is None where that is unreadable too.

    `quad` goes through the outer corners of the code itself, without its quiet zone; `version` is 1 to 40, `level` one
    of L, M, Q, H, `mask` 0 to 7 (ISO/IEC 18004, 7.8 and 7.9).
    """

    quad: Quad
    version: int | None = None
    level: str | None = None
    mask: int | None = None


_MODEL_2 = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)

_Found = tuple[list[Read], list[Place]]


def quad_of(corners: Iterable[tuple[float, float]]) -> Quad:
    """Whole pixels."""
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
        quad = quad_of([(corner.x, corner.y) for corner in corners])
        if code.valid:
            reads.append((code.bytes, quad))
        else:
            places.append(_place(quad, cast("Mapping[str, Any] | None", code.extra) or {}))
    return reads, places


def _place(quad: Quad, extra: Mapping[str, Any]) -> Place:
    """What zxing-cpp tells of a code whose format information it could read."""
    if not {"Version", "ECLevel", "DataMask"} <= extra.keys():
        return Place(quad=quad)
    return Place(quad=quad, version=int(extra["Version"]), level=str(extra["ECLevel"]), mask=int(extra["DataMask"]))


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
        return [
            (payload, quad_of([(x * shrink, y * shrink) for x, y in quad])) for payload, quad in read_zxing(picture)
        ]

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
                reads.append((payload, quad_of(corners)))
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
        return [(payload, quad_of(corners[0].tolist()))] if payload else []

    def _exactly(self, modules: cv2.typing.MatLike) -> bytes:
        quiet = np.pad(modules, self._QUIET_MODULES, constant_values=255)
        drawn = quiet.repeat(self._MODULE_PX, axis=0).repeat(self._MODULE_PX, axis=1)
        reads = read_zxing(drawn.astype(np.uint8))
        return reads[0][0] if reads else b""
