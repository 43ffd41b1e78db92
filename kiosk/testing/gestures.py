"""How a hand brings a code to the camera, holds it and takes it away.

Decides every movement, from a seed and the time into the showing. Refuses to know what is held beyond its number of
modules, and how it is drawn. Called by `kiosk.testing.visitors`. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import cos, hypot, inf, pi, radians, sin, sqrt
from typing import NamedTuple

import numpy as np

from kiosk.testing.carriers import QUIET_MODULES
from kiosk.testing.conditions import PLAIN, Condition
from kiosk.testing.rendering import Pose

EXPOSURE_S = 0.008
LEAST_MODULE_PX = 3.5
"""Codes are brought this near, if the frame has room: a code of 2 px per module is hard even when still."""
LANYARD_M = 0.45
"""From the neck to the card; a pendulum of that length swings at 0.74 Hz."""
GRAVITY = 9.81
PX_PER_M = 5000.0
"""At a kiosk: a code of 33 modules on 30 mm is seen at 4.5 px per module."""

LEAST_READABLE_PX = 2.0
MOST_TILT = radians(55)
MOST_SMEAR = 1.25
"""In modules, as the next one."""
MOST_DEFOCUS = 0.45

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
    tremor: tuple[tuple[Wave, ...], tuple[Wave, ...]]
    defocus_px: float
    focus_s: float
    hunting: Wave = (0.0, 0.0, 0.0)
    brought_near: bool = True

    @property
    def end_s(self) -> float:
        """When the hand is gone."""
        return self.start_s + self.approach_s + self.hold_s + self.leave_s


@lru_cache(maxsize=64)
def gesture(seed: int, which: int, people: int, condition: Condition = PLAIN) -> Gesture:
    """The hand of person `which` (0 or 1) of those who came together."""
    hand = _plain(seed, which, people)

    def own(what: str, otherwise: float) -> float:
        return condition.drawn(what, seed + which) or otherwise

    hand = replace(
        hand,
        approach_s=own("approach_s", hand.approach_s),
        hold_s=own("hold_s", hand.hold_s),
        module_px=own("module_px", hand.module_px),
        brought_near=condition.module_px is None,
    )
    rng = np.random.default_rng([seed, which, 4])
    if condition.tremor_px:
        hand = replace(hand, tremor=_tremor(condition.drawn("tremor_px", seed + which), rng))
    if condition.hunting_px:
        hand = replace(hand, hunting=(condition.drawn("hunting_px", seed + which), rng.uniform(1, 2), 0.0))
    if condition.swing_deg:
        hand = _swinging(hand, radians(condition.drawn("swing_deg", seed + which)), rng)
    return hand


def _tremor(amplitude: float, rng: np.random.Generator) -> tuple[tuple[Wave, ...], tuple[Wave, ...]]:
    """Two waves along each axis, which together reach the amplitude."""
    waves = [(amplitude / 2, rng.uniform(8, 12), rng.uniform(0, 2 * pi)) for _ in range(4)]
    return tuple(waves[:2]), tuple(waves[2:])


def _swinging(hand: Gesture, angle: float, rng: np.random.Generator) -> Gesture:
    """The card hangs from a neck: it swings to both sides, rises at each end, and twists on its strap."""
    rate_hz, phase = sqrt(GRAVITY / LANYARD_M) / (2 * pi), rng.uniform(0, 2 * pi)
    across: Wave = (LANYARD_M * angle * PX_PER_M, rate_hz, phase)
    up: Wave = (LANYARD_M * angle**2 / 4 * PX_PER_M, 2 * rate_hz, 2 * phase + pi / 2)
    twist: Wave = (radians(rng.uniform(10, 30)), rng.uniform(0.5, 0.9), rng.uniform(0, 2 * pi))
    pitch, _, roll = hand.sway
    return replace(hand, tremor=((*hand.tremor[0], across), (*hand.tremor[1], up)), sway=(pitch, twist, roll))


def _plain(seed: int, which: int, people: int) -> Gesture:
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
    comfortable = max(LEAST_MODULE_PX, 0.7 * room / side) if hand.brought_near else hand.module_px
    module_px = min(hand.module_px, comfortable, 0.93 * room / side)
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


def pose(
    hand: Gesture,
    modules: int,
    at_s: float,
    view: View,
    *,
    exposure_s: float = EXPOSURE_S,
    read_out_s: float = 0.0,
) -> Pose:
    """Where the hand holds a code of so many modules a side, `at_s` into the showing.

    `read_out_s` is how much later the sensor's last row is exposed than its first.
    """
    x, y, module_px = _place(hand, modules, at_s, view)
    later_x, later_y, _ = _place(hand, modules, at_s + exposure_s, view)
    smear = later_x - x, later_y - y
    rows = exposure_s * view.height / read_out_s if read_out_s else inf
    _, freedom = _fit(hand, modules, view.room)
    came, gone = progress(hand, at_s)
    away = 1 - came + gone
    sway = [_wobble([wave], at_s) for wave in hand.sway]
    pitch, yaw, roll = (freedom * (angle + moved) for angle, moved in zip(hand.tilt, sway, strict=True))
    half_way_s = hand.start_s + hand.approach_s / 2
    focused = _eased((at_s - half_way_s) / (hand.approach_s / 2 + hand.focus_s))
    return Pose(
        x=x,
        y=y,
        module_px=module_px,
        pitch=pitch + 0.25 * away,
        yaw=yaw,
        roll=roll + 0.3 * away * hand.side,
        defocus_px=0.6 + hand.defocus_px * (1 - focused) + 1.2 * gone + abs(_wobble([hand.hunting], at_s)),
        smear=smear,
        skew=(smear[0] / rows, smear[1] / rows),
        sway=(freedom * sway[0], freedom * sway[1]),
    )


def readable(pose: Pose, modules: int, view: View) -> bool:
    """Tell whether the pose leaves a code to be read: near, straight, still and sharp enough, and all in the frame.

    The limits are those at which the best engine begins to fail (docs/visitors.md); light is not part of a pose.
    """
    foreshortened = cos(pose.pitch) * cos(pose.yaw)
    reach = modules / 2 * pose.module_px * (abs(cos(pose.roll)) + abs(sin(pose.roll)))
    within = reach <= pose.x <= view.width - reach and reach <= pose.y <= view.height - reach
    return (
        within
        and pose.module_px * foreshortened >= LEAST_READABLE_PX
        and foreshortened > cos(MOST_TILT)
        and hypot(*pose.smear) <= MOST_SMEAR * pose.module_px
        and pose.defocus_px <= MOST_DEFOCUS * pose.module_px
    )
