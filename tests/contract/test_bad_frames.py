"""Frames that no camera should give, and pictures made to mislead or to keep the reader busy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import segno
from numpy.typing import NDArray

from kiosk.decoder import MOST_SIGHTINGS, Decoder, Searcher, Wanted
from kiosk.engines import Engine, is_picture, locate_zxing
from kiosk.messages import Frame
from tests.codes import ENGINES, Luma, code, drawn, placed

SHOWN = placed(code(b"hello"), size=(200, 300))
RING = np.maximum(*np.abs(np.mgrid[-4:5, -4:5]))
FINDER = np.where((RING == 2) | (RING == 4), 255, 0).astype(np.uint8)


def payloads(decoder: Decoder, luma: Luma, number: int = 0) -> list[bytes]:
    """What a frame of any kind gives."""
    return [sighting.payload for sighting in decoder.read(Frame(luma=luma, number=number, captured_ns=number))]


TURN = 7
"""Frames in which each rung of the search has had its turn."""


def searched(luma: Luma, looks: int = TURN) -> set[bytes]:
    """What the search gives, on each of its rungs: with the places that are found, and on the whole frame."""
    searcher = Searcher()
    places = tuple(place for place in locate_zxing(luma)[1] if len(set(place.quad)) == len(place.quad))
    wanted = [Wanted(frame=Frame(luma=luma, number=at, captured_ns=at)) for at in range(looks)]
    wanted += [Wanted(frame=one.frame, places=places) for one in wanted if places]
    found = [searcher.search(one).sightings for one in wanted]
    assert max(map(len, found)) <= MOST_SIGHTINGS
    return {sighting.payload for some in found for sighting in some}


def tiled(tile: Luma, size: tuple[int, int] = (240, 320)) -> Luma:
    """A whole picture of one thing."""
    rows, cols = size
    return np.ascontiguousarray(np.tile(tile, (rows // tile.shape[0] + 1, cols // tile.shape[1] + 1))[:rows, :cols])


def scaled(tile: NDArray[np.uint8], by: int) -> Luma:
    """Every pixel so many times."""
    return tile.repeat(by, axis=0).repeat(by, axis=1)


LAID_OUT = {
    "strided": scaled(SHOWN, 2)[::2, ::2],
    "backwards": SHOWN[::-1, ::-1],
    "by columns": np.asfortranarray(SHOWN),
    "turned": SHOWN.T,
    "within a larger one": np.pad(SHOWN, 9)[9:-9, 9:-9],
}


@pytest.mark.parametrize("luma", LAID_OUT.values(), ids=LAID_OUT.keys())
@pytest.mark.parametrize("make_engine", ENGINES.values(), ids=ENGINES.keys())
def test_how_a_picture_lies_in_memory_is_no_matter(make_engine: Callable[[], Engine], luma: Luma) -> None:
    """Views, column order and read-only memory are read like any other picture."""
    luma = luma.view()
    luma.setflags(write=False)
    assert [payload for payload, _ in make_engine()(luma)] == [b"hello"]


@pytest.mark.parametrize("dtype", [np.uint16, np.int8, np.float32, np.float64, np.bool_, object])
def test_pixels_of_another_kind_are_no_picture(dtype: type) -> None:
    """A driver that breaks the promise of 8-bit grey gives frames in which nothing is seen."""
    broken: NDArray[Any] = SHOWN.astype(dtype)
    assert not is_picture(broken)
    decoder = Decoder()
    assert [payloads(decoder, broken, number) for number in range(70)] == [[]] * 70


@pytest.mark.parametrize("shape", [(), (0,), (9,), (0, 640), (640, 0), (20, 30, 3), (20, 30, 1), (2, 2, 2, 2)])
def test_pictures_without_two_sides_are_none(shape: tuple[int, ...]) -> None:
    """Scalars, rows, colours and emptiness are not looked at."""
    assert not is_picture(np.zeros(shape, dtype=np.uint8))
    assert payloads(Decoder(), np.zeros(shape, dtype=np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (37, 501), (8, 16384)])
def test_no_picture_makes_the_decoder_raise(shape: tuple[int, int]) -> None:
    """Black, white and noise of any shape give no sighting through every rung of the ladder."""
    noise = np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)
    pictures = (np.zeros_like(noise), np.full_like(noise, 255), noise)
    decoder = Decoder()
    assert [payloads(decoder, luma, number) for number, luma in enumerate(pictures)] == [[]] * 3
    assert [searched(luma) for luma in pictures] == [set()] * 3


def nested() -> Luma:
    """A code in the middle of another, which error correction makes up for."""
    outer = drawn(segno.make_qr(b"outer", version=5, error="h"), scale=8)
    inner = drawn(segno.make_qr(b"inner", version=1), scale=1, border=2)
    middle = (outer.shape[0] - inner.shape[0]) // 2
    outer[middle : middle + inner.shape[0], middle : middle + inner.shape[1]] = inner
    return outer


def spoilt_micro() -> Luma:
    """Micro QR codes with holes."""
    micro = drawn(segno.make_micro("12345", version="M4"), scale=3, border=2)
    micro[20:26, 20:26] = 128
    return tiled(micro, (120, 180))


Y, X = np.mgrid[:240, :320]
CRAFTED: dict[str, tuple[Luma, set[bytes]]] = {
    "finder patterns": (tiled(scaled(FINDER, 2)), set()),
    "finder patterns of one pixel": (tiled(FINDER), set()),
    "rows like a finder pattern": (tiled(np.array([[0, 255, 0, 0, 0, 255, 0, 255]], dtype=np.uint8)), set()),
    "chessboard": (tiled(scaled(np.array([[0, 255], [255, 0]], dtype=np.uint8), 8)), set()),
    "moire": (((np.sin((X**2 + Y**2) / 900) + 1) * 127).astype(np.uint8), set()),
    "rings": (((np.hypot(X % 60 - 30, Y % 60 - 30) // 3 % 2) * 255).astype(np.uint8), set()),
    "Micro QR": (tiled(drawn(segno.make_micro("12345"), scale=3, border=2), (120, 180)), set()),
    "spoilt Micro QR": (spoilt_micro(), set()),
    "a wall of codes": (tiled(code(b"wall", scale=2)), {b"wall"}),
    "nested": (nested(), {b"outer", b"inner"}),
    "version 40, cut off": (code(bytes(2900), scale=2)[:300], set()),
}


@pytest.mark.parametrize(("luma", "there"), CRAFTED.values(), ids=CRAFTED.keys())
def test_a_crafted_picture_gives_no_wrong_text(luma: Luma, there: set[bytes]) -> None:
    """No rung sees in it what is not there, and a frame never gives more than eight sightings."""
    seen = payloads(Decoder(), luma)
    assert set(seen) <= there
    assert len(seen) <= MOST_SIGHTINGS
    assert searched(luma) <= there


def test_a_spoilt_micro_code_is_no_place() -> None:
    """Zxing-cpp finds Micro QR codes that it was not asked for; none with a version of its own kind is told of."""
    reads, places = locate_zxing(tiled(scaled(FINDER, 2), (720, 1280)))
    assert reads == []
    assert all(place.version is None or 1 <= place.version <= 40 for place in places)
