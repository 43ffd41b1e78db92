"""How a hand brings a code to the camera, holds it and takes it away.

Decides every movement, from a seed and the time into the showing. Refuses to know what is held beyond its number of
modules, and how it is drawn. Called by `kiosk.testing.visitors`. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, radians, sin
from typing import NamedTuple

import numpy as np

from kiosk.testing.carriers import QUIET_MODULES
from kiosk.testing.rendering import Pose

EXPOSURE_S = 0.008
LEAST_MODULE_PX = 3.5
"""Codes are brought this near, if the frame has room: a code of 2 px per module is hard even when still."""

Wave = tuple[float, float, float]
"""Amplitude, frequency in hertz, phase in radians."""


class View(NamedTuple):
    """The frame's size in pixels, and how many people share it."""

    width: int
    height: int
    people: int

    @property
    def room(self) -> float:
        """The side of the largest square each person has for their code."""
        return min(self.width / self.people, self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gesture:
    """One hand's movement. `come_from` in frame heights, tremor in pixels, angles in radians.

    `side` is -1 or 1: the half of the frame, with two people; the side they come from.
    """

    start_s: float
    approach_s: float
    hold_s: float
    leave_s: float
    side: float
    module_px: float
    come_from: tuple[float, float]
    rest: tuple[float, float]
    tilt: tuple[float, float, float]
    sway: tuple[Wave, Wave, Wave]
    tremor: tuple[tuple[Wave, Wave], tuple[Wave, Wave]]
    defocus_px: float
    focus_s: float

    @property
    def end_s(self) -> float:
        """When the hand is gone."""
        return self.start_s + self.approach_s + self.hold_s + self.leave_s


@lru_cache(maxsize=64)
def gesture(seed: int, which: int, people: int) -> Gesture:
    """The hand of person `which` (0 or 1) of those who came together."""
    rng = np.random.default_rng([seed, which, 3])
    draw = rng.uniform

    def wave(amplitude: float, rate_hz: float) -> Wave:
        return amplitude, rate_hz, draw(0, 2 * pi)

    side = float(rng.choice((-1.0, 1.0))) if people == 1 else (-1.0, 1.0)[which]
    lean, heading = radians(draw(0, 20)), draw(0, 2 * pi)
    sway = [wave(radians(draw(1, 3.5)), draw(0.3, 0.9)) for _ in range(3)]
    tremor = [wave(draw(0.5, 1.5), draw(8, 12)) for _ in range(4)]
    return Gesture(
        start_s=draw(0, 0.12) * which,
        approach_s=draw(0.42, 0.58),
        hold_s=draw(0.95, 1.15),
        leave_s=draw(0.34, 0.46),
        side=side,
        module_px=draw(3.7, 5.8),
        come_from=(side * draw(0.1, 0.45), draw(0.75, 1.0)),
        rest=(draw(-1, 1), draw(-1, 1)),
        tilt=(lean * cos(heading), lean * sin(heading), radians(draw(-11, 11))),
        sway=(sway[0], sway[1], sway[2]),
        tremor=((tremor[0], tremor[1]), (tremor[2], tremor[3])),
        defocus_px=draw(2.6, 4.0),
        focus_s=draw(-0.1, 0.15),
    )


def _eased(share: float) -> float:
    """Minimum-jerk travel from 0 to 1 (Flash and Hogan, 1985): how a hand reaches."""
    u = min(max(share, 0.0), 1.0)
    return u**3 * (10 - 15 * u + 6 * u * u)


def progress(hand: Gesture, at_s: float) -> tuple[float, float]:
    """How much of the way in, and of the way out, is done; each 0 to 1."""
    since = at_s - hand.start_s
    came = _eased(since / hand.approach_s)
    return came, _eased((since - hand.approach_s - hand.hold_s) / hand.leave_s)


def body_x(hand: Gesture, at_s: float, view: View) -> float:
    """The frame column of the person's middle: in from their side, and, when alone, on to the other."""
    came, gone = progress(hand, at_s)
    alone = view.people == 1
    home = view.width / 2 + (0 if alone else hand.side * view.width / 4)
    return home + hand.side * view.width * (1 - came - (gone if alone else -gone))


def _wobble(waves: Sequence[Wave], at_s: float) -> float:
    return sum(amplitude * sin(2 * pi * rate_hz * at_s + phase) for amplitude, rate_hz, phase in waves)


def _fit(hand: Gesture, modules: int, room: float) -> tuple[float, float]:
    """Pixels per module, and the share of the hand's angles there is room for: a large code is held straight."""
    side = modules + 2 * QUIET_MODULES
    module_px = min(hand.module_px, max(LEAST_MODULE_PX, 0.7 * room / side), 0.93 * room / side)
    return module_px, min(max((room / (side * module_px) - 1) / 0.5, 0.1), 1.0)


def _place(hand: Gesture, modules: int, at_s: float, view: View) -> tuple[float, float, float]:
    """The code's centre, and pixels per module."""
    module_px, _ = _fit(hand, modules, view.room)
    code_px = 1.25 * (modules + 2 * QUIET_MODULES) * module_px
    free_x = max(0.0, view.width / view.people - code_px) / 2
    free_y = max(0.0, view.height - code_px) / 2
    came, gone = progress(hand, at_s)
    away = 1 - came + gone
    home_x = view.width / 2 + (0 if view.people == 1 else hand.side * view.width / 4)
    x = home_x + hand.rest[0] * min(free_x, 0.1 * view.height) + away * hand.come_from[0] * view.height
    y = view.height / 2 + hand.rest[1] * min(free_y, 0.06 * view.height) + away * hand.come_from[1] * view.height
    shake_x, shake_y = (_wobble(waves, at_s) for waves in hand.tremor)
    return x + shake_x, y + shake_y, module_px * (1 - 0.6 * (1 - came) - 0.35 * gone)


def pose(hand: Gesture, modules: int, at_s: float, view: View) -> Pose:
    """Where the hand holds a code of so many modules a side, `at_s` into the showing."""
    x, y, module_px = _place(hand, modules, at_s, view)
    later_x, later_y, _ = _place(hand, modules, at_s + EXPOSURE_S, view)
    _, freedom = _fit(hand, modules, view.room)
    came, gone = progress(hand, at_s)
    away = 1 - came + gone
    pitch, yaw, roll = (
        freedom * (angle + _wobble([sway], at_s)) for angle, sway in zip(hand.tilt, hand.sway, strict=True)
    )
    half_way_s = hand.start_s + hand.approach_s / 2
    focused = _eased((at_s - half_way_s) / (hand.approach_s / 2 + hand.focus_s))
    return Pose(
        x=x,
        y=y,
        module_px=module_px,
        pitch=pitch + 0.25 * away,
        yaw=yaw,
        roll=roll + 0.3 * away * hand.side,
        defocus_px=0.6 + hand.defocus_px * (1 - focused) + 1.2 * gone,
        smear=(later_x - x, later_y - y),
    )
