"""PURE. How long the camera gathers light, from what frames say of a code that was found and not read.

Decides the exposure a frame should have, or that the camera's automatic may choose. Refuses to know the camera, the
clock and what a code is. Called by the daemon's decode thread, once for each frame; docs/camera.md has the reasons.

A camera's automatic looks at the whole frame; a phone at night, a code against a bright door and a flickering screen
are what it gets wrong. A glimpse says how the code itself came out. In a flood of light there is none: no engine finds
a code that is blown out altogether. So a large bright thing that is new in the frame counts too.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from kiosk.clock import MS, S
from kiosk.messages import Exposure, Frame, Glimpse

AGREEING = 2
"""Glimpses in a row that say the same, before anything changes: one may be a smear or a hand's shadow."""
SETTLE_NS = 400 * MS
"""For cameras that do not tell their exposure, or cannot do what was asked. An ask comes true within `buffer_count` + 3
or 4 frames (raspberrypi/picamera2 issue 1278): 8 frames at 30 fps are 267 ms."""
HOLD_NS = 2 * S
"""How long an exposure stays after the last glimpse or read: the next in the queue often holds up the same kind of
thing, and frames of an empty door cost nothing."""
SAME = 0.1
"""Exposures within a tenth are the same: sensors count in rows (about 20 us), and gain in steps."""

FLOODED = 0.08
"""Of the frame, newly at the sensor's limit. A phone near enough to be read covers a fifth of the frame or more."""
UNSEEN_NS = S // 2
"""A flood counts when for so long no code was read or glimpsed: a glimpse knows better."""
LEARNED = 0.003
"""In each frame, of what a door usually has at the limit: lamps and daylight are no flood."""
PIXEL_STEP = 8

DARK = 48
"""A light level below this needs more light. Plain zxing-cpp still reads at 40 and fails at 15."""
BLOWN = 235
"""A light level from here on is at the sensor's limit, or within its noise of it."""
CLIPPED = 0.2
"""A share of clipped pixels that is no glare spot: light modules are half of a code, and this is most of those."""
WASHED_OUT = 80
"""A dark level from here on says that light has spilled over the dark modules: far too much, not a little."""
BANDED = 0.3
"""Plain zxing-cpp reads all codes with bands of 0.3 of the light, 88 % with 0.4, 56 % with 0.5."""
TARGET = 150
"""What a dark code is brought to: well between `DARK` and `BLOWN`. No step crosses both, for a quarter of `BLOWN` is
above `DARK`; a camera's tone curve makes a step smaller, never larger. So a step never asks for its opposite."""
MOST_UP = 8.0
LEAST_US = 100
"""Four rows of a Pi sensor, the least it can do."""
MOST_GAIN = 16.0
"""Where libcamera's own tables end; beyond it there is more noise and no more code."""
FLICKER_FREE_US = (8_333, 10_000, 16_667)
"""Whole periods of what flickers at a door, shortest first. 1/120 s: phone screens dimmed at 120, 240 or 480 Hz. 1/100
s: lamps on Viet Nam's 50 Hz mains, and screens at multiples of 100 Hz. 1/60 s: what is redrawn at 60 Hz; longer than a
moving hand allows, but a hand can be held still and a band cannot."""


class _Trouble(Enum):
    FLOODED = auto()
    BLOWN = auto()
    WASHED_OUT = auto()
    DARK = auto()
    BANDED = auto()


def _trouble(glimpse: Glimpse) -> _Trouble | None:
    """What the exposure has to do with it that this code was not read. Glare on a well-lit code has nothing to do."""
    if glimpse.light >= BLOWN and glimpse.clipped >= CLIPPED:
        return _Trouble.WASHED_OUT if glimpse.dark >= WASHED_OUT else _Trouble.BLOWN
    if glimpse.light < DARK:
        return _Trouble.DARK
    return _Trouble.BANDED if glimpse.banding >= BANDED else None


def _same(one: Exposure, other: Exposure) -> bool:
    times, gains = one.exposure_us / other.exposure_us, one.gain / other.gain
    return abs(times - 1) < SAME and abs(gains - 1) < SAME


def _at_limit(luma: NDArray[np.uint8]) -> float:
    """The share of the frame that is blown out."""
    few = luma[::PIXEL_STEP, ::PIXEL_STEP]
    return float(np.count_nonzero(few >= BLOWN)) / max(1, few.size)


@dataclass(slots=True, kw_only=True)
class _Episode:
    """What is known since the camera was last left to itself."""

    asked: Exposure | None = None
    asked_ns: int = -HOLD_NS
    seen_ns: int = -HOLD_NS
    trouble: _Trouble | None = None
    trouble_ns: int = 0
    agreeing: int = 0
    flicker_free_us: int | None = None
    banding: dict[int, float] = field(default_factory=dict)
    bands_stay: bool = False


class ExposureControl:
    """Follows one camera from when it is opened. `longest_us` is what a moving hand allows."""

    def __init__(self, longest_us: int) -> None:
        self._longest_us = longest_us
        self._now = _Episode()
        self._usual_at_limit: float | None = None

    def step(self, frame: Frame, glimpse: Glimpse | None, *, read: bool = False) -> Exposure | None:
        """The exposure that should be in force from now on; None: the camera's automatic.

        `glimpse` is the newest, if there is a new one, of this frame or one before; `read` says that a code was read.
        """
        now = self._now
        if read or glimpse:
            now.seen_ns = frame.captured_ns
        elif now.asked and frame.captured_ns - max(now.seen_ns, now.asked_ns) > HOLD_NS:
            now = self._now = _Episode(seen_ns=now.seen_ns)
        flooded = self._flooded(frame)
        if glimpse:
            trouble, taken, captured_ns = _trouble(glimpse), glimpse.exposure, glimpse.captured_ns
        elif flooded:
            trouble, taken, captured_ns = _Trouble.FLOODED, frame.exposure, frame.captured_ns
        else:
            return now.asked
        self._count(trouble, captured_ns)
        if self._settled(taken, captured_ns):
            in_force = taken or now.asked or Exposure(exposure_us=self._longest_us, gain=1.0)
            wanted = self._wanted(trouble, glimpse, in_force)
            if wanted and not _same(wanted, in_force):
                now.asked, now.asked_ns, now.agreeing = wanted, frame.captured_ns, 0
        return now.asked

    def _flooded(self, frame: Frame) -> bool:
        """Whether something large and bright has come that hides any code it bears."""
        now = self._now
        at_limit = _at_limit(frame.luma)
        if self._usual_at_limit is None:
            self._usual_at_limit = at_limit
        new = at_limit - self._usual_at_limit
        if now.asked is None:
            self._usual_at_limit += LEARNED * new
        return new >= FLOODED and frame.captured_ns - now.seen_ns > UNSEEN_NS

    def _count(self, trouble: _Trouble | None, captured_ns: int) -> None:
        now = self._now
        agrees = trouble is now.trouble and captured_ns - now.trouble_ns < UNSEEN_NS
        now.agreeing = now.agreeing + 1 if agrees else 1
        now.trouble, now.trouble_ns = trouble, captured_ns

    def _settled(self, taken: Exposure | None, captured_ns: int) -> bool:
        """Whether a frame shows what the last ask did."""
        now = self._now
        if now.asked is None or captured_ns - now.asked_ns >= SETTLE_NS:
            return True
        return taken is not None and _same(taken, now.asked)

    def _wanted(self, trouble: _Trouble | None, glimpse: Glimpse | None, in_force: Exposure) -> Exposure | None:
        if self._now.agreeing < AGREEING:
            return None
        match trouble:
            case _Trouble.FLOODED | _Trouble.WASHED_OUT:
                return self._times(in_force, 1 / 4)
            case _Trouble.BLOWN:
                return self._times(in_force, 1 / 2)
            case _Trouble.DARK if glimpse:
                return self._times(in_force, min(MOST_UP, TARGET / max(glimpse.light, 1)))
            case _Trouble.BANDED if glimpse and not self._now.bands_stay:
                return self._without_bands(glimpse, in_force)
            case _:
                return None

    def _times(self, in_force: Exposure, factor: float) -> Exposure:
        """So many times the light: longer first, as far as a hand allows, then gain."""
        light = in_force.exposure_us * in_force.gain * factor
        time_us = min(light, self._now.flicker_free_us or self._longest_us)
        time_us = max(time_us, LEAST_US)
        return Exposure(exposure_us=round(time_us), gain=min(max(light / time_us, 1.0), MOST_GAIN))

    def _without_bands(self, glimpse: Glimpse, in_force: Exposure) -> Exposure | None:
        """The next flicker-free time under which the code is not blown out; after all of them, the best of them."""
        now = self._now
        now.banding[now.flicker_free_us or in_force.exposure_us] = glimpse.banding
        light = in_force.exposure_us * in_force.gain
        untried = [
            time_us
            for time_us in FLICKER_FREE_US
            if glimpse.light * max(time_us, light) < BLOWN * light
            and all(abs(time_us / tried_us - 1) > SAME / 2 for tried_us in now.banding)
        ]
        now.bands_stay = not untried
        best_us = untried[0] if untried else min(now.banding, key=now.banding.__getitem__)
        time_us = now.flicker_free_us = min(max(best_us, LEAST_US), FLICKER_FREE_US[-1])
        return Exposure(exposure_us=time_us, gain=min(max(light / time_us, 1.0), MOST_GAIN))
