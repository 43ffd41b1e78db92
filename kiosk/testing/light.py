"""The light that reaches a sensor at a door, apart by where it comes from: lamps, or a phone's screen.

Decides how circumstances show: darkness, daylight behind a visitor, reflections, a screen's pixels against the
sensor's. Refuses to know what a camera makes of it (`kiosk.testing.sensor`). Called by `kiosk.testing.visitors`. Pure;
the caches only save time. docs/visitors.md gives each number's source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.testing.carriers import Carrier, Grey
from kiosk.testing.conditions import Condition
from kiosk.testing.rendering import FOCAL_WIDTHS, Pose, Projection, backdrop, blur, project, silhouette

Floats = NDArray[np.float32]

ORDINARY_LUX = 300.0
"""EN 12464-1: a reception desk. All tones of `carriers` and `rendering` are what the sensor gives in this light."""
WHITE = 200.0
"""Paper in that light: 76 cd/m2."""
GLASS_REFLECTS = 0.045
SURROUNDINGS = 110.0
"""The mean tone of what a phone mirrors."""
SCREEN_BLACK = 38.0
"""Tones that a drawn phone's dark modules have in ordinary light; of themselves they hardly shine."""
SPILL = 0.03
"""Of daylight behind a person, what falls on their near side."""
OPENING = (0.10, 0.05, 0.75)
"""The open door: left, top, height in frame heights."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Light:
    """Grey levels an unlimited sensor would give at `sensor.REFERENCE`: the lamps' light, and what screens add."""

    lamps: Floats
    screens: Floats


@lru_cache(maxsize=2)
def _opening(width: int, height: int, wide: float) -> Floats:
    """1 in the open door, 0 elsewhere, out of focus, with the little that any lens scatters."""
    mask = np.zeros((height, width), dtype=np.float32)
    left, top, high = (round(part * height) for part in OPENING)
    mask[top : top + high, left : left + round(wide * height)] = 1
    soft = cv2.GaussianBlur(mask, (0, 0), height / 90)
    return np.asarray(soft + np.float32(0.02 * soft.mean()), dtype=np.float32)


def _scene(people: Sequence[float], condition: Condition, seed: int, width: int, height: int) -> Floats:
    """The door and who stands there, their middles at these columns."""
    lamps = condition.drawn("lux", seed) / ORDINARY_LUX
    daylight = condition.drawn("daylight_lux", seed) / ORDINARY_LUX
    scene = backdrop(width, height).astype(np.float32) * lamps
    if daylight:
        scene += _opening(width, height, condition.drawn("opening", seed)) * (WHITE * daylight)
    layer = silhouette(width, height)
    for middle in people:
        left = int(np.clip(round(1.5 * width - middle), 0, 2 * width))
        person = layer[:, left : left + width].astype(np.float32)
        # 255 is beside them, and the layer's edges are soft.
        opaque = np.clip((255 - person) / 100, 0, 1)
        scene += (np.minimum(person * (lamps + SPILL * daylight), scene) - scene) * opaque
    return np.asarray(scene, dtype=np.float32)


def _strip(shape: tuple[int, int], middle: tuple[float, float], angle: float, wide: float, haze: float) -> Floats:
    """The mirror image of a lamp: a long bright strip, 1 at its middle."""
    reach = 4.0 * max(shape)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    across = (x - middle[0]) * -sin(angle) + (y - middle[1]) * cos(angle)
    along = (x - middle[0]) * cos(angle) + (y - middle[1]) * sin(angle)
    # Beyond 80 it is 0 in any case, and beyond 88 too much for single precision.
    soft = 1 / (1 + np.exp(np.minimum((np.abs(across) - wide / 2) / (0.55 * haze), 80)))
    return np.asarray(soft * (np.abs(along) < reach), dtype=np.float32)


def _glare(seen: Projection, pose: Pose, condition: Condition, seed: int, focal: float) -> Floats:
    """A lamp in the gloss. It moves by twice the angle the gloss turns, as in any mirror."""
    rng = np.random.default_rng([seed, 7])
    off = rng.uniform(-0.25, 0.25, 2) * 30 * pose.module_px
    middle = (
        pose.x - seen.columns.start + off[0] + 2 * focal * pose.sway[1],
        pose.y - seen.rows.start + off[1] - 2 * focal * pose.sway[0],
    )
    angle = radians(rng.uniform(-30, 30))
    strip = _strip(
        seen.tones.shape[:2], middle, angle, condition.drawn("glare_px", seed), condition.drawn("haze_px", seed)
    )
    peak = condition.drawn("glare", seed) * WHITE * condition.drawn("lux", seed) / ORDINARY_LUX
    return np.asarray(strip * np.float32(peak), dtype=np.float32)


def _moire(seen: Projection, carrier: Carrier, pose: Pose, condition: Condition, seed: int) -> Floats:
    """The screen's pixels sampled by the sensor's, whose beat is far coarser than either; gone out of focus."""
    rng = np.random.default_rng([seed, 8])
    # A screen's pixel, in pixels of the drawing: 20 to 26 to the width of three modules of a code on 1080 columns.
    pitch = carrier.module / rng.uniform(6.5, 8.7)
    height, width = seen.tones.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    back = np.linalg.inv(seen.homography)
    far = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    u = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / far
    v = (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / far
    depth = condition.drawn("moire", seed) * float(np.exp(-((max(pose.defocus_px - 0.6, 0) / 0.8) ** 2)))
    beats = 0.5 * np.cos(2 * np.pi * u / pitch) + 0.5 * np.cos(2 * np.pi * v / pitch)
    return np.asarray(1 + depth * beats, dtype=np.float32)


def _opaque(seen: Projection, carrier: Carrier) -> tuple[Grey, Grey]:
    """Masks: the whole carrier with fingers, and its gloss without them."""
    whole = seen.covered(carrier.shapes[0])
    gloss = whole.copy() if carrier.screen is None else seen.covered(carrier.screen)
    for finger in carrier.shapes[1:]:
        covered = seen.covered(finger)
        whole |= covered
        gloss &= ~covered
    return whole, gloss


def _place(light: Light, carrier: Carrier, pose: Pose, condition: Condition, seed: int) -> None:
    """Put the carrier before what is there, blurred as its pose says."""
    height, width = light.lamps.shape
    seen = project(carrier, pose, width, height)
    if seen is None:
        return
    whole, gloss = _opaque(seen, carrier)
    shining = gloss if carrier.screen is not None else np.zeros_like(gloss)
    tones = seen.tones.astype(np.float32)
    lamps = condition.drawn("lux", seed) / ORDINARY_LUX + SPILL * condition.drawn("daylight_lux", seed) / ORDINARY_LUX
    reflected = np.where(shining > 0, np.float32(GLASS_REFLECTS * SURROUNDINGS), tones) * np.float32(lamps)
    if condition.glare:
        mirrored = _glare(seen, pose, condition, seed, FOCAL_WIDTHS * width)
        reflected = np.where(gloss > 0, reflected + mirrored, reflected)
    emitted = np.maximum(tones - SCREEN_BLACK, 0.3) * np.float32(1.2 * condition.drawn("screen", seed))
    if condition.moire and carrier.screen is not None:
        emitted = emitted * _moire(seen, carrier, pose, condition, seed)
    here = (seen.rows, seen.columns)
    lit = np.where(whole > 0, reflected, light.lamps[here]).astype(np.float32)
    light.lamps[here] = blur(lit, pose)
    shown = np.where(shining > 0, emitted, np.where(whole > 0, np.float32(0), light.screens[here]))
    if shining.any():
        light.screens[here] = blur(shown.astype(np.float32), pose)


def light_of(
    held: Sequence[tuple[Carrier, Pose]],
    people: Sequence[float],
    *,
    condition: Condition,
    seed: int,
    width: int,
    height: int,
) -> Light:
    """The door, people with their middles at these columns, and what they hold."""
    scene = _scene(people, condition, seed, width, height)
    light = Light(lamps=scene, screens=np.zeros_like(scene))
    for carrier, pose in held:
        _place(light, carrier, pose, condition, seed)
    return light
