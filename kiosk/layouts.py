"""Codes where zxing-cpp sees none: strongly tilted, bent, creased, shone upon, or without a quiet zone.

Decides where the code of some finder patterns lies, and of which version it is; lays it flat and lets zxing-cpp read
that. Refuses to know frames, and when it is worth its time: that is the ladder's (`kiosk.decoder`), its caller.

Three patterns give perspective and version; where none such can be read, two and the place that looks most like a
third. Whatever the picture shows, no more is tried than MOST_TRIPLES, MOST_COUPLES and MOST_MODULES allow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import cv2
import numpy as np

from kiosk.engines import Luma, Read, quad_of, read_zxing
from kiosk.finders import Finder, Points, Triple, couples, find_finders, triples
from kiosk.turns import give_way
from kiosk.unbend import PX, QUIET, Plane, flattened, framed, redrawn, sharpened, stamped, unbent, warped

MOST_THIRDS = 3
MOST_SIZE = 117
"""Modules a side, version 25: larger ones need more pixels than a tilted code has in 1280x720."""
MOST_MODULES = 8_000
"""Laid flat in vain, of one picture, before no further code is tried; and again for codes of two patterns."""
SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
LOCAL = np.concatenate([SQUARE * 2.5, SQUARE * 1.5])
"""The corners of a finder pattern's light ring and dark middle, modules from its own middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a code lies. `size` is modules a side."""

    finders: Triple
    size: int
    plane: Plane


def _labelled(corners: Points, across: Points, down: Points) -> Points:
    """The same corners from the one at the code's own top left on."""
    give_way()
    skew = (corners - corners.mean(axis=0)) @ np.linalg.pinv(np.column_stack([across, down])).T
    turns = [np.roll(order, -first) for order in (np.arange(4), np.arange(4)[::-1]) for first in range(4)]
    return corners[max(turns, key=lambda turn: float((skew[turn] * SQUARE).sum()))]


def _seen(finders: Sequence[Finder], across: Points, down: Points) -> Points:
    quads = chain.from_iterable((finder.ring, finder.middle) for finder in finders)
    return np.concatenate([_labelled(quad, across, down) for quad in quads])


def _drawn(size: int, finders: int) -> Points:
    """Where the corners of the top left, top right and bottom left patterns are, modules."""
    far = size - 7
    return np.concatenate([LOCAL + 3.5 + np.array(at) for at in ((0, 0), (far, 0), (0, far))[:finders]])


def _plane(drawn: Points, seen: Points, weight: Points | None = None) -> Plane:
    """The perspective that takes one to the other, by least squares."""
    give_way()
    shift, spread, reach = seen.mean(axis=0), float(seen.std()) + 1e-9, float(np.max(drawn))
    (x, y), (u, v) = (drawn / reach).T, ((seen - shift) / spread).T
    one, none = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [
            np.column_stack([x, y, one, none, none, none, -u * x, -u * y]),
            np.column_stack([none, none, none, x, y, one, -v * x, -v * y]),
        ]
    )
    trust = np.ones(2 * len(x)) if weight is None else np.tile(weight, 2)
    found = np.linalg.lstsq(rows * trust[:, None], np.concatenate([u, v]) * trust, rcond=None)[0]
    whole = np.append(found, 1.0).reshape(3, 3) @ np.diag([1 / reach, 1 / reach, 1.0])
    return np.asarray(np.array([[spread, 0, shift[0]], [0, spread, shift[1]], [0, 0, 1]]) @ whole)


def _placed(plane: Plane, modules: Points) -> Points:
    at = np.column_stack([modules, np.ones(len(modules))]) @ plane.T
    depth = np.where(np.abs(at[:, 2:]) < HORIZON, HORIZON, at[:, 2:])
    return np.asarray(at[:, :2] / depth)


HORIZON = 1e-9


def _timing(luma: Luma, plane: Plane, size: int, *, down: bool) -> float:
    """How well one timing pattern alternates: 1 where it does at every module."""
    give_way()
    steps = np.arange(8, size - 8) + 0.5
    tracks = np.array([np.column_stack([steps, np.full_like(steps, 6.5 + off)]) for off in (-0.3, 0, 0.3)])
    at = _placed(plane, (tracks[..., ::-1] if down else tracks).reshape(-1, 2)).astype(np.float32)
    greys = cv2.remap(luma, at[:, :1], at[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    track = greys.reshape(3, -1).astype(np.float32).mean(axis=0)
    track -= track.mean()
    return float(track[1::2].sum() - track[::2].sum()) / (float(np.abs(track).sum()) + 1e-3)


def _guessed(seen: Points) -> float:
    """Modules a side, by the patterns' own widths along the way from one to the other."""
    rings = seen.reshape(-1, 8, 2)[:, :4]
    sizes = []
    for end, (left, right) in zip(range(1, len(rings)), (((0, 3), (1, 2)), ((0, 1), (2, 3))), strict=False):
        gap = np.hypot(*(rings[end].mean(axis=0) - rings[0].mean(axis=0)))
        widths = [np.hypot(*(rings[at][list(right)] - rings[at][list(left)]).mean(axis=0)) for at in (0, end)]
        sizes.append(7 + 5 * float(gap / max(np.sqrt(widths[0] * widths[1]), 1e-9)))
    return float(np.mean(sizes))


def _best(luma: Luma, finders: Sequence[Finder], across: Points, down: Points) -> tuple[float, int, Plane]:
    """Rating, size and plane of the version that fits best."""
    seen = _seen(finders, across, down)
    module = min(finder.module for finder in finders)
    guess = _guessed(seen)
    rated = [(NOTHING, 21, np.eye(3))]
    for size in range(21, MOST_SIZE + 1, 4):
        if 0.7 * guess - 4 < size < 1.4 * guess + 4:
            drawn = _drawn(size, len(finders))
            plane = _plane(drawn, seen)
            off = float(np.sqrt(((_placed(plane, drawn) - seen) ** 2).sum(axis=1).mean())) / module
            shown = [_timing(luma, plane, size, down=way) for way in (False, True)[: len(finders) - 1]]
            rated.append((sum(shown) - off, size, plane))
    return max(rated, key=lambda one: one[0])


NOTHING = -9.0
LEAST_RATING = 0.2
"""2 where both timing patterns show at every module and all corners fit; 0 where chance would do."""


def _layout(luma: Luma, finders: Triple) -> Layout | None:
    corner, right, below = finders
    rating, size, plane = _best(luma, finders, right.centre - corner.centre, below.centre - corner.centre)
    return Layout(finders=finders, size=size, plane=plane) if rating > LEAST_RATING else None


_RINGS = np.where(np.maximum(*np.abs(np.mgrid[-4:5, -4:5])) % 2 == 0, 255, 0).astype(np.uint8)
_RINGS[4, 4] = 0
"""A finder pattern with a module of quiet zone round it."""
THIRD_PX = 4
LEAST_LIKENESS = 0.35


def _thirds(luma: Luma, finders: Sequence[Finder]) -> list[Triple]:
    """Two patterns, and where the third would be the place that looks most like one."""
    rated: list[tuple[float, int, tuple[Finder, Finder], int, Points, Points]] = []
    for one, two in couples(finders):
        across = two.centre - one.centre
        for down in (np.array([-across[1], across[0]]), np.array([across[1], -across[0]])):
            rating, size, _ = _best(luma, (one, two), across, down)
            if rating > LEAST_RATING:
                rated.append((rating, len(rated), (one, two), size, across, down))
    found: list[tuple[float, int, Triple]] = []
    for _, _, pair, size, across, down in sorted(rated, reverse=True)[:MOST_THIRDS]:
        likeness, third = _likeliest(luma, size, _seen(pair, across, down))
        if likeness > LEAST_LIKENESS:
            found.append((likeness, len(found), _in_order(pair, third)))
    return [triple for _, _, triple in sorted(found, reverse=True)]


def _likeliest(luma: Luma, size: int, seen: Points) -> tuple[float, Finder]:
    """Below the first pattern. Without perspective: two patterns do not show it well so far away."""
    modules = np.column_stack([_drawn(size, 2), np.ones(len(seen))])
    plane = np.vstack([np.linalg.lstsq(modules, seen, rcond=None)[0].T, [0, 0, 1]])
    reach = (9 + size / 2) / 2
    zoom = np.array([[1 / THIRD_PX, 0, 3.5 - reach], [0, 1 / THIRD_PX, size - 3.5 - reach], [0, 0, 1]])
    side = int(2 * reach * THIRD_PX)
    window = warped(luma, plane @ zoom, side)
    best: tuple[float, Points, float] = (-1.0, np.zeros(2), 1.0)
    for stretch in (1.0, 0.8, 1.25):
        shape = 9 * THIRD_PX, round(9 * THIRD_PX * stretch)
        likeness = cv2.matchTemplate(
            window, cv2.resize(_RINGS, shape, interpolation=cv2.INTER_NEAREST), cv2.TM_CCOEFF_NORMED
        )
        _, most, _, corner = cv2.minMaxLoc(likeness)
        best = max(best, (most, np.array(corner) + np.array(shape) / 2, stretch), key=lambda one: one[0])
    most, middle, stretch = best
    ring, inner = (
        _placed(plane @ zoom, middle + SQUARE * THIRD_PX * half * np.array([1, stretch])) for half in (2.5, 1.5)
    )
    return most, Finder(ring=ring, middle=inner, misfit=0.1)


def _in_order(pair: Sequence[Finder], third: Finder) -> Triple:
    (corner, other), (over, down) = pair, third.centre - pair[0].centre
    across = other.centre - corner.centre
    return (corner, other, third) if across[0] * down - across[1] * over > 0 else (corner, third, other)


_ALIGNMENT = np.where(np.maximum(*np.abs(np.mgrid[-2:3, -2:3])) % 2 == 0, 0, 255).astype(np.uint8)
_ALIGNMENT = _ALIGNMENT.repeat(PX, axis=0).repeat(PX, axis=1)
LEAST_ALIGNED = 0.45


def _aligned(luma: Luma, layout: Layout) -> Plane | None:
    """With the alignment pattern farthest from the three finder patterns; None where none is seen."""
    if layout.size < SMALLEST_ALIGNED:
        return None
    reach = int((4 + layout.size / 12) * PX)
    start = int((layout.size - 6.5 + QUIET) * PX) - reach
    window = flattened(luma, layout.plane, layout.size)[start : start + 2 * reach + 1, start : start + 2 * reach + 1]
    likeness = cv2.matchTemplate(window, _ALIGNMENT, cv2.TM_CCOEFF_NORMED)
    line = np.linspace(-1, 1, likeness.shape[0]) * (1 - len(_ALIGNMENT) / 2 / reach)
    x, y = cv2.minMaxLoc(likeness - 0.15 * np.hypot(line[:, None], line[None]).astype(np.float32))[3]
    if likeness[y, x] < LEAST_ALIGNED:
        return None
    seen = (np.array([[x, y]]) + start + len(_ALIGNMENT) / 2) / PX - QUIET
    corner, right, below = layout.finders
    three = _seen(layout.finders, right.centre - corner.centre, below.centre - corner.centre)
    drawn = np.concatenate([_drawn(layout.size, 3), [[layout.size - 6.5] * 2]])
    return _plane(drawn, np.concatenate([three, _placed(layout.plane, seen)]), np.array([1.0] * len(three) + [3.0]))


SMALLEST_ALIGNED = 25
FARTHEST = 10_000
"""Pixels; a corner near the horizon of a strong tilt may lie anywhere."""


def _read_layout(luma: Luma, layout: Layout) -> list[Read]:
    """By the alignment pattern, then without it."""
    aligned = _aligned(luma, layout)
    for plane in (layout.plane,) if aligned is None else (aligned, layout.plane):
        for payload, _ in chain.from_iterable(map(read_zxing, _straightened(luma, plane, layout.size))):
            ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * float(layout.size)
            return [(payload, quad_of(np.clip(_placed(plane, ends), -FARTHEST, FARTHEST).tolist()))]
    return []


def _straightened(luma: Luma, plane: Plane, size: int) -> Iterator[Luma]:
    """In the order of what they win: redrawn and sharp, as it is, and by wider neighbourhoods where ink is broken."""
    flat = flattened(luma, plane, size)
    straight = unbent(flat, 3)
    yield redrawn(stamped(sharpened(straight)))
    yield framed(straight)
    yield redrawn(stamped(unbent(flat, 7)))


def read_found(luma: Luma) -> list[Read]:
    """Every code that can be read by its finder patterns. Two patterns are tried only where three gave none."""
    finders = find_finders(luma)
    return _read(luma, triples(finders)) or _read(luma, _thirds(luma, finders))


def _read(luma: Luma, candidates: Sequence[Triple]) -> list[Read]:
    reads: list[Read] = []
    used: set[int] = set()
    in_vain = 0
    for triple in candidates:
        layout = None if used.intersection(map(id, triple)) else _layout(luma, triple)
        if layout is None:
            continue
        found = _read_layout(luma, layout)
        reads += found
        if found:
            used.update(map(id, triple))
            continue
        in_vain += layout.size**2
        if in_vain > MOST_MODULES:
            break
    return reads
