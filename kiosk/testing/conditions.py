"""What happens at doors: named conditions for simulated visitors. docs/visitors.md gives each number's source.

Decides which circumstances a condition has, and within which limits each visitor's are drawn. Refuses to know how
they come about in a picture: that is for `gestures`, `carriers`, `light` and `sensor`, its callers. Pure.
"""

from dataclasses import dataclass

import numpy as np

Span = tuple[float, float]
"""Least and most; each visitor draws from between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Light in lux at the carrier, times in seconds, lengths in pixels of the frame unless the name says otherwise.

    `screen` is a phone's white against that of paper at 300 lux; `glare` and `moire` are shares of the carrier's
    white; `haze_px` softens a reflection. `opening` is the width of the open door behind a visitor, in frame heights.
    `pwm_duty` is the share of time a screen shines.
    """

    phone: bool | None = None
    people: int = 1
    versions: tuple[int, int] = (5, 12)
    approach_s: Span | None = None
    hold_s: Span | None = (1.5, 1.7)
    module_px: Span | None = None
    tremor_px: Span | None = None
    swing_deg: Span | None = None
    hunting_px: Span | None = None
    dark_mode: bool = False
    cracked: bool = False
    fold_deg: Span | None = None
    lux: Span = (300, 300)
    daylight_lux: Span = (0, 0)
    opening: Span | None = None
    screen: Span = (0.9, 1.1)
    pwm_hz: float = 240
    pwm_duty: Span = (0.9, 1.0)
    glare: Span | None = None
    glare_px: Span = (20, 45)
    haze_px: Span = (3, 6)
    moire: Span | None = None
    read_out_s: float = 0.018

    def drawn(self, what: str, seed: int) -> float:
        """This visitor's own value between the limits; 0 where the condition has none."""
        span: Span | None = getattr(self, what)
        # The name as a number: each quantity has draws of its own, the same in every process.
        return float(np.random.default_rng([seed, *what.encode()]).uniform(*span)) if span else 0.0


PLAIN = Condition(hold_s=None)
"""The demo's visitors: in good light, with gestures as `kiosk.testing.gestures` has them."""

CONDITIONS = {
    "plain": PLAIN,
    "lanyard": Condition(phone=False, swing_deg=(4, 9)),
    "dim_phone": Condition(phone=True, screen=(0.06, 0.2), pwm_duty=(0.25, 0.6)),
    "dark_mode": Condition(phone=True, dark_mode=True),
    "cracked": Condition(phone=True, cracked=True),
    "moire": Condition(phone=True, moire=(0.3, 0.7)),
    "glass_glare": Condition(phone=True, glare=(2, 5)),
    "laminated": Condition(phone=False, glare=(1, 2), glare_px=(25, 45), haze_px=(9, 16)),
    "creased": Condition(phone=False, fold_deg=(18, 40)),
    "low_light": Condition(phone=False, lux=(0.5, 4)),
    "night_phone": Condition(phone=True, lux=(4, 12), screen=(1.5, 3.0)),
    "backlight": Condition(phone=False, daylight_lux=(4000, 15000), opening=(0.4, 1.2)),
    "focus_hunting": Condition(hunting_px=(5, 9)),
    "tremor": Condition(tremor_px=(8, 16)),
    "rolling_shutter": Condition(tremor_px=(3, 6), read_out_s=0.031),
    "two_codes": Condition(people=2),
    "small_far": Condition(module_px=(1.9, 2.5)),
    "quick_pass": Condition(approach_s=(0.2, 0.3), hold_s=(0.0, 0.15)),
    "versions": Condition(versions=(3, 25)),
}
