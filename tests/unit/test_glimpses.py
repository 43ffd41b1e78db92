from dataclasses import astuple
from math import isfinite

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk.engines import Place
from kiosk.glimpses import measure, tilt
from kiosk.messages import Exposure, Glimpse, Quad

MODULES = 49
VERSION = 8
SHAPE = (720, 1280)
SQUARE: Quad = ((500, 250), (696, 250), (696, 446), (500, 446))
TURNED: Quad = ((560, 180), (744, 248), (676, 432), (492, 364))
TILTED: Quad = ((502, 250), (600, 250), (600, 446), (502, 446))

Luma = NDArray[np.uint8]


def drawn(quad: Quad = SQUARE, dark: int = 30, light: int = 200) -> Luma:
    """Random modules and three finder patterns at the corners, on grey."""
    code = np.random.default_rng(8).integers(0, 2, (MODULES, MODULES)).astype(np.uint8)
    finder = np.pad(np.pad(np.pad(np.ones((3, 3), np.uint8), 1), 1, constant_values=1), ((0, 1), (0, 1)))
    for _ in range(3):
        code[:8, :8] = finder
        code = np.rot90(code, -1)
    side = MODULES * 8
    picture = np.where(np.kron(code, np.ones((8, 8))) == 1, dark, light).astype(np.uint8)
    corners = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32) - 0.5
    way = cv2.getPerspectiveTransform(corners, np.array(quad, np.float32) - 0.5)
    shrunk = cv2.blur(picture, (2, 2))
    scene = cv2.warpPerspective(shrunk, way, SHAPE[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=(110,))
    return np.asarray(scene, np.uint8)


def glimpsed(luma: Luma, quad: Quad = SQUARE, version: int | None = VERSION) -> Glimpse:
    """Measure a code at corners."""
    return measure(luma, Place(quad=quad, version=version), 7, None)


def blurred(sigma: float) -> Luma:
    """The square code out of focus."""
    return np.asarray(cv2.GaussianBlur(drawn(), (0, 0), sigma), np.uint8)


def banded(share: float, period: float) -> Luma:
    """The square code under a lamp that takes this share of the light away in every period of rows."""
    left = 1 - share / 2 * (1 - np.cos(2 * np.pi * np.arange(SHAPE[0]) / period))
    return np.asarray(drawn() * left[:, None], np.uint8)


def test_a_glimpse_carries_what_it_was_given() -> None:
    """Time, corners and exposure are the frame's."""
    exposure = Exposure(exposure_us=8000, gain=2.0)
    glimpse = measure(drawn(), Place(quad=SQUARE, version=VERSION), 7, exposure)
    assert (glimpse.captured_ns, glimpse.quad, glimpse.exposure) == (7, SQUARE, exposure)


def test_a_module_is_a_side_over_its_modules() -> None:
    """Version 8 has 49; without a version nobody knows."""
    luma = drawn()
    assert [glimpsed(luma, version=version).module_px for version in (VERSION, None)] == [4.0, None]


@pytest.mark.parametrize("quad", [SQUARE, TURNED])
@pytest.mark.parametrize(("dark", "light"), [(30, 200), (12, 40), (150, 240)])
def test_levels_are_those_of_the_modules(quad: Quad, dark: int, light: int) -> None:
    """Not of the mean, nor of what is around the code."""
    glimpse = glimpsed(drawn(quad, dark, light), quad)
    assert [glimpse.dark, glimpse.light] == pytest.approx([dark, light], abs=6)


def test_clipping_is_the_share_at_the_limit() -> None:
    """Half of an overexposed code, a spot on another, nothing of a good one."""
    spot = drawn()
    spot[250:299, 500:598] = 255
    good, over, spotted = (glimpsed(luma).clipped for luma in (drawn(), drawn(light=255), spot))
    assert good == 0.0
    assert [over, spotted] == pytest.approx([0.45, 0.125], abs=0.06)


def test_glare_on_a_part_leaves_the_levels() -> None:
    """A tenth of the code is not its light."""
    luma = drawn()
    luma[250:299, 500:580] = 255
    assert glimpsed(luma).light <= 201


def test_edges_widen_with_blur() -> None:
    """Sharp edges are as wide as a pixel or two; Gaussian ones 1.6 to 2.6 sigma, for thin modules lose contrast."""
    widths = [glimpsed(blurred(sigma)).edge_px for sigma in (1.0, 1.5, 2.0, 3.0)]
    assert glimpsed(drawn()).edge_px < 2
    assert [width / sigma for width, sigma in zip(widths, (1.0, 1.5, 2.0, 3.0), strict=True)] == pytest.approx(
        [2.1] * 4, abs=0.5
    )
    assert widths == sorted(widths)


@pytest.mark.parametrize("size", [(7, 1), (1, 7)])
def test_a_smear_either_way_widens_edges(size: tuple[int, int]) -> None:
    """The worse of both ways counts."""
    assert glimpsed(np.asarray(cv2.blur(drawn(), size), np.uint8)).edge_px > 4


def test_turning_a_code_leaves_its_edges() -> None:
    """A roll blurs nothing."""
    assert glimpsed(drawn(TURNED), TURNED).edge_px == pytest.approx(glimpsed(drawn()).edge_px, abs=0.7)


@pytest.mark.parametrize("period", [20, 50, 90])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_banding_is_the_share_of_light_that_comes_and_goes(share: float, period: float) -> None:
    """Whatever its period, from a tenth of the code's height to half."""
    assert glimpsed(banded(share, period)).banding == pytest.approx(share, abs=0.08)


def test_a_shadow_is_no_banding() -> None:
    """Light that falls off evenly across the code has no period; nor has the code itself."""
    falling = np.asarray(drawn() * np.linspace(1.4, 0.4, SHAPE[0])[:, None], np.uint8)
    assert [glimpsed(luma).banding < 0.06 for luma in (drawn(), falling)] == [True, True]


def test_tilt_is_the_foreshortening() -> None:
    """A square seen as wide as half its height is turned away by 60 degrees; a rolled one by none."""
    assert [round(tilt(quad)) for quad in (SQUARE, TURNED, TILTED)] == [0, 0, 60]


@pytest.mark.parametrize(
    "quad",
    [
        ((0, 0), (0, 0), (0, 0), (0, 0)),
        ((500, 250), (600, 250), (700, 250), (800, 250)),
        ((500, 250), (696, 446), (696, 250), (500, 446)),
        ((500, 446), (696, 446), (696, 250), (500, 250)),
        ((-500, -500), (-300, -500), (-300, -300), (-500, -300)),
        ((1200, 600), (1600, 600), (1600, 1000), (1200, 1000)),
        ((-(10**9), -(10**9)), (10**9, -(10**9)), (10**9, 10**9), (-(10**9), 10**9)),
        ((640, 360), (641, 360), (641, 361), (640, 361)),
    ],
)
@pytest.mark.parametrize("shape", [SHAPE, (1, 1), (1, 1280), (720, 1), (0, 0)])
def test_odd_corners_and_frames_give_values_within_their_ranges(quad: Quad, shape: tuple[int, int]) -> None:
    """A point, a line, a bow tie, a mirrored code, one beside the frame, one larger than it: nothing raises."""
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    for luma in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), noise):
        glimpse = glimpsed(luma, quad)
        numbers = astuple(glimpse)[2:9]
        assert all(isinstance(number, int | float) and isfinite(number) and number >= 0 for number in numbers)
        assert glimpse.dark <= glimpse.light <= 255
        assert (glimpse.clipped <= 1, glimpse.banding <= 1, glimpse.tilt <= 90) == (True, True, True)


def test_half_of_a_code_is_measured_by_what_is_there() -> None:
    """What lies outside the frame is not dark."""
    luma = np.ascontiguousarray(drawn()[:, 598:])
    glimpse = glimpsed(luma, ((-98, 250), (98, 250), (98, 446), (-98, 446)))
    assert [glimpse.dark, glimpse.light] == pytest.approx([30, 200], abs=6)
    assert 0 < glimpse.edge_px < 2


def test_a_view_into_a_larger_picture_is_measured_too() -> None:
    """Rows need not follow each other in memory, nor be writable."""
    wide = np.repeat(drawn(), 2, axis=1)[:, ::2]
    wide.setflags(write=False)
    assert glimpsed(wide) == glimpsed(drawn())
