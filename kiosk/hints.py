"""PURE. Glimpses of a code that could not be read become advice to whoever holds it, calmly.

Decides what a glimpse advises, and when the screen may say so: after the evidence has held for a while, for long
enough to be read, and no longer than the code is there. Refuses to know the words, and whether the screen has
something weightier to say. The gate calls it with every input.

Most limits are where zxing-cpp stopped reading drawn codes of which one property was changed at a time ("drawn:" below
says what share it read). A glimpse is of a code that was not read, so they only have to find the likeliest reason.
"""

from collections import Counter, deque
from math import hypot, sqrt

from kiosk.clock import MS, S
from kiosk.messages import Glimpse, Hint, Input, Quad, Seen

HOLDS_NS = 500 * MS
"""Evidence must hold for so long, and that much of it is weighed: most codes are read sooner, without advice."""
FEWEST_GLIMPSES = 4
STAYS_NS = 1500 * MS
"""A hint is read in about a second; before that no other takes its place."""
GAP_NS = 400 * MS
"""Without a glimpse for so long, evidence begins anew."""
GONE_NS = S
"""Without a glimpse for so long, nobody is being advised."""
FRAME_S = 0.25
"""Two glimpses further apart say nothing of how the code moves."""

TYPICAL_MODULES = 49
"""A side, where the version cannot be read: the 239 bytes of a signed declaration need version 8 at level L."""
SMALL_PX = 2.0
"""A module. Drawn: 97 % at 2.0, 91 % at 1.75, 9 % at 1.5."""
AMPLE_PX = 4.0
"""A module: the size at which all else was tried. A blurred code smaller than this gains by coming closer; a larger
one is too near for the lens."""
FILLS = 0.9
"""Of the frame's height or width: no quiet zone is left."""
CUT_FILLS = 0.5
"""As `FILLS`, for a code that leaves the frame at one side; a smaller one is only held beside it."""
CUT_PX = 3
TILTED = 50.0
"""Degrees. Drawn: 100 % at 50, 53 % at 60."""
PALE = 50
"""Grey levels between dark and light: a fifth of the range. Drawn: 100 % at 0.12, 88 % at 0.08, 0 % at 0.05 without
any other trouble, and a code that has no other is then hardly found either."""
MIDDLE = 128
"""Grey. A pale code below it wants light, one above it is washed out."""
BLURRED = 0.7
"""Edge width in modules, beyond the pixels' own: 1.6 to 1.8 sigma of a Gaussian as `kiosk.glimpses` measures it, so
sigma 0.4. Drawn: 100 % at 0.38, 84 % at 0.45, 0 % at 0.5."""
PIXEL_PX = 1.6
"""Width of an edge that is as sharp as the pixels show it, as `kiosk.glimpses` measures it."""
SMEARED = 1.25
"""Modules that the code moves while the frame is exposed. Drawn: 100 % at 1.25, 53 % at 1.5, 3 % at 1.75."""
MOVING = 0.3
"""As `SMEARED`: not enough to blur it, but enough to say what did."""
USUAL_EXPOSURE_S = 0.010
"""Where the camera does not tell: half a period of the mains, under which lamps do not flicker."""
GLARE = 0.05
"""Of the code at the sensor's limit. Drawn, a spot on 2 % of the code and its halo (0.07 at the limit): 97 %, on 4 %
(0.12): 72 %, on 7 % (0.21): 25 %. White paper may be at the limit too, so all else is looked for first."""


class Hints:
    """Follows the glimpses of one door.

    Args:
        frame_size: the camera's width and height in pixels.
        rest_ns: after a read, nothing is evidence for so long: that code is still there and has had its answer.
    """

    def __init__(self, frame_size: tuple[int, int], rest_ns: int) -> None:
        self._frame_size = frame_size
        self._rest_ns = rest_ns
        self._read_ns: int | None = None
        self._last: Glimpse | None = None
        self._last_ns = 0
        self._since_ns = 0
        self._votes: deque[tuple[int, Hint]] = deque(maxlen=64)
        self._shown: Hint | None = None
        self._shown_ns = 0

    @property
    def deadline_ns(self) -> int | None:
        """When the hint goes by itself; None while there is none."""
        return max(self._last_ns + GONE_NS, self._shown_ns + STAYS_NS) if self._shown else None

    def step(self, given: Input, now_ns: int) -> Hint | None:
        """Take one input of the gate and say what to advise now."""
        if isinstance(given, Seen) and given.sightings:
            self._read_ns = now_ns
            self.clear()
        elif isinstance(given, Glimpse) and (self._read_ns is None or now_ns >= self._read_ns + self._rest_ns):
            self._note(given, now_ns)
            self._choose(now_ns)
        if self.deadline_ns is not None and now_ns >= self.deadline_ns:
            self.clear()
        return self._shown

    def clear(self) -> None:
        """Say nothing, and begin anew."""
        self._votes.clear()
        self._last = None
        self._shown = None

    def _note(self, glimpse: Glimpse, now_ns: int) -> None:
        if self._last is None or now_ns - self._last_ns > GAP_NS:
            self._votes.clear()
            self._since_ns = now_ns
        self._votes.append((now_ns, advice(glimpse, self._last, self._frame_size)))
        while self._votes[0][0] < now_ns - HOLDS_NS:
            self._votes.popleft()
        self._last, self._last_ns = glimpse, now_ns

    def _choose(self, now_ns: int) -> None:
        """The advice of most glimpses, else none in particular; what a third of them still say stays."""
        settled = now_ns - self._since_ns >= HOLDS_NS and len(self._votes) >= FEWEST_GLIMPSES
        if not settled or (self._shown and now_ns - self._shown_ns < STAYS_NS):
            return
        counts = Counter(hint for _, hint in self._votes)
        if self._shown and 3 * counts[self._shown] >= len(self._votes):
            return
        ((best, count),) = counts.most_common(1)
        wanted = best if 2 * count >= len(self._votes) else Hint.READING
        if wanted is not self._shown:
            self._shown, self._shown_ns = wanted, now_ns


def advice(glimpse: Glimpse, before: Glimpse | None, frame_size: tuple[int, int]) -> Hint:
    """Say what would help most in one frame; `before` is the glimpse before it, which tells of motion."""
    module_px = glimpse.module_px or side_px(glimpse.quad) / TYPICAL_MODULES
    blurred = sqrt(max(0.0, glimpse.edge_px**2 - PIXEL_PX**2)) > BLURRED * module_px
    pale = glimpse.light - glimpse.dark < PALE
    smear_px = _smear_px(glimpse, before)
    troubles = (
        (not module_px, Hint.READING),  # zxing-cpp finds some codes without saying where
        (_too_near(glimpse.quad, frame_size), Hint.FURTHER),
        (pale and glimpse.light < MIDDLE, Hint.SCREEN_UP),
        (pale, Hint.TOO_BRIGHT),
        (glimpse.tilt > TILTED, Hint.TILT_LESS),
        (smear_px > (MOVING if blurred else SMEARED) * module_px, Hint.HOLD_STILL),
        (module_px < SMALL_PX or (blurred and module_px < AMPLE_PX), Hint.CLOSER),
        (blurred, Hint.FURTHER),
        (glimpse.clipped > GLARE, Hint.TOO_BRIGHT),
    )
    return next((hint for there, hint in troubles if there), Hint.READING)


def side_px(quad: Quad) -> float:
    """Mean length of the four sides."""
    return sum(hypot(x - to_x, y - to_y) for (x, y), (to_x, to_y) in zip(quad, (*quad[1:], quad[0]), strict=True)) / 4


def _too_near(quad: Quad, frame_size: tuple[int, int]) -> bool:
    fills, cut = 0.0, False
    for places, size in zip(zip(*quad, strict=True), frame_size, strict=True):
        fills = max(fills, (max(places) - min(places)) / size)
        cut = cut or min(places) < CUT_PX or max(places) >= size - CUT_PX
    return fills > FILLS or (cut and fills > CUT_FILLS)


def _smear_px(glimpse: Glimpse, before: Glimpse | None) -> float:
    """How far the code's middle moved during the exposure, at the pace between the two glimpses."""
    between_s = (glimpse.captured_ns - before.captured_ns) / S if before else 0.0
    if before is None or not 0 < between_s <= FRAME_S:
        return 0.0
    moved_x, moved_y = (
        sum(now) - sum(then)
        for now, then in zip(zip(*glimpse.quad, strict=True), zip(*before.quad, strict=True), strict=True)
    )
    exposure_s = glimpse.exposure.exposure_us / 1e6 if glimpse.exposure else USUAL_EXPOSURE_S
    return hypot(moved_x, moved_y) / 4 / between_s * exposure_s
