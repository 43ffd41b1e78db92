"""A code's place in a picture to evidence for each of its modules.

Decides where each module lies and how dark it is for its surroundings. Refuses to know codewords and other pictures.
Called by `kiosk.fusion`.

What every symbol of a version has in common (finders, timing, alignment patterns), a sixth of a declaration's modules,
does three things here: it straightens bent and badly placed grids, it teaches the filter that undoes this picture's
blur, and it tells how much noise is left.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.codewords import Evidence, alignments, known, size
from kiosk.engines import Luma
from kiosk.messages import Quad
from kiosk.turns import give_way

Floats = NDArray[np.float32]

PITCH = 3
"""Samples a module, each way."""
RING = 2
"""Modules sampled around the code: its quiet zone, and room for the filter."""
NEAR = 7
"""Modules across which black and white are looked for: as wide as a finder."""
REACH = 2.5
"""Modules by which a finder or alignment pattern may be off its expected place: curved cards, and the next frame."""
STEPS = (0.7, 0.4)
"""Modules of softness at each step towards the best fit: far first, then fine. A third between them gained nothing."""
TAPS = 5
"""Modules a side of what the filter sees: smears of nearly two modules."""
STIFF = 4.0
"""How many modules' worth of belief the filter starts with that each module speaks for itself alone."""
LEAST_MATCH = 0.3
"""Of a pattern to where it is looked for, from -1 to 1."""
BRIGHT, SATURATED = 235, 250
"""Grey levels: a code whose own white is less than bright shows a lamp where it is saturated."""
_BENDS = np.array([0.0, 0.0, 0.0, 20.0, 60.0, 60.0])
"""How unlikely each of a bend's terms is: rather a shift than a curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """Where a version's module coordinates (0 to n, from the code's own top left) lie in a picture.

    `flat` is the homography (3, 3); `bend` (2, 6) what is added before it to x and y, in modules, by the terms 1, x, y,
    xy, x2 and y2 of coordinates from -1 to 1.
    """

    version: int
    flat: Floats
    bend: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One look at a code. `noise` is the mean square error of its evidence where the modules are known: 1 is chance."""

    warp: Warp
    evidence: Evidence
    noise: float


def _terms(x: Floats, y: Floats, version: int) -> Floats:
    s, t = 2 * x / size(version) - 1, 2 * y / size(version) - 1
    return np.stack([np.ones_like(s), s, t, s * t, s * s, t * t])


@cache
def _mesh(version: int) -> tuple[Floats, Floats, Floats]:
    """Module coordinates of all modules' middles, the ring's too, and the bend's terms there (6, rows, columns)."""
    line = np.arange(size(version) + 2 * RING, dtype=np.float32) + 0.5 - RING
    x, y = np.meshgrid(line, line)
    return x, y, _terms(x, y, version)


def warp_of(quad: Quad, version: int) -> Warp:
    """The plain perspective of a code's outer corners."""
    n = size(version)
    corners = np.array([[0, 0], [n, 0], [n, n], [0, n]], dtype=np.float32)
    flat = cv2.getPerspectiveTransform(corners, np.array(quad, dtype=np.float32) - 0.5)
    return Warp(version=version, flat=flat.astype(np.float32), bend=np.zeros((2, 6), np.float32))


def points(warp: Warp, x: Floats, y: Floats, terms: Floats) -> tuple[Floats, Floats]:
    """Module coordinates to pixels."""
    more_x, more_y = np.tensordot(warp.bend, terms, 1)
    u, v, one = x + more_x, y + more_y, np.ones_like(x)
    at_x, at_y, depth = (row[0] * u + row[1] * v + row[2] * one for row in warp.flat)
    # A degenerate quad has its horizon in the picture.
    depth = np.where(depth == 0, np.float32(1e-6), depth)
    return at_x / depth, at_y / depth


def quad_under(warp: Warp) -> list[tuple[float, float]]:
    """The code's outer corners in the picture."""
    n = size(warp.version)
    x, y = np.array([0, n, n, 0], np.float32), np.array([0, 0, n, n], np.float32)
    at_x, at_y = points(warp, x, y, _terms(x, y, warp.version))
    return list(zip((at_x + 0.5).tolist(), (at_y + 0.5).tolist(), strict=True))


def rectified(luma: Luma, warp: Warp) -> Floats:
    """The code seen straight on, PITCH samples a module each way, RING modules more on each side."""
    # Between middles a straight line is near enough.
    at_x, at_y = (cv2.resize(at, None, fx=PITCH, fy=PITCH) for at in points(warp, *_mesh(warp.version)))
    made = cv2.remap(luma, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made, dtype=np.float32)


def _means(samples: Floats) -> Floats:
    """Of each module."""
    side = samples.shape[0] // PITCH
    return np.asarray(cv2.resize(samples, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _levels(means: Floats) -> tuple[Floats, Floats]:
    """Grey that divides black from white, and half their difference, by what is near each module."""
    near = np.ones((NEAR, NEAR), np.uint8)
    white, black = cv2.blur(cv2.dilate(means, near), (NEAR, NEAR)), cv2.blur(cv2.erode(means, near), (NEAR, NEAR))
    middle, half = (cv2.addWeighted(white, 0.5, black, half, 0) for half in (0.5, -0.5))
    # Where light washes the code out, what is left of it must not be blown up.
    least = max(float(np.median(half)) / 2, 0.5)
    return np.asarray(middle, dtype=np.float32), np.asarray(np.maximum(half, least), dtype=np.float32)


def _levelled(samples: Floats) -> Floats:
    """Black is -1 and white 1 for what is near, so that shade and lamps drop out."""
    side = samples.shape[::-1]
    middle, half = (cv2.resize(level, side, interpolation=cv2.INTER_LINEAR) for level in _levels(_means(samples)))
    return (samples - middle) / half


@cache
def _template(version: int, softness: float) -> tuple[Floats, Floats]:
    """What is known, at the samples, softened, white 1; and how much each sample counts, 0 to 1."""
    pattern = np.pad(-known(version).astype(np.float32), RING)
    certain = np.pad((known(version) != 0).astype(np.float32), RING)
    quiet = np.pad(np.zeros_like(known(version)), 1, constant_values=1)
    pattern[1:-1, 1:-1] += quiet
    certain[1:-1, 1:-1] += quiet
    cell, sigma = np.ones((PITCH, PITCH), np.float32), softness * PITCH
    sharp, where = np.kron(pattern, cell), np.kron(certain, cell)
    weight = np.clip(2 * cv2.GaussianBlur(where, (0, 0), sigma) - 1, 0, 1) * where
    return np.asarray(cv2.GaussianBlur(sharp, (0, 0), sigma), np.float32), np.asarray(weight, np.float32)


def _bent(warp: Warp, by: NDArray[np.floating]) -> Warp:
    return replace(warp, bend=(warp.bend + np.clip(by, -REACH, REACH)).astype(np.float32))


def fitted_warp(luma: Luma, warp: Warp) -> Warp:
    """The warp under which the known modules show best."""
    warp = _bent(warp, _towards_patterns(_levelled(rectified(luma, warp)), warp.version))
    for softness in STEPS:
        warp = _bent(warp, _step(_levelled(rectified(luma, warp)), warp.version, softness))
    return warp


@cache
def _patterns(version: int) -> tuple[tuple[int, int, int], ...]:
    """First row, first column and side of finders, with their light edges, and of alignment patterns."""
    n, middles = size(version), alignments(version)
    corners = {(6, 6), (6, n - 7), (n - 7, 6)}
    small = ((row - 2, col - 2, 5) for row, col in product(middles, middles) if (row, col) not in corners)
    return ((-1, -1, 9), (-1, n - 8, 9), (n - 8, -1, 9), *small)


def _offsets(seen: Floats, version: int) -> Iterator[tuple[float, float, float, float, float]]:
    """Of each pattern that shows: its middle's x and y, how far it is off in x and y, and how well it shows."""
    target, reach = _template(version, 0.4)[0], round(REACH * PITCH)
    for row, col, side in _patterns(version):
        top, left, long = (row + RING) * PITCH, (col + RING) * PITCH, side * PITCH
        first_row, first_col = max(top - reach, 0), max(left - reach, 0)
        area = seen[first_row : top + long + reach, first_col : left + long + reach]
        match = cv2.matchTemplate(area, target[top : top + long, left : left + long], cv2.TM_CCOEFF_NORMED)
        _, best, _, (x, y) = cv2.minMaxLoc(match)
        if best > LEAST_MATCH:
            off_x, off_y = (x + first_col - left) / PITCH, (y + first_row - top) / PITCH
            yield col + side / 2, row + side / 2, off_x, off_y, best**4


def _towards_patterns(seen: Floats, version: int) -> NDArray[np.floating]:
    """A first bend, from where finders and alignment patterns are seen."""
    found = np.array([*_offsets(seen, version)], dtype=np.float32)
    if len(found) < 3:  # noqa: PLR2004 - what fixes a plane
        return np.zeros((2, 6))
    x, y, off_x, off_y, weight = found.T
    terms = _terms(x, y, version)
    square = (terms * weight) @ terms.T + np.diag(1e-3 + _BENDS / 200)
    return np.asarray(np.linalg.solve(square, (terms * weight) @ np.stack([off_x, off_y]).T).T)


@cache
def _taught(version: int, softness: float) -> tuple[NDArray[np.intp], Floats, Floats, Floats]:
    """Of the known samples: which they are, what they should be, how much they count, and the bend's terms there."""
    target, weight = _template(version, softness)
    used = np.flatnonzero(weight)
    line = np.asarray((np.arange(len(target)) + 0.5) / PITCH - RING, dtype=np.float32)
    terms = _terms(line[used % len(line)], line[used // len(line)], version)
    return used, target.ravel()[used], weight.ravel()[used], terms


def _step(seen: Floats, version: int, softness: float) -> NDArray[np.floating]:
    """One step of Gauss-Newton on the bend, contrast and brightness (Lucas and Kanade 1981)."""
    give_way()
    used, target, weight, terms = _taught(version, softness)
    soft = cv2.GaussianBlur(seen, (0, 0), softness * PITCH / 2)
    slope_x, slope_y = (cv2.Sobel(soft, cv2.CV_32F, *axis, scale=PITCH / 8).ravel()[used] for axis in ((1, 0), (0, 1)))
    columns = np.concatenate([slope_x * terms, slope_y * terms, -target[None], np.ones_like(target)[None]])
    weighted = columns * weight
    square = weighted @ columns.T
    likely = np.tile(_BENDS, 2) * np.trace(square[:12, :12]) / 12000
    square += np.diag([*likely, 0, 0]) + 1e-3 * np.eye(14)
    return np.asarray(np.linalg.solve(square, weighted @ -soft.ravel()[used])[:12].reshape(2, 6))


def evidence_of(luma: Luma, warp: Warp) -> Grid:
    """Look at each module through a filter that undoes blur.

    The filter is learned from the known modules, then once more from all, as it takes them to be. (As earlier frames
    showed them, smeared codes were read less often.)
    """
    samples = rectified(luma, warp)
    means = _means(samples)
    middle, half = _levels(means)
    windows, trust = _windows((means - middle) / half), _trust(means)
    fixed = known(warp.version).astype(np.float32).ravel()
    certain = (fixed != 0) * trust
    made = _through(windows, fixed, certain)
    wanted = np.where(fixed != 0, fixed, np.tanh(made / max(_noise(made, fixed, certain), 0.02)))
    made = _through(windows, wanted, np.abs(wanted) * trust)
    evidence = (np.clip(made, -1, 1) * trust).reshape(known(warp.version).shape)
    return Grid(warp=warp, evidence=evidence, noise=_noise(made, fixed, certain))


def _windows(means: Floats) -> Floats:
    """Each module's surroundings, a row each, with a constant at the end."""
    views = np.lib.stride_tricks.sliding_window_view(means, (TAPS, TAPS)).reshape(-1, TAPS * TAPS)
    return np.concatenate([views, np.ones((len(views), 1), np.float32)], axis=1)


def _trust(means: Floats) -> Floats:
    """Little where a module is brighter than the code's white: a lamp is seen there, whatever the module is."""
    code = means[RING:-RING, RING:-RING]
    black, white = np.percentile(code, (20, 75))
    trust = 1.5 - 2 * (code - white) / max(white - black, 1)
    if white < BRIGHT:
        trust = np.minimum(trust, 2 * (SATURATED - code) / (SATURATED - white))
    return np.asarray(np.clip(trust, 0.02, 1), dtype=np.float32).ravel()


def _through(windows: Floats, wanted: Floats, weight: Floats) -> Floats:
    """What the linear filter makes of the windows that comes nearest to what is wanted (least squares)."""
    start = np.zeros(windows.shape[1], np.float32)
    start[TAPS * TAPS // 2] = -1
    weighted = windows * weight[:, None]
    square = weighted.T @ windows + STIFF * np.eye(len(start), dtype=np.float32)
    taps = np.linalg.solve(square, weighted.T @ wanted + STIFF * start)
    return np.asarray(windows @ taps, dtype=np.float32)


def _noise(made: Floats, wanted: Floats, weight: Floats) -> float:
    return float((weight * (made - wanted) ** 2).sum() / max(float(weight.sum()), 1e-6))
