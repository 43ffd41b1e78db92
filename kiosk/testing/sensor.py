"""A rolling-shutter sensor: light to grey levels, by exposure and gain; and when a camera applies what it was asked.

Decides noise, saturation, stripes from lamps and screens, and automatic exposure. Refuses to know what is in the
picture. Called by `kiosk.testing.visitors`. Pure; the caches only save time. docs/visitors.md gives each number's
source. The response is linear: half the exposure gives half the grey level, until it saturates.
"""

from collections import deque
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.messages import Exposure
from kiosk.testing.carriers import Grey
from kiosk.testing.conditions import Condition
from kiosk.testing.light import Floats, Light

REFERENCE = Exposure(exposure_us=8000, gain=4.0)
"""What `kiosk.testing.light` gives its tones for."""
FULL_WELL_E = 4 * 4300.0
"""Electrons that give 255 at gain 1: four pixels of the OV5647 make one of a 1280x720 frame."""
READ_NOISE_E = 2 * 3.0
"""Of the four together."""
FLICKER_HZ = 100.0
FLICKER_DEPTH = 0.08
DELAY_FRAMES = 2
TARGET_GREY = 112.0
SPEED = 0.15
STAGES = ((100, 1.0), (5000, 2.0), (10000, 4.0), (20000, 6.0), (33000, 16.0))
"""Automatic exposure goes from stage to stage, first the time (us), then the gain."""
_SLACK = 64
_TILES = 4


def flicker(starts_s: NDArray[np.float64], exposure_s: float) -> NDArray[np.float64]:
    """How much of the lamps' mean light each row gets: mains lamps go on and off twice a period."""
    turns = 2 * np.pi * FLICKER_HZ
    swing = (np.cos(turns * starts_s) - np.cos(turns * (starts_s + exposure_s))) / (turns * exposure_s)
    return np.asarray(1 + FLICKER_DEPTH * swing, dtype=np.float64)


def pulsed(starts_s: NDArray[np.float64], exposure_s: float, rate_hz: float, duty: float) -> NDArray[np.float64]:
    """How much of a screen's mean light each row gets: it is dimmed by switching it off for part of each period."""

    def gathered(until_s: NDArray[np.float64]) -> NDArray[np.float64]:
        periods = until_s * rate_hz
        whole = np.floor(periods)
        return np.asarray(whole + np.minimum((periods - whole) / duty, 1), dtype=np.float64)

    return (gathered(starts_s + exposure_s) - gathered(starts_s)) / (exposure_s * rate_hz)


@lru_cache(maxsize=2)
def _noise(width: int, height: int) -> Floats:
    """Tiles of unit noise, each larger than a frame by the slack."""
    rng = np.random.default_rng([width, height, 9])
    return rng.standard_normal((_TILES, height + _SLACK, width + _SLACK), dtype=np.float32)


def develop(
    light: Light, exposure: Exposure, *, condition: Condition, seed: int, at_s: float, noise: tuple[int, int]
) -> Grey:
    """What the sensor makes of the light, whose arrays it takes over. Its first row begins to gather at `at_s`.

    `noise` is a key and the frame's number; consecutive numbers take different noise.
    """
    height, width = light.lamps.shape
    exposure_s = exposure.exposure_us / 1e6
    starts_s = at_s + np.arange(height) * (condition.read_out_s / height)
    brought = exposure.exposure_us * exposure.gain / (REFERENCE.exposure_us * REFERENCE.gain)
    grey = light.lamps
    grey *= (flicker(starts_s, exposure_s) * brought).astype(np.float32)[:, None]
    if light.screens.any():
        screens = pulsed(starts_s, exposure_s, condition.pwm_hz, condition.drawn("pwm_duty", seed)) * brought
        grey += light.screens * screens.astype(np.float32)[:, None]
    per_electron = 255 * exposure.gain / FULL_WELL_E
    left, top = np.random.default_rng(noise).integers(0, _SLACK, size=2)
    tile = _noise(width, height)[sum(noise) % _TILES, top : top + height, left : left + width]
    sigma = cv2.sqrt(grey * np.float32(per_electron) + np.float32((READ_NOISE_E * per_electron) ** 2))
    return np.asarray(cv2.add(grey, sigma * tile, dtype=cv2.CV_8U), dtype=np.uint8)


def automatic(product: float) -> Exposure:
    """Split time times gain (us) as libcamera's short exposure mode does."""
    time_us, gain = map(float, STAGES[0])
    for most_us, most_gain in STAGES:
        time_us = min(most_us, max(time_us, product / gain))
        gain = min(most_gain, max(gain, product / time_us))
    return Exposure(exposure_us=round(time_us), gain=round(gain, 3))


class Controls:
    """Which exposure each frame is taken with: what was asked two frames before, or automatic.

    `product` is the time (us) times gain that automatic exposure starts from. Frames are asked for in order.
    """

    def __init__(self, product: float = REFERENCE.exposure_us * REFERENCE.gain) -> None:
        self._product = product
        self._wanted: deque[tuple[int, Exposure | None]] = deque()
        self._latest: Exposure | None = None
        self._frame = 0

    def expose(self, exposure: Exposure | None) -> None:
        """Ask for an exposure, or for automatic. Safe from another thread."""
        self._wanted.append((self._frame + DELAY_FRAMES, exposure))

    @property
    def is_automatic(self) -> bool:
        """No exposure is in effect that somebody asked for."""
        return self._latest is None

    def of(self, number: int) -> Exposure:
        """The exposure of a frame."""
        while self._wanted and self._wanted[0][0] <= number:
            _, self._latest = self._wanted.popleft()
        self._frame = number
        return self._latest or automatic(self._product)

    def meter(self, luma: Grey, exposure: Exposure) -> None:
        """Learn from a frame: the mean of it all, a part of the way at a time."""
        wanted = exposure.exposure_us * exposure.gain * TARGET_GREY / max(float(luma[::4, ::4].mean()), 1.0)
        self._product *= (wanted / self._product) ** SPEED
        least, most = STAGES[0][0] * STAGES[0][1], STAGES[-1][0] * STAGES[-1][1]
        self._product = min(max(self._product, least), most)
