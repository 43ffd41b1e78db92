"""A code laid flat: seen straight on, then unbent, its modules squares of one size.

Decides how a picture of a code is straightened whose version and rough perspective are known. Refuses to know how the
code was found, and what it says. Called by `kiosk.layouts`.

Edges can only lie between modules. So in every neighbourhood the phase of the edges, in the period of the grid, tells
how far that part has been shifted, up to half a module; followed outwards from the finder patterns, further. That
flattens bottles, creases and crumpled paper, which no perspective does.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.engines import Luma
from kiosk.turns import give_way

Plane = NDArray[np.float64]
"""(3, 3): modules from the code's own top left to pixels."""
Field = NDArray[np.float32]

PX = 6
"""Of a module, laid flat."""
QUIET = 4
"""Modules around the code."""
FURTHER = (9, 5)
"""Modules a side of the neighbourhoods of later passes, which put right what is left by less than half a module."""
LEAST_TRUST = 0.2
MOST_STEP = 0.25
"""Modules by which the shift differs from one module to the next: a slope of 14 degrees."""


def warped(luma: Luma, plane: Plane, side: int) -> Luma:
    """A square picture; `plane` takes its pixels to those of `luma`."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpPerspective(luma, plane, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def flattened(luma: Luma, plane: Plane, size: int) -> Luma:
    """The code of so many modules a side and its quiet zone, PX pixels a module."""
    to_modules = np.array([[1 / PX, 0, 0.5 / PX - QUIET], [0, 1 / PX, 0.5 / PX - QUIET], [0, 0, 1]])
    return warped(luma, plane @ to_modules, (size + 2 * QUIET) * PX)


def unbent(flat: Luma, neighbourhood: int) -> Luma:
    """The same, every module where it belongs. The first pass looks at so many modules a side."""
    side = flat.shape[0]
    at_y, at_x = np.mgrid[:side, :side].astype(np.float32)
    picture = flat
    for window in (neighbourhood, *FURTHER):
        shifts = _shifts(picture, window)
        if picture is flat:
            shifts = [(_followed(shift, trust), trust) for shift, trust in shifts]
        over, down = (cv2.resize(cv2.blur(shift, (3, 3)), (side, side)) * PX for shift, _ in shifts)
        at_x, at_y = at_x + over, at_y + down
        moved = cv2.remap(flat, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        picture = np.asarray(moved, dtype=np.uint8)
    return picture


def _shifts(picture: Luma, window: int) -> list[tuple[Field, Field]]:
    """Across, then down: how far each module is shifted, -0.5 to 0.5, and how much that can be trusted, 0 to 1."""
    grey = picture.astype(np.float32)
    count = picture.shape[0] // PX
    turn = 2 * np.pi * (np.arange(PX) + 0.5) / PX
    shifts = []
    for across in (1, 0):
        edges = np.abs(cv2.Sobel(grey, cv2.CV_32F, across, 1 - across, ksize=3)).reshape(count, PX, count, PX)
        by_place = edges.sum(axis=1) if across else edges.sum(axis=3).transpose(0, 2, 1)
        even, odd, every = (
            cv2.boxFilter(np.ascontiguousarray(by_place @ wave, np.float32), -1, (window, window))
            for wave in (np.cos(turn), np.sin(turn), np.ones(PX))
        )
        turned, trust = np.arctan2(odd, even) / (2 * np.pi), np.hypot(odd, even) / (every + 1e-3)
        shifts.append((turned.astype(np.float32), trust.astype(np.float32)))
    return shifts


def _followed(shift: Field, trust: Field) -> Field:
    """The same beyond half a module: from the finder patterns outwards, each module's nearest to its neighbours'."""
    known = np.zeros_like(shift)
    for rows, cols in ((slice(QUIET, QUIET + 7),) * 2, _TOP_RIGHT, _TOP_RIGHT[::-1]):
        known[rows, cols] = 1
    weight, whole = trust + np.float32(0.05), shift * known
    while not known.all():
        give_way()
        near = cv2.boxFilter(known * weight, -1, (3, 3), normalize=False)
        usual = cv2.boxFilter(whole * known * weight, -1, (3, 3), normalize=False) / np.maximum(near, 1e-6)
        step = shift - usual
        step = np.where(trust > LEAST_TRUST, np.clip(step - np.round(step), -MOST_STEP, MOST_STEP), 0)
        whole = np.where((near > 0) & (known == 0), usual + step, whole).astype(np.float32)
        known = np.asarray(near > 0, dtype=np.float32)
    return np.asarray(cv2.blur(whole, (3, 3)), dtype=np.float32)


_TOP_RIGHT = slice(QUIET, QUIET + 7), slice(-QUIET - 7, -QUIET)


def stamped(flat: Luma) -> Luma:
    """The same with three whole finder patterns, whatever is left of them: zxing-cpp looks for them once more."""
    dark, light = np.percentile(flat, (5, 95))
    pattern = np.where(_FINDER, dark, light).astype(np.uint8).repeat(PX, axis=0).repeat(PX, axis=1)
    whole = flat.copy()
    first, last = slice(QUIET * PX, (QUIET + 8) * PX), slice(-(QUIET + 8) * PX, -QUIET * PX)
    whole[first, first], whole[first, last], whole[last, first] = pattern, pattern[:, ::-1], pattern[::-1]
    return whole


_FINDER = np.zeros((8, 8), dtype=np.bool_)
_FINDER[:7, :7] = np.isin(np.maximum(*np.abs(np.mgrid[-3:4, -3:4])), (0, 1, 3))
"""The one at the top left, with its light border to the right and below."""


def sharpened(flat: Luma) -> Luma:
    """By the blur of a module."""
    return np.asarray(cv2.addWeighted(flat, 4, cv2.GaussianBlur(flat, (0, 0), PX * 0.6), -3, 0), dtype=np.uint8)


def redrawn(flat: Luma) -> Luma:
    """Each module as dark or light as its middle is against its neighbours, in a clean quiet zone."""
    middles = cv2.blur(flat, (PX // 2, PX // 2))[PX // 2 :: PX, PX // 2 :: PX][QUIET:-QUIET, QUIET:-QUIET]
    light = middles > cv2.blur(middles, (9, 9), borderType=cv2.BORDER_REFLECT)
    drawn = np.pad(np.where(light, 255, 0).astype(np.uint8), QUIET, constant_values=255)
    return np.asarray(drawn.repeat(4, axis=0).repeat(4, axis=1))


def framed(flat: Luma) -> Luma:
    """The same with a clean quiet zone of three modules; a module's width is left for what was placed badly."""
    clean = np.full_like(flat, np.percentile(flat, 95))
    edge = (QUIET - 1) * PX
    clean[edge:-edge, edge:-edge] = flat[edge:-edge, edge:-edge]
    return clean
