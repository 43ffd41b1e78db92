"""Codes found by their finder patterns alone, where zxing-cpp sees none."""

import cv2
import numpy as np
import pytest
import segno

from kiosk.engines import Luma, read_zxing
from kiosk.finders import MOST_COUPLES, MOST_FINDERS, MOST_TRIPLES, couples, find_finders, triples
from kiosk.layouts import read_found
from kiosk.unbend import PX, unbent

PAYLOAD = b"SYNTHETIC DECLARATION 0123456789"
PLATE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
SHAPE = 480, 640


def _code(version: int = 3, px: int = 12, quiet: int = 4) -> Luma:
    rows = segno.make_qr(PAYLOAD, version=version, error="m").matrix
    dark = np.pad(np.array([list(row) for row in rows]), quiet)
    drawn = np.where(dark == 1, 30, 210).astype(np.uint8)
    return drawn.repeat(px, axis=0).repeat(px, axis=1)


def _seen(code: Luma, corners: list[list[float]], ground: int = 210) -> Luma:
    """The code's corners at these places of a picture."""
    plane = cv2.getPerspectiveTransform(PLATE * code.shape[0], np.array(corners, dtype=np.float32))
    width, height = SHAPE[1], SHAPE[0]
    seen = cv2.warpPerspective(code, plane, (width, height), flags=cv2.INTER_AREA, borderValue=ground)
    return np.asarray(cv2.GaussianBlur(seen, (0, 0), 0.6), dtype=np.uint8)


def _bent(code: Luma, by_px: float) -> Luma:
    """As on a bottle seen from a little above: what is in the middle stands higher."""
    rows, cols = (axis.astype(np.float32) for axis in np.mgrid[: code.shape[0], : code.shape[1]])
    arc = by_px * np.sin(np.pi * cols / code.shape[1])
    return np.asarray(
        cv2.remap(code, cols, (rows - arc).astype(np.float32), cv2.INTER_LINEAR, borderValue=210), np.uint8
    )


STRAIGHT = [[150.0, 60.0], [510.0, 60.0], [510.0, 420.0], [150.0, 420.0]]
TILTED = [[250.0, 90.0], [350.0, 20.0], [350.0, 460.0], [250.0, 300.0]]
"""By about 70 degrees, seen from near."""


@pytest.mark.parametrize(
    "picture", [np.full(SHAPE, 200, np.uint8), np.zeros((1, 1), np.uint8), np.zeros((3, 900), np.uint8)]
)
def test_picture_without_a_code(picture: Luma) -> None:
    """Nothing is read where nothing is."""
    assert read_found(picture) == []


def test_noise() -> None:
    """Nothing is read in noise."""
    noise = np.random.default_rng(1).integers(0, 256, SHAPE).astype(np.uint8)
    assert read_found(noise) == []


@pytest.mark.parametrize("version", [2, 3, 6, 10])
def test_corners_are_the_codes_own(version: int) -> None:
    """The quad goes through the outer corners of the code, from its own top left on, to two pixels."""
    quiet = 4 / (17 + 4 * version + 8) * 360
    ((payload, quad),) = read_found(_seen(_code(version), STRAIGHT))
    inner = [
        (150 + quiet, 60 + quiet),
        (510 - quiet, 60 + quiet),
        (510 - quiet, 420 - quiet),
        (150 + quiet, 420 - quiet),
    ]
    assert payload == PAYLOAD
    assert np.abs(np.array(quad) - np.array(inner)).max() < 2.5


@pytest.mark.parametrize("turn", range(4))
def test_strong_tilt(turn: int) -> None:
    """A code seen from the side is read whichever way up it is held, and zxing-cpp alone reads none of these."""
    picture = _seen(np.ascontiguousarray(np.rot90(_code(2), turn)), TILTED)
    assert [payload for payload, _ in read_found(picture)] == [PAYLOAD]
    assert read_zxing(picture) == []


def test_bent_code() -> None:
    """A code round a bottle is read, and not by zxing-cpp alone."""
    picture = _seen(_bent(_code(6), 20), STRAIGHT)
    assert [payload for payload, _ in read_found(picture)] == [PAYLOAD]
    assert read_zxing(picture) == []


def test_no_quiet_zone() -> None:
    """A code on black, without any quiet zone, is read."""
    picture = _seen(_code(3, quiet=0), STRAIGHT, ground=20)
    assert [payload for payload, _ in read_found(picture)] == [PAYLOAD]


@pytest.mark.parametrize("broken", ["top right", "bottom left"])
def test_broken_finder_pattern(broken: str) -> None:
    """Two patterns are enough where the third is scratched."""
    code = _code(4)
    top, left = (48, 396) if broken == "top right" else (396, 48)
    cv2.line(code, (left - 8, top + 20), (left + 92, top + 64), 210, 16)
    picture = _seen(code, STRAIGHT)
    assert len(find_finders(picture)) == 2
    assert [payload for payload, _ in read_found(picture)] == [PAYLOAD]
    assert read_zxing(picture) == []


def test_two_codes() -> None:
    """Every code of a picture is read."""
    half = cv2.resize(_code(2), (300, 300), interpolation=cv2.INTER_AREA)
    picture = np.full(SHAPE, 210, np.uint8)
    picture[20:320, 10:310], picture[20:320, 330:630] = half, half
    assert [payload for payload, _ in read_found(picture)] == [PAYLOAD, PAYLOAD]


def test_wall_of_finder_patterns() -> None:
    """However many patterns a picture shows, a fixed number of them is tried."""
    pattern = _code(2, quiet=0)[:84:4, :84:4]
    wall = np.tile(np.pad(pattern, 6, constant_values=210), (14, 19))
    finders = find_finders(wall)
    assert len(finders) == MOST_FINDERS
    assert len(triples(finders)) <= MOST_TRIPLES
    assert len(couples(finders)) <= MOST_COUPLES
    assert read_found(wall) == []


def test_unbent_grid() -> None:
    """Modules shifted by more than their own width are put back where they belong."""
    flat = _code(6, px=PX)
    far = np.sin(np.pi * np.arange(len(flat)) / len(flat)) ** 4 * 1.2 * PX
    rows, cols = (axis.astype(np.float32) for axis in np.mgrid[: len(flat), : len(flat)])
    bent = cv2.remap(flat, cols, (rows - far).astype(np.float32), cv2.INTER_LINEAR, borderValue=210).astype(np.uint8)
    off = [float(np.abs(one.astype(float) - flat)[60:-60, 60:-60].mean()) for one in (bent, unbent(bent, 3))]
    assert off[1] < off[0] / 3
