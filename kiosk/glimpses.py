"""What a frame says of why a code in it could not be read: levels, clipping, blur, banding, size and tilt.

Decides how each is measured, from some thousand samples inside the code's corners. Refuses to know what follows from
it: advice to the visitor is `kiosk.hints`', exposure the camera's. Called by the decoder, for a code that it has
located and could not read. Never raises, whatever the corners; what cannot be measured is 0.
"""

from math import acos, degrees, sqrt

import numpy as np
from numpy.typing import NDArray

from kiosk.engines import Luma, Place
from kiosk.hints import side_px
from kiosk.messages import Exposure, Glimpse, Quad
from kiosk.turns import give_way

LINES = 8
"""Scan lines each way: finder patterns and data, in a few percent of a code's pixels."""
SLANT = 0.16
"""By so much of the code a line is further down at its end: one that ran along a row of modules could follow the
border between two rows, and meet no edge squarely."""
SAMPLES = 256
"""On one line, so that a code larger than that is sampled at more than a pixel's distance; its modules are large."""
DARKEST, LIGHTEST = 0.15, 0.85
"""Where the levels are read off the grey values in order. Half of a code's modules are dark (ISO/IEC 18004, 7.8.3), so
each level is a third of its kind away from the extreme: glare on up to a seventh of the code is not its light."""
CLIPPED = 250
"""Grey. Noise brings some pixels of a clipped area a little below 255."""
FEWEST_EDGES = 12
STEEP = 0.75
"""Of the edges, this one in order of steepness: those between single modules under blur, those that noise makes, and
those that a line grazes are flatter than the edges of the finder patterns."""
ROWS, COLUMNS = 96, 32
"""Looked at for banding, within the code. Drawn codes without bands give 0.05 (median of 54), 0.11 at most."""
SLOWEST_BAND = 2
"""Periods within the code: slower ones cannot be told from a shadow."""


def _lines() -> NDArray[np.float32]:
    """How much of each corner is in each point of the lines, those to the right first: shape (4, points)."""
    start = np.linspace(0.04, 0.96 - SLANT, LINES, dtype=np.float32)[:, None]
    along = np.linspace(0, 1, SAMPLES, dtype=np.float32)[None, :]
    far = start + SLANT * along
    before, after, above, below = 1 - along, along, 1 - far, far
    right = np.stack((before * above, after * above, after * below, before * below))
    down = np.stack((above * before, below * before, below * after, above * after))
    return np.stack((right, down), axis=1).reshape(4, -1)


_LINES = _lines()
_ROW = np.linspace(0.06, 0.94, COLUMNS)
_ROWS = np.linspace(-1, 1, ROWS)
_WINDOW = np.hanning(ROWS)
_NEXT = [1, 2, 3, 0]

Corners = NDArray[np.float32]


def measure(luma: Luma, place: Place, captured_ns: int, exposure: Exposure | None) -> Glimpse:
    """Look at a located code in the frame it was located in."""
    corners = np.array(place.quad, dtype=np.float32)
    luma = luma if luma.size else np.zeros((1, 1), np.uint8)
    side = side_px(place.quad)
    values, inside = _scan(luma, corners)
    counts = np.cumsum(np.bincount(values[inside], minlength=256))
    shares = counts / max(1, int(counts[-1]))
    dark, light = (int(np.searchsorted(shares, level)) % 256 for level in (DARKEST, LIGHTEST))
    step = max(1.0, side / SAMPLES)
    return Glimpse(
        captured_ns=captured_ns,
        quad=place.quad,
        module_px=None if place.version is None else side / (17 + 4 * place.version),
        dark=dark,
        light=light,
        clipped=float(shares[-1] - shares[CLIPPED - 1]),
        edge_px=max(_edge_px(*way, dark, light, step) for way in zip(values, inside, strict=True)),
        banding=_banding(luma, corners),
        tilt=tilt(place.quad),
        exposure=exposure,
    )


def tilt(quad: Quad) -> float:
    """Angle between code and frame in degrees, from foreshortening.

    An approximation: it takes the code to be far away against its size, where a tilted square is an affine image of
    itself and the cosine is the ratio of the two singular values. Whole-pixel corners make small angles uncertain: one
    pixel in a hundred is 8 degrees near 0 and 1 degree near 50.
    """
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = quad
    right, down = (bx - ax + cx - dx, by - ay + cy - dy), (dx - ax + cx - bx, dy - ay + cy - by)
    squares = right[0] ** 2 + right[1] ** 2 + down[0] ** 2 + down[1] ** 2
    area = abs(right[0] * down[1] - right[1] * down[0])
    spread = sqrt(max(0, squares**2 - 4 * area**2))
    return degrees(acos(min(1.0, sqrt(max(0.0, (squares - spread) / (squares + spread)))))) if squares else 0.0


def _scan(luma: Luma, corners: Corners) -> tuple[Luma, NDArray[np.bool_]]:
    """Grey values, shape (2, LINES, SAMPLES), along lines from side to side both ways, and which are in the frame."""
    give_way()
    height, width = luma.shape
    x, y = corners.T @ _LINES
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if not inside.all():
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    shape = 2, LINES, SAMPLES
    return luma[y.astype(np.intp), x.astype(np.intp)].reshape(shape), inside.reshape(shape)


def _edge_px(values: Luma, inside: NDArray[np.bool_], dark: int, light: int, step: float) -> float:
    """Contrast over slope, where the grey crosses half-way: 2.5 sigma of a Gaussian blur, the length of a smear."""
    give_way()
    bright = values > (dark + light) / 2
    crosses = (bright[:, 1:] != bright[:, :-1]) & inside[:, 1:] & inside[:, :-1]
    slopes = np.abs(values[:, 1:][crosses].astype(np.int16) - values[:, :-1][crosses])
    if slopes.size < FEWEST_EDGES or light <= dark:
        return 0.0
    steep = np.partition(slopes, int(slopes.size * STEEP))[int(slopes.size * STEEP)]
    return float((light - dark) * step / max(1, steep))


def _banding(luma: Luma, corners: Corners) -> float:
    """The largest swing of the rows' light level at one period, as a share of its top."""
    levels = _row_levels(luma, corners)
    mean = float(levels.mean())
    flat = levels - mean - _ROWS * (levels @ _ROWS) / (_ROWS @ _ROWS)
    swing = float(2 * np.abs(np.fft.rfft(flat * _WINDOW))[SLOWEST_BAND:].max() / _WINDOW.sum())
    return min(1.0, 2 * swing / max(1.0, mean + swing))


def _row_levels(luma: Luma, corners: Corners) -> NDArray[np.float64]:
    """The light level of rows of the frame within the code, from top to bottom; the tips of a turned code left out."""
    height, width = luma.shape
    x, y = corners.T[:, :, None]
    to_x, to_y = corners[_NEXT].T[:, :, None]
    top, bottom = float(y.min()), float(y.max())
    rows = ((top + bottom) / 2 + 0.4 * (bottom - top) * _ROWS).clip(0, height - 1)
    level = to_y == y
    share = (rows - y) / (to_y - y + level)
    meets = (share >= 0) & (share <= 1) & ~level
    across = x + share * (to_x - x)
    left = across.min(axis=0, where=meets, initial=width - 1).clip(0)[:, None]
    right = across.max(axis=0, where=meets, initial=0).clip(0, width - 1)[:, None]
    greys = luma[rows.astype(np.intp)[:, None], (left + _ROW * (right - left)).astype(np.intp)]
    rank = int(LIGHTEST * COLUMNS)
    return np.asarray(np.partition(greys, rank, axis=1)[:, rank], dtype=np.float64)
