"""Many frames make one read, and never of two codes."""

from collections.abc import Callable

import numpy as np
import pytest
import segno
from numpy.typing import NDArray

from kiosk.codewords import Modules
from kiosk.engines import Luma, Place, Read, locate_zxing
from kiosk.fusion import LONGEST_GAP_NS, Afterimage, Fusion, look_at, mended, places_in, text_of

VERSION, LEVEL, PX, LEFT, TOP = 5, "M", 4, 90, 60
SIDE = 37 * PX
PLACE = Place(quad=((LEFT, TOP), (LEFT + SIDE, TOP), (LEFT + SIDE, TOP + SIDE), (LEFT, TOP + SIDE)), version=VERSION)
FRAME_NS = 33_000_000
FIRST = "Khai báo y tế: một"
SECOND = "Khai báo y tế: hai"
FAINT = 1.6
"""Grey levels between black and white, in noise of 2.5."""


def modules(text: str) -> Modules:
    """A code of version 5."""
    made = segno.make_qr(text, version=VERSION, error=LEVEL, mask=2, mode="byte", boost_error=False)
    return np.array(made.matrix, dtype=np.bool_)


def frame(text: str, rng: np.random.Generator, contrast: float = FAINT, move: int = 0) -> Luma:
    """The code on even ground, in a sensor's noise."""
    scene: NDArray[np.float32] = np.full((300, 400), 120, dtype=np.float32)
    drawn = modules(text).repeat(PX, axis=0).repeat(PX, axis=1)
    scene[TOP : TOP + SIDE, LEFT + move : LEFT + move + SIDE] -= contrast * drawn
    return np.rint(scene + rng.normal(0, 2.5, scene.shape)).clip(0, 255).astype(np.uint8)


def alone(luma: Luma) -> Read | None:
    """What one frame says by itself."""
    look = look_at(luma, PLACE)
    return mended([look]) if look else None


def texts(reads: list[Read] | None) -> list[str]:
    """Without places."""
    return [payload.decode() for payload, _ in reads or []]


def test_frames_that_say_nothing_alone_say_it_together() -> None:
    """No frame can be read, not by zxing-cpp and not by itself; twelve can."""
    rng = np.random.default_rng(4)
    frames = [frame(FIRST, rng) for _ in range(12)]
    fusion, reads = Fusion(), []
    for number, luma in enumerate(frames):
        assert locate_zxing(luma)[0] == []
        assert alone(luma) is None
        fusion.add(luma, PLACE, number * FRAME_NS)
        reads += texts(fusion.read())
    assert set(reads) == {FIRST}


def test_one_frame_is_enough_where_it_shows_the_modules() -> None:
    """A code too faint for zxing-cpp is read at once, and where it is is told to the pixel."""
    luma = frame(FIRST, np.random.default_rng(4), contrast=6)
    assert locate_zxing(luma)[0] == []
    read = alone(luma)
    assert read is not None
    assert read[0].decode() == FIRST
    assert np.abs(np.array(read[1]) - PLACE.quad).max() <= 1


def test_two_codes_in_turn_are_never_one() -> None:
    """Frames of two people's codes add up to nothing, however many."""
    rng, fusion = np.random.default_rng(5), Fusion()
    for number in range(14):
        fusion.add(frame((FIRST, SECOND)[number % 2], rng), PLACE, number * FRAME_NS)
        assert fusion.read() is None


def test_looks_at_two_codes_are_refused_even_when_put_together() -> None:
    """Whatever is handed in as looks at one code: two codes make no third."""
    rng = np.random.default_rng(6)
    for firsts in (1, 3, 5):
        shown = [FIRST] * firsts + [SECOND] * (6 - firsts)
        looks = [look_at(frame(text, rng, contrast=6), PLACE) for text in shown]
        assert mended([look for look in looks if look]) is None


def test_the_next_code_starts_over() -> None:
    """After one code went and another came to the same place, only the other is read."""
    rng, fusion = np.random.default_rng(7), Fusion()
    for number in range(2):
        fusion.add(frame(FIRST, rng), PLACE, number * FRAME_NS)
    reads = []
    for number in range(2, 16):
        fusion.add(frame(SECOND, rng), PLACE, number * FRAME_NS)
        reads += texts(fusion.read())
    assert set(reads) == {SECOND}


def test_nothing_is_kept_over_a_gap() -> None:
    """Looks that lie further apart than the longest gap are never put together."""
    rng, fusion = np.random.default_rng(4), Fusion()
    for number in range(12):
        fusion.add(frame(FIRST, rng), PLACE, (number + 1) * (LONGEST_GAP_NS + 1))
        assert fusion.read() is None


def test_a_code_is_followed_where_nobody_finds_it() -> None:
    """A place in the first frame is enough while the code moves half a module a frame."""
    rng, fusion = np.random.default_rng(8), Fusion()
    for number in range(10):
        luma = frame(FIRST, rng, contrast=4, move=number * PX // 2)
        assert fusion.add(luma, None if number else PLACE, number * FRAME_NS)
    read = fusion.read()
    assert texts(read) == [FIRST]
    assert read is not None
    assert np.abs(np.array(read[0][1]) - PLACE.quad - (9 * PX // 2, 0)).max() <= 1


@pytest.mark.parametrize(
    "place", [Place(quad=PLACE.quad), Place(quad=((0, 0), (0, 0), (0, 0), (0, 0)), version=VERSION)]
)
def test_a_place_that_says_too_little_is_no_place(place: Place) -> None:
    """zxing-cpp tells no corners where it could not tell the version."""
    fusion = Fusion()
    assert not fusion.add(frame(FIRST, np.random.default_rng(1)), place, 0)
    assert fusion.read() is None


def test_an_empty_picture_is_no_code() -> None:
    """Even ground, pure noise and a picture of one pixel show nothing."""
    rng = np.random.default_rng(9)
    for luma in (
        np.full((300, 400), 120, dtype=np.uint8),
        rng.integers(0, 255, (300, 400), dtype=np.uint8),
        np.zeros((1, 1), dtype=np.uint8),
    ):
        assert alone(luma) is None


def test_the_drawn_symbol_is_read_exactly() -> None:
    """Bytes come out as they went in."""
    assert text_of(modules(FIRST)) == FIRST.encode()
    assert text_of(np.zeros((37, 37), dtype=np.bool_)) is None


def test_the_afterimage_shows_what_no_frame_shows() -> None:
    """A code that zxing-cpp finds in none of eight dark frames is found in their average."""
    rng, afterimage = np.random.default_rng(10), Afterimage()
    for _ in range(8):
        luma = frame(FIRST, rng, contrast=5)
        assert locate_zxing(luma) == ([], [])
        afterimage.add(luma)
    (place,) = places_in(afterimage.soft())
    assert place.version == VERSION
    assert np.abs(np.array(place.quad) - PLACE.quad).max() <= PX


@pytest.mark.parametrize("look", [Afterimage.soft, Afterimage.deblurred])
def test_the_afterimage_tells_places_of_the_frame(look: Callable[[Afterimage], Luma]) -> None:
    """However it is looked at, and enlarged, the place is in pixels of the frames."""
    afterimage, luma = Afterimage(), frame(FIRST, np.random.default_rng(11), contrast=80)
    afterimage.add(luma)
    picture = look(afterimage)
    (place,) = places_in(picture, picture.shape[1] / luma.shape[1])
    assert place.version == VERSION
    assert np.abs(np.array(place.quad) - PLACE.quad).max() <= PX


def test_a_faint_code_in_bright_surroundings_is_found_too() -> None:
    """Where a lamp and a dark wall take all the grey levels, each part of the afterimage gets its own."""
    rng, afterimage = np.random.default_rng(12), Afterimage()
    for _ in range(8):
        luma = frame(FIRST, rng, contrast=9)
        luma[:30], luma[260:] = 250, 5
        afterimage.add(luma)
    assert places_in(afterimage.soft()) == []
    assert VERSION in [place.version for place in places_in(afterimage.evened())]
