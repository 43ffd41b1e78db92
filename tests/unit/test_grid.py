"""From a place in a picture to evidence: where modules lie, and how sure it is of them."""

import cv2
import numpy as np
import pytest
import segno
from numpy.typing import NDArray

from kiosk.codewords import Modules
from kiosk.engines import Luma, quad_of
from kiosk.grid import evidence_of, fitted_warp, quad_under, warp_of
from kiosk.messages import Quad

VERSION, SIDE, PX = 5, 37, 8
CORNERS = np.array([[150, 90], [390, 110], [410, 330], [140, 340]], dtype=np.float32)
QUAD: Quad = ((150, 90), (390, 110), (410, 330), (140, 340))


def modules(text: str = "khai báo y tế") -> Modules:
    """A code of version 5."""
    made = segno.make_qr(text, version=VERSION, error="m", mode="byte", boost_error=False)
    return np.array(made.matrix, dtype=np.bool_)


def picture(drawn: Modules, black: float = 30, white: float = 200, curve: float = 0) -> Luma:
    """The code in perspective, its columns pushed down by up to `curve` modules at the middle."""
    flat = np.pad(np.where(drawn, black, white).astype(np.float32), 4, constant_values=white)
    flat = flat.repeat(PX, axis=0).repeat(PX, axis=1)
    y, x = np.mgrid[: flat.shape[0], : flat.shape[1]].astype(np.float32)
    push = curve * PX * (1 - ((x / flat.shape[1] - 0.5) * 2) ** 2)
    bent = cv2.remap(flat, x, y - push.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    first, last = 4 * PX, (4 + SIDE) * PX
    at = np.array([[first, first], [last, first], [last, last], [first, last]], dtype=np.float32) - 0.5
    move = cv2.getPerspectiveTransform(at, CORNERS - 0.5)
    seen = cv2.warpPerspective(bent, move, (640, 480), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.GaussianBlur(seen, (0, 0), 1.0), dtype=np.uint8)


def wrong(evidence: NDArray[np.float32], drawn: Modules) -> int:
    """Modules that it takes for what they are not."""
    return int(np.count_nonzero((evidence > 0) != drawn))


def test_every_module_of_a_clear_code_is_seen() -> None:
    """Dark is positive, nothing is taken for the other, and hardly any noise is left."""
    drawn = modules()
    grid = evidence_of(picture(drawn), fitted_warp(picture(drawn), warp_of(QUAD, VERSION)))
    assert wrong(grid.evidence, drawn) == 0
    assert grid.evidence.dtype == np.float32
    assert float(np.abs(grid.evidence).max()) <= 1
    assert grid.noise < 0.05


@pytest.mark.parametrize("off", [(9, 0), (-6, 8), (0, -9)])
def test_a_place_a_module_off_is_put_right(off: tuple[int, int]) -> None:
    """The known modules pull the grid to where it belongs, within a third of a module's six pixels."""
    placed = quad_of([(x + off[0], y + off[1]) for x, y in QUAD])
    warp = fitted_warp(picture(modules()), warp_of(placed, VERSION))
    assert np.abs(np.array(quad_under(warp)) - QUAD).max() < 2


def test_a_curved_card_is_straightened() -> None:
    """One and a half modules of curve, which a plain perspective reads wrong, is followed."""
    drawn = modules()
    luma = picture(drawn, curve=1.5)
    plain, bent = warp_of(QUAD, VERSION), fitted_warp(luma, warp_of(QUAD, VERSION))
    assert wrong(evidence_of(luma, plain).evidence, drawn) > 40
    assert wrong(evidence_of(luma, bent).evidence, drawn) == 0


def test_where_a_lamp_shines_nothing_is_believed() -> None:
    """Modules under a lamp's reflection keep a fraction of the confidence of the others, which are right."""
    drawn = modules()
    luma = picture(drawn)
    cv2.circle(luma, (330, 250), 40, (255,), -1)
    grid = evidence_of(luma, fitted_warp(luma, warp_of(QUAD, VERSION)))
    doubtful = np.abs(grid.evidence) < 0.1
    assert 80 < np.count_nonzero(doubtful) < 200
    assert wrong(grid.evidence[~doubtful], drawn[~doubtful]) < 20


def test_a_shadow_is_no_module() -> None:
    """Light that fades to a third from edge to edge: black is what is darker than its surroundings."""
    drawn = modules()
    shade = np.linspace(1, 0.3, 300)
    luma = picture(drawn)
    luma[:, 130:430] = (luma[:, 130:430] * shade).astype(np.uint8)
    grid = evidence_of(luma, fitted_warp(luma, warp_of(QUAD, VERSION)))
    assert wrong(grid.evidence, drawn) == 0


def test_a_place_without_a_code_shows_as_noise() -> None:
    """What is known of every code is not there, and the noise says so."""
    luma = np.random.default_rng(3).integers(0, 255, (480, 640), dtype=np.uint8)
    grid = evidence_of(luma, fitted_warp(luma, warp_of(QUAD, VERSION)))
    assert grid.noise > 0.7
