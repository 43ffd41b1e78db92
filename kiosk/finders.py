"""Finder patterns in a picture, and which three or two of them may belong to one code.

Decides by shape alone. Refuses to know what lies between the patterns. Called by `kiosk.layouts`.

A finder pattern is known by its light ring around a dark middle, 5 and 3 modules wide: that pair survives where the
outer ring runs into what is printed beside it. Its eight corners also show its tilt. Dark codes on light ground only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.engines import Luma
from kiosk.turns import give_way

Points = NDArray[np.float64]
"""(n, 2): x and y, pixels or modules. One point is (2,)."""
Outline = NDArray[np.int32]
"""(n, 2)"""

MASKS = ((25, 4), (75, 4))
"""Pixels a side of the neighbourhood, and how much darker than its mean is dark. The second won one
of 51 photos that nothing else reads."""
CALM = 2.5
"""Standard deviations of a sensor's noise by which dark is darker at least: with noise of 3 grey levels an empty door
had 57,000 specks, which took 0.3 s to outline; now 0.05 s.
None of 51 photos of 1280x720 that only this reads is lost."""
NOISE_ROWS = 16
BUSY_ROWS = 8
MOST_BUSY = 0.3
"""Of the pixels, unlike the one to their left: a code of modules of 2 px has 0.25, noise and fine checks have 0.5. A
picture of such checks took 2 s to outline."""
MOST_PAIRS = 100
"""Nested outlines of one mask that are looked at closely, the longest first."""
LEAST_LENGTH = 8
LENGTHS = 0.38, 0.85
"""Of a middle's outline, in pixels passed, to its ring's. Exactly 0.6, but steps count as one whatever their slope."""
WIDTHS = 0.45, 0.78
"""Of a middle to its ring, by the roots of their areas; exactly 0.6."""
LEAST_WIDTH = 4
FILLS = 0.8, 1.3
"""Of an outline's area to that of its four farthest points."""
RING = 5
"""Modules."""
NEAREST, FARTHEST = 7, 220
"""Modules from middle to middle, as measured by a pattern itself: 14 to 170, and what a tilt makes of that."""
MOST_SKEW = 1.8
MOST_FINDERS = 16
MOST_TRIPLES = 6
MOST_COUPLES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    """One finder pattern. `ring` and `middle` are corners in pixels, clockwise; `misfit` is 0 for the exact ratio."""

    ring: Points
    middle: Points
    misfit: float

    @property
    def centre(self) -> Points:
        """(2,), pixels."""
        return np.asarray(self.middle.mean(axis=0), dtype=np.float64)

    @property
    def module(self) -> float:
        """Pixels."""
        return float(np.sqrt(cv2.contourArea(self.ring.astype(np.float32)))) / RING


Triple = tuple[Finder, Finder, Finder]
"""Top left, top right, bottom left, as the code itself has them."""


def find_finders(luma: Luma) -> list[Finder]:
    """The likeliest first."""
    found: list[Finder] = []
    taken: list[tuple[float, float, float]] = []
    noise = _noise(luma)
    for block, darker in MASKS:
        least = max(darker, round(CALM * noise))
        mask = cv2.adaptiveThreshold(luma, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, block, least)
        for blob, hole in _nested(mask):
            x, y = float(blob[:, 0].mean()), float(blob[:, 1].mean())
            if any(abs(x - at_x) < reach and abs(y - at_y) < reach for at_x, at_y, reach in taken):
                continue
            finder = _finder(blob, hole)
            if finder is not None:
                found.append(finder)
                taken.append((x, y, 1.5 * finder.module))
    return sorted(found, key=lambda finder: finder.misfit)[:MOST_FINDERS]


def _noise(luma: Luma) -> float:
    """The standard deviation of a sensor's noise, in grey levels: most neighbours differ by nothing else."""
    rows = luma[::NOISE_ROWS].astype(np.int16)
    steps = np.bincount(np.abs(rows[:, 1:] - rows[:, :-1]).ravel(), minlength=1)
    # Of a normal distribution's differences a half is below 0.954 deviations; within a grey level, evenly.
    half, below = steps.sum() / 2, np.cumsum(steps)
    at = int(np.searchsorted(below, half))
    return float(at - 0.5 + (half - below[at] + steps[at]) / max(int(steps[at]), 1)) / 0.954 if half else 0.0


def _nested(mask: cv2.typing.MatLike) -> Iterator[tuple[Outline, Outline]]:
    """Outlines of dark blobs in light holes of dark things, where the length fits, each with its hole's."""
    rows = mask[::BUSY_ROWS]
    if np.count_nonzero(rows[:, 1:] != rows[:, :-1]) > MOST_BUSY * rows.size:
        return
    outlines, tree = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return
    parent = tree[0, :, 3]
    length = np.array([len(outline) for outline in outlines])
    ratio = length / length[parent]
    fits = np.flatnonzero(
        (parent >= 0) & (parent[parent] >= 0) & (length >= LEAST_LENGTH) & (ratio > LENGTHS[0]) & (ratio < LENGTHS[1])
    )
    for at in fits[np.argsort(-length[fits])][:MOST_PAIRS]:
        yield outlines[at][:, 0], outlines[parent[at]][:, 0]


def _finder(blob: Outline, hole: Outline) -> Finder | None:
    # An outline runs through the middle of dark pixels: half a pixel inside a blob, half a pixel outside a hole.
    inner, outer = (float(np.sqrt(cv2.contourArea(one))) for one in (blob, hole))
    if (
        outer < LEAST_WIDTH
        or cv2.contourArea(blob, oriented=True) > 0
        or not WIDTHS[0] < (inner + 1) / (outer - 1) < WIDTHS[1]
    ):
        return None
    ring, middle = _corners(hole), _corners(blob)
    if ring is None or middle is None or np.hypot(*(ring - middle).mean(axis=0)) > outer / RING:
        return None
    ring, middle = _grown(ring, -1 / outer), _grown(middle, 1 / inner)
    return Finder(ring=ring, middle=middle, misfit=abs((inner + 1) / (outer - 1) - 0.6))


def _grown(corners: Points, share: float) -> Points:
    middle = corners.mean(axis=0)
    return np.asarray(middle + (corners - middle) * (1 + share))


def _corners(outline: Outline) -> Points | None:
    """Of a convex quadrilateral, clockwise, where lines through its sides meet; None if it is none."""
    give_way()
    points = outline.astype(np.float64)
    one = points[np.argmax(((points - (points.min(axis=0) + points.max(axis=0)) / 2) ** 2).sum(axis=1))]
    far = points[np.argmax(((points - one) ** 2).sum(axis=1))]
    aside = (points - one) @ np.array([one[1] - far[1], far[0] - one[0]])
    rough = np.array([one, points[np.argmin(aside)], far, points[np.argmax(aside)]])
    area = cv2.contourArea(rough.astype(np.float32))
    if area < LEAST_WIDTH or not FILLS[0] < cv2.contourArea(outline) / area < FILLS[1]:
        return None
    sides = [_side(points, rough[at], rough[(at + 1) % 4]) for at in range(4)]
    met = np.cross(np.roll(sides, 1, axis=0), sides)
    if not met[:, 2].all():
        return None
    corners = met[:, :2] / met[:, 2:]
    return corners if np.all(np.abs(corners - rough) < 0.3 * np.sqrt(area) + 1) else None


def _side(points: Points, start: Points, end: Points) -> Points:
    """The line through the points between two corners, homogeneous (3,)."""
    reach = float(np.hypot(*(end - start)))
    along = (end - start) / max(reach, 1e-9)
    at, off = (points - start) @ along, (points - start) @ np.array([-along[1], along[0]])
    near = points[(at > 0.15 * reach) & (at < 0.85 * reach) & (np.abs(off) < 0.12 * reach + 1)]
    if len(near) <= len((start, end)):
        near = np.array([start, end])
    middle = near.mean(axis=0)
    normal = np.linalg.eigh((near - middle).T @ (near - middle))[1][:, 0]
    return np.append(normal, -normal @ middle)


def _heading(finder: Finder, to: Points) -> tuple[int, float, float]:
    """Which side faces that point, 0 to 3 clockwise; how many degrees past it it looks; how many modules away it is."""
    sides = (finder.ring + np.roll(finder.ring, -1, axis=0)) / 2 - finder.ring.mean(axis=0)
    reaches, way = np.maximum(np.hypot(sides[:, 0], sides[:, 1]), 1e-9), to - finder.centre
    far = max(float(np.hypot(*way)), 1e-9)
    cosines = sides @ way / reaches / far
    side = int(np.argmax(cosines))
    return side, float(np.degrees(np.arccos(min(1.0, cosines[side])))), far / float(reaches[side]) * RING / 2


Headings = dict[tuple[int, int], tuple[int, float, float]]


def _headings(finders: Sequence[Finder], most_degrees: float) -> Headings:
    """Of those two by two that may stand in one code, in both directions."""
    pairs = permutations(range(len(finders)), 2)
    headings = {(one, two): _heading(finders[one], finders[two].centre) for one, two in pairs}
    near = {
        pair
        for pair, (_, degrees, modules) in headings.items()
        if degrees < most_degrees and NEAREST < modules < FARTHEST
    }
    return {(one, two): headings[one, two] for one, two in headings if {(one, two), (two, one)} <= near}


def triples(finders: Sequence[Finder]) -> list[Triple]:
    """The likeliest first: parallel to each other, as far one way as the other, near, of exact ratio."""
    headings = _headings(finders, 22)
    rated = []
    for first, right, below in permutations(range(len(finders)), 3):
        if (first, right) not in headings or (first, below) not in headings:
            continue
        over, under = headings[first, right], headings[first, below]
        back, up = headings[right, first], headings[below, first]
        wide, high = np.sqrt(over[2] * back[2]), np.sqrt(under[2] * up[2])
        if (under[0] - over[0]) % 4 == 1 and max(wide, high) < MOST_SKEW * min(wide, high):
            off = over[1] + back[1] + under[1] + up[1]
            misfit = sum(finders[at].misfit for at in (first, right, below))
            cost = off + 20 * abs(np.log(wide / high)) + 100 * misfit + 0.3 * min(wide, high)
            rated.append((float(cost), (first, right, below)))
    return [(finders[a], finders[b], finders[c]) for _, (a, b, c) in sorted(rated)[:MOST_TRIPLES]]


def couples(finders: Sequence[Finder]) -> list[tuple[Finder, Finder]]:
    """Two that may be neighbours in a code, both ways round, the likeliest first."""
    headings = _headings(finders, 12)
    rated = sorted(headings, key=lambda pair: headings[pair][1] + 100 * sum(finders[at].misfit for at in pair))
    return [(finders[one], finders[two]) for one, two in rated[:MOST_COUPLES]]
