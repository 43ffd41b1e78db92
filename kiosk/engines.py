"""Engines that read codes in a picture, and repairs that a picture may need before one can.

Decides how each engine is called so that it gives exact bytes. Refuses to know frames, order and cost: that is the
ladder's (`kiosk.decoder`), its only caller.

An engine is `(luma) -> [(payload, quad), ...]`; every one gives the bytes that were encoded, never text that passed
through a guess of the character set. Where the code itself declares one, they are UTF-8; a part of a divided message is
a `Part` (docs/decisions/0009-text.md). A repair is `(luma) -> luma`, and zxing-cpp reads what it gives.
"""

import ctypes
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from kiosk.eci import payload_of, segments_of
from kiosk.errors import KioskError
from kiosk.messages import Quad
from kiosk.structured_append import Part, header_of

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


_HEX_ECI = zxingcpp.TextMode.HexECI
"""The only form in which zxing-cpp tells whether a code declares its character set, and which."""
_DECLARES = (b"2", b"4", b"6")
"""In the symbology identifier `]Q2` (ISO/IEC 18004, annex F)."""
_MODEL_2 = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)

Found = tuple[list[Read], list[Place]]
"""What was read, and where codes are that were not."""


def is_picture(luma: Luma) -> bool:
    """Whether an engine may be shown it: a driver at fault can give frames that break the promise of their type."""
    return luma.dtype == np.uint8 and luma.ndim == 2 and luma.size > 0  # noqa: PLR2004 - rows and columns


def quad_of(corners: Iterable[tuple[float, float]]) -> Quad:
    """Whole pixels."""
    first, second, third, fourth = ((round(x), round(y)) for x, y in corners)
    return first, second, third, fourth


def locate_zxing(luma: Luma) -> Found:
    """Every code zxing-cpp reads, and the place of every one it finds but cannot read.

    Model 2 only: with `QRCode` come Micro QR codes, whose smallest size corrects no errors and invents digits.
    """
    reads, places = [], []
    for code in zxingcpp.read_barcodes(luma, formats=_MODEL_2, text_mode=_HEX_ECI, return_errors=True):
        place = _place(code)
        if place and code.valid:
            reads.append((_payload(code, place), place.quad))
        elif place:
            places.append(place)
    return reads, places


def read_places(luma: Luma) -> list[Place]:
    """Where the codes are that zxing-cpp reads, and what versions they have; for a technician, not for a door."""
    codes = zxingcpp.read_barcodes(luma, formats=_MODEL_2)
    return [place for place in map(_place, codes) if place]


def _place(code: zxingcpp.Barcode) -> Place | None:
    """None for a Micro QR code, which may be found damaged although it was not asked for."""
    at = code.position
    quad = quad_of([(corner.x, corner.y) for corner in (at.top_left, at.top_right, at.bottom_right, at.bottom_left)])
    extra = cast("Mapping[str, Any] | None", code.extra) or {}
    if not {"Version", "ECLevel", "DataMask"} <= extra.keys():
        return Place(quad=quad)
    if not str(extra["Version"]).isdecimal():
        return None
    return Place(quad=quad, version=int(extra["Version"]), level=str(extra["ECLevel"]), mask=int(extra["DataMask"]))


def _payload(code: zxingcpp.Barcode, place: Place) -> bytes:
    """The bytes of a code; in UTF-8 where it declares its character set; a `Part` where it is one."""
    sent = bytes.fromhex(code.text)
    segments = segments_of(sent[3:]) if sent[2:3] in _DECLARES else ((None, code.bytes),)
    dark = np.asarray(code.to_image(add_quiet_zones=False)) == 0
    header = None
    if place.version is not None and place.level is not None and place.mask is not None:
        header = header_of(dark, place.version, place.level, place.mask)
    return Part(header, segments) if header else payload_of(segments)


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


_LIFT = (255 * (np.arange(256) / 255) ** 0.45).astype(np.uint8)


def lifted(luma: Luma) -> Luma:
    """Dark parts spread out beside a bright lamp or window: gamma 0.45."""
    return np.asarray(cv2.LUT(luma, _LIFT), dtype=np.uint8)


def looked_at(repair: Repair, luma: Luma) -> Found:
    """What zxing-cpp reads and finds in the repaired picture, in pixels of the one before."""
    picture = repair(luma)
    shrink = luma.shape[1] / picture.shape[1]
    reads, places = locate_zxing(picture)
    return (
        [(payload, _shrunk(quad, shrink)) for payload, quad in reads],
        [replace(place, quad=_shrunk(place.quad, shrink)) for place in places],
    )


def _shrunk(quad: Quad, shrink: float) -> Quad:
    return quad_of((x * shrink, y * shrink) for x, y in quad)


def repaired(repair: Repair) -> Engine:
    """Give the engine that is zxing-cpp on the repaired picture."""
    return lambda luma: looked_at(repair, luma)[0]


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
