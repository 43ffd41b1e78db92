"""How a scene looks to the camera: the door, people, what they hold, the lens and the sensor, in 8-bit grey.

Decides what a frame shows, given carriers and their poses. Refuses to know who moves when, what a payload means and
what time it is. Called by `kiosk.testing.visitors`. Pure functions; the caches only save time. Two consecutive
frames never hold the same noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, hypot
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.testing.carriers import Carrier, Grey, box
from kiosk.testing.wear import Area

Matrix = NDArray[np.float64]
Picture = TypeVar("Picture", Grey, NDArray[np.float32])

NOISE_SIGMA = 3.0
PEDESTAL = 12
"""The sensor's black level: noise is stored around it, so that it fits an unsigned byte."""
TILES = 4
TILE_SLACK = 64
FOCAL_WIDTHS = 1.3
"""Focal length over frame width: how strong the perspective of a tilted plane is."""
HALF_RESOLUTION_BLUR_PX = 6.0
"""Blurs wider than this are computed at half resolution; nothing finer is left to lose."""
FURNITURE = (
    (0.0, 0.80, 4.0, 0.20, 92),  # floor, with four seams
    *((0.0, 0.82 + 0.04 * seam, 4.0, 0.004, 76) for seam in range(4)),
    (0.08, 0.06, 0.34, 0.76, 178),  # door frame, two leaves, handle
    (0.10, 0.09, 0.145, 0.70, 208),
    (0.26, 0.09, 0.145, 0.70, 198),
    (0.235, 0.40, 0.012, 0.10, 60),
    (-0.50, 0.14, 0.30, 0.40, 186),  # notice, with a heading and five lines
    (-0.47, 0.18, 0.24, 0.05, 96),
    *((-0.46, 0.27 + 0.05 * line, 0.21, 0.015, 128) for line in range(5)),
    (-0.14, 0.0, 0.05, 0.80, 112),  # pillar
    (0.62, 0.0, 0.36, 0.035, 236),  # lamp
)
"""What stands around the door: left (from the right edge, if negative), top, width, height in frame heights; tone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a carrier is: code centre in frame pixels, pixels per module, angles in radians, blurs in pixels.

    `skew` is how far it moves while one row of the sensor is read; `sway`, of pitch and yaw, away from how it is held.
    """

    x: float
    y: float
    module_px: float
    pitch: float
    yaw: float
    roll: float
    defocus_px: float
    smear: tuple[float, float]
    skew: tuple[float, float] = (0.0, 0.0)
    sway: tuple[float, float] = (0.0, 0.0)


@lru_cache(maxsize=4)
def backdrop(width: int, height: int) -> Grey:
    """The door with nobody in front: all out of focus, darker toward the corners."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(height)
    aspect = width / height
    scene = (150 - 45 * y + 14 * np.sin(1.7 * x + 0.6)).astype(np.uint8)
    for left, top, wide, high, tone in FURNITURE:
        from_left = left if left >= 0 else aspect + left
        box(scene, Area(from_left * height, top * height, wide * height, high * height), tone)
    soft = cv2.GaussianBlur(scene, (0, 0), height / 90).astype(np.float32)
    loss = 1 - 0.22 * (((x - aspect / 2) ** 2 + (y - 0.5) ** 2) / (aspect**2 / 4 + 0.25))
    return np.asarray(np.clip(soft * loss, 0, 255), dtype=np.uint8)


@lru_cache(maxsize=4)
def silhouette(width: int, height: int) -> Grey:
    """A person, three frames wide, darker than the door wherever they are; 255 elsewhere; cut out with `cv2.min`."""
    layer = np.full((height, 3 * width), 255, dtype=np.uint8)
    middle, unit = 1.5 * width, float(height)
    for offset, axes, tone in (
        ((0.0, 1.02), (0.50, 0.60), 62),
        ((0.0, 0.45), (0.09, 0.16), 84),
        ((0.0, 0.27), (0.155, 0.21), 98),
        ((0.0, 0.19), (0.16, 0.13), 34),
        ((0.0, 0.35), (0.12, 0.10), 122),
    ):
        centre = (round(middle + offset[0] * unit), round(offset[1] * unit))
        size = (round(axes[0] * unit), round(axes[1] * unit))
        cv2.ellipse(layer, centre, size, 0, 0, 360, (tone,), cv2.FILLED)
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), height / 60), dtype=np.uint8)


@lru_cache(maxsize=4)
def _noise(width: int, height: int) -> Grey:
    """Tiles of sensor noise around the pedestal, each larger than a frame by the slack."""
    rng = np.random.default_rng([width, height])
    shape = (TILES, height + TILE_SLACK, width + TILE_SLACK)
    noise = rng.standard_normal(shape, dtype=np.float32) * NOISE_SIGMA + PEDESTAL
    return np.asarray(np.clip(np.rint(noise), 0, 255), dtype=np.uint8)


def expose(scene: Grey, gain: float, noise_key: int, index: int) -> Grey:
    """What the sensor makes of the light: gain, black level, noise. Consecutive indexes take different noise."""
    height, width = scene.shape
    tiles = _noise(width, height)
    rng = np.random.default_rng([noise_key, index])
    left, top = rng.integers(0, TILE_SLACK, size=2)
    noise = tiles[(noise_key + index) % TILES, top : top + height, left : left + width]
    return np.asarray(cv2.add(cv2.addWeighted(scene, gain, scene, 0, -PEDESTAL), noise), dtype=np.uint8)


def _homography(carrier: Carrier, pose: Pose, focal: float) -> Matrix:
    """From pixels of the first mip to pixels of the frame."""
    (sp, cp), (sy, cy), (sr, cr) = ((np.sin(a), np.cos(a)) for a in (pose.pitch, pose.yaw, pose.roll))
    turn_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned = turn_z @ turn_x @ turn_y
    plane = np.column_stack([turned[:, 0], turned[:, 1], (0, 0, focal)])
    lens = np.array([[focal, 0, pose.x], [0, focal, pose.y], [0, 0, 1]])
    scale = pose.module_px / carrier.module
    centre_x, centre_y = carrier.centre
    to_plane = np.array([[scale, 0, -scale * centre_x], [0, scale, -scale * centre_y], [0, 0, 1]])
    flat = np.asarray(lens @ plane @ to_plane, dtype=np.float64)
    if pose.skew == (0.0, 0.0):
        return flat
    across, down = pose.skew
    rolling = np.array([[1, across, -across * pose.y], [0, 1 + down, -down * pose.y], [0, 0, 1]])
    return np.asarray(rolling @ flat, dtype=np.float64)


def _smear_kernel(dx: float, dy: float) -> NDArray[np.float32]:
    """An even line from -half to +half of the way moved during the exposure."""
    reach = ceil(max(abs(dx), abs(dy)) / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
    for share in np.linspace(-0.5, 0.5, 4 * reach + 1):
        x, y = share * dx + reach, share * dy + reach
        left, top = min(int(x), 2 * reach - 1), min(int(y), 2 * reach - 1)
        fx, fy = x - left, y - top
        kernel[top : top + 2, left : left + 2] += np.outer((1 - fy, fy), (1 - fx, fx)).astype(np.float32)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def blur(patch: Picture, pose: Pose, share: float = 1.0) -> Picture:
    """Defocus, then motion. `share` is the resolution the patch has been reduced to."""
    dx, dy = pose.smear[0] * share, pose.smear[1] * share
    smear, sigma = hypot(dx, dy), pose.defocus_px * share
    if share == 1.0 and smear + 2 * sigma > HALF_RESOLUTION_BLUR_PX and min(patch.shape) > 1:
        height, width = patch.shape
        small = cv2.resize(patch, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        blurred = blur(np.asarray(small, dtype=patch.dtype), pose, 0.5)
        return np.asarray(cv2.resize(blurred, (width, height)), dtype=patch.dtype)
    soft = cv2.GaussianBlur(patch, (0, 0), sigma)
    if smear > 0.3:  # noqa: PLR2004 - below a third of a pixel it cannot be seen
        soft = cv2.filter2D(soft, -1, _smear_kernel(dx, dy))
    return np.asarray(soft, dtype=patch.dtype)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """A carrier as its pose shows it, sharp, in the part of the frame its blur can reach.

    `homography` leads from pixels of the carrier's first mip to pixels of this part.
    """

    rows: slice
    columns: slice
    tones: Grey
    homography: Matrix

    def covered(self, shape: NDArray[np.float32]) -> Grey:
        """255 within the outline, which is in pixels of the carrier's first mip."""
        mask = np.zeros(self.tones.shape, dtype=np.uint8)
        outline = cv2.perspectiveTransform(shape[None], self.homography)[0]
        cv2.fillConvexPoly(mask, np.rint(outline).astype(np.int32), (255,))
        return mask


def project(carrier: Carrier, pose: Pose, width: int, height: int) -> Projection | None:
    """Where the carrier is in the frame, and how it looks there; None outside the frame."""
    homography = _homography(carrier, pose, FOCAL_WIDTHS * width)
    points = np.concatenate([cv2.perspectiveTransform(shape[None], homography)[0] for shape in carrier.shapes])
    margin = 3 * pose.defocus_px + hypot(*pose.smear) / 2 + 1
    low = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + margin), (width, height)).astype(int)
    if (high - low < 2).any():  # noqa: PLR2004 - outside the frame
        return None
    level = int(np.clip(np.floor(np.log2(carrier.module / pose.module_px)), 0, len(carrier.mips) - 1))
    half = 2.0**level
    to_first = np.array([[half, 0, (half - 1) / 2], [0, half, (half - 1) / 2], [0, 0, 1]])
    here = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]]) @ homography
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    tones = cv2.warpPerspective(carrier.mips[level], here @ to_first, size, borderMode=cv2.BORDER_REPLICATE)
    return Projection(
        rows=slice(low[1], high[1]),
        columns=slice(low[0], high[0]),
        tones=np.asarray(tones, dtype=np.uint8),
        homography=here,
    )


def _place(scene: Grey, carrier: Carrier, pose: Pose) -> None:
    """Put the carrier into the scene, blurred as its pose says, touching only the rectangle it covers."""
    seen = project(carrier, pose, scene.shape[1], scene.shape[0])
    if seen is None:
        return
    patch = scene[seen.rows, seen.columns]
    for shape in carrier.shapes:
        cv2.copyTo(seen.tones, seen.covered(shape), patch)
    patch[:] = blur(patch, pose)


def draw(held: Sequence[tuple[Carrier, Pose]], people: Sequence[float], *, width: int, height: int) -> Grey:
    """The light that reaches the sensor. `people` stand with their middles at these frame columns."""
    scene = backdrop(width, height).copy()
    layer = silhouette(width, height)
    for middle in people:
        left = int(np.clip(round(1.5 * width - middle), 0, 2 * width))
        cv2.min(scene, layer[:, left : left + width], dst=scene)
    for carrier, pose in held:
        _place(scene, carrier, pose)
    return scene
