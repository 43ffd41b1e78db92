"""Pictures to look at again and again: a photo held in a hand, and simulated codes under stress.

Decides what each look shows. Called by `benchmarks/reading.py` and `stress.py`. The same seed gives the same looks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from truth import Tells

from city.declare import qr
from kiosk.engines import Luma
from kiosk.testing.rendering import backdrop

WIDTH, HEIGHT = 1280, 720
NOISE_SIGMA = 2.5
JITTER_PX = 2.0
ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
DECLARATION_CHARACTERS = 250
"""Fills version 9 at level M, as `city.declare` makes it."""
SUPERSAMPLING = 4

Floats = NDArray[np.float32]
Sheet = NDArray[np.int16]


@dataclass(slots=True, kw_only=True)
class Subject:
    """A sequence of looks at one picture, and what tells whether a payload is its text."""

    group: str
    before: Luma
    """What the camera saw until the code appeared; nobody is timed on it."""
    looks: Iterator[Luma]
    tells: Tells


@lru_cache(maxsize=2)
def noises(shape: tuple[int, int]) -> list[Sheet]:
    """A few sheets of sensor noise; each look takes one of them turned its own way."""
    rng = np.random.default_rng(1)
    return [np.rint(rng.normal(0, NOISE_SIGMA, shape)).astype(np.int16) for _ in range(4)]


def noisy(luma: Luma, rng: np.random.Generator) -> Luma:
    """The picture as the sensor gives it this time."""
    sheets = noises((luma.shape[0], luma.shape[1]))
    sheet = np.roll(sheets[rng.integers(len(sheets))], int(rng.integers(luma.size)))
    return np.asarray(cv2.add(luma, sheet, dtype=cv2.CV_8U), dtype=np.uint8)


def photo_looks(luma: Luma, frames: int, seed: int) -> Iterator[Luma]:
    """The photo, then the photo as a hand and a sensor vary it."""
    yield luma
    rng = np.random.default_rng(seed)
    height, width = luma.shape
    for _ in range(frames - 1):
        x, y = rng.uniform(-JITTER_PX, JITTER_PX, 2)
        move = np.array([[1, 0, x], [0, 1, y]])
        moved = cv2.warpAffine(luma, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        yield noisy(np.asarray(moved, dtype=np.uint8), rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """How a code looks to the camera: lengths in pixels of the frame, levels in grey."""

    module_px: float = 4.0
    defocus_px: float = 0.6
    motion_px: float = 0.0
    white: float = 200.0
    black: float = 25.0
    glare: float = 0.0
    """Share of the code's area."""


STRESS = {
    "plain": Stress(),
    "modules 2 px": Stress(module_px=2.0),
    "modules 1.5 px": Stress(module_px=1.5),
    "defocus 2 px": Stress(defocus_px=2.0),
    "defocus 2.4 px": Stress(defocus_px=2.4),
    "motion 6 px": Stress(motion_px=6.0),
    "motion 7 px": Stress(motion_px=7.0),
    "dark, white 20": Stress(white=20.0, black=4.0),
    "dark, white 14": Stress(white=14.0, black=3.0),
    "glare 5 %": Stress(glare=0.05),
    "glare 8 %": Stress(glare=0.08),
    "contrast 8 %": Stress(white=130.0, black=112.0),
    "contrast 5 %": Stress(white=125.0, black=113.0),
}


def _blurred(patch: Floats, stress: Stress, rng: np.random.Generator) -> Floats:
    """Defocus, then an even smear in a direction that is new in each frame."""
    soft = cv2.GaussianBlur(patch, (0, 0), stress.defocus_px)
    if stress.motion_px:
        side = 2 * int(stress.motion_px) + 1
        kernel = np.zeros((side * 8, side * 8), dtype=np.float32)
        half, middle = stress.motion_px * 4, side * 4
        angle = rng.uniform(0, np.pi)
        x, y = half * np.cos(angle), half * np.sin(angle)
        ends = [(round(middle + sign * x), round(middle + sign * y)) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], (1.0,), 8, cv2.LINE_AA)
        small = cv2.resize(kernel, (side, side), interpolation=cv2.INTER_AREA)
        soft = cv2.filter2D(soft, -1, small / small.sum())
    return np.asarray(soft, dtype=np.float32)


def _glared(patch: Floats, stress: Stress, where: NDArray[np.float64], code_px: float) -> Floats:
    """A lamp's reflection: a round saturated spot with a halo."""
    if not stress.glare:
        return patch
    radius = code_px * np.sqrt(stress.glare / np.pi)
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]]
    middle = np.array(patch.shape) / 2 + where * code_px / 3
    away = np.hypot(y - middle[0], x - middle[1]) / radius
    return np.asarray(patch + 300 * np.exp(-np.maximum(away - 1, 0) * 3), dtype=np.float32)


def door(stress: Stress) -> Luma:
    """The simulated door in that light, with nobody there."""
    return np.asarray(cv2.convertScaleAbs(backdrop(WIDTH, HEIGHT), alpha=stress.white / 200), dtype=np.uint8)


def stress_looks(modules: Luma, stress: Stress, frames: int, seed: int) -> Iterator[Luma]:
    """The code in front of the door, tilted and placed by the seed, moved a little and with new noise in each look."""
    rng = np.random.default_rng(seed)
    code_px = modules.shape[0] * stress.module_px
    side = int(code_px * 1.3)
    big, half = side * SUPERSAMPLING, modules.shape[0] / 2
    turn, glare_at = rng.uniform(-10, 10), rng.uniform(-1, 1, 2)
    left, top = int(rng.integers(20, WIDTH - side - 20)), int(rng.integers(20, HEIGHT - side - 20))
    scene = door(stress).astype(np.float32)
    grey = (stress.black + (stress.white - stress.black) * (modules > 0)).astype(np.float32)
    enlarged = grey.repeat(8, axis=0).repeat(8, axis=1)
    for _ in range(frames):
        move = cv2.getRotationMatrix2D((half * 8, half * 8), turn, stress.module_px * SUPERSAMPLING / 8)
        move[:, 2] += big / 2 - half * 8 + rng.uniform(-JITTER_PX, JITTER_PX, 2) * SUPERSAMPLING
        ground = (stress.white * 0.8,)
        drawn = cv2.warpAffine(enlarged, move, (big, big), flags=cv2.INTER_NEAREST, borderValue=ground)
        patch = _blurred(np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA)), stress, rng)
        frame = scene.copy()
        frame[top : top + side, left : left + side] = _glared(patch, stress, glare_at, code_px)
        yield noisy(np.clip(np.rint(frame), 0, 255).astype(np.uint8), rng)


def declared(seed: int) -> tuple[bytes, Luma]:
    """A payload of a declaration's length, and its modules with the quiet zone."""
    text = "".join(np.random.default_rng(seed).choice(list(ALPHANUMERIC), DECLARATION_CHARACTERS)).encode()
    matrix = np.array(qr(text).matrix, dtype=np.uint8)
    return text, np.pad(255 * (1 - matrix), 4, constant_values=255)


def stressed(seeds: int, frames: int) -> Iterator[Subject]:
    """Every condition with every seed."""
    for name, stress in STRESS.items():
        for seed in range(seeds):
            text, modules = declared(seed)
            empty = noisy(door(stress), np.random.default_rng(seed))
            looks = stress_looks(modules, stress, frames, seed)
            yield Subject(group=name, before=empty, looks=looks, tells=text.__eq__)
