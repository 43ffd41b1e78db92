"""PURE. Is this still the view the camera was given? Covered, moved and unfocused each get a sentence.

Looks once a second, learns the door's background by itself, and compares edges, because light comes and goes. A person
hides much of a view, but not for minutes without a gap. Refuses to know what follows; nothing here stops a door.
`kiosk.frame_watch` knows the pictures of a broken camera; the decode thread asks both.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from kiosk.clock import S
from kiosk.messages import Frame

EVERY_NS = 1 * S
SMALL = (64, 36)
LEARN_LOOKS = 60
"""Looks before the background counts as known; a camera is set up before the first visitor, or the minute is taken
from between them."""
LASTS_NS = 180 * S
"""Queues have gaps; three minutes without one second of the known view is no queue."""
RELEARN_NS = 1800 * S
"""A view that stays is the door's new view: somebody has moved the camera on purpose."""
ALIKE = 0.4
"""Of the correlation of edges with the background's: above it the view is the known one."""
FLAT = 12
"""Grey levels between the 2nd and the 98th percentile: cardboard, tape, a hand before the lens; a lit wall has more."""
BLURRED = 0.45
"""Of the steepest edges the background had, in shares of its contrast."""
STEP = 0.05
"""How much of a known view goes into the background a second: daylight moves shadows over hours."""

Floats = NDArray[np.float32]

COVERED = "the camera sees nothing but one surface: uncover its lens"
MOVED = "the camera sees another place than before: turn it back, or leave it for half an hour to learn the new view"
UNFOCUSED = "the picture has lost its sharpness: wipe the lens, then focus it"


class ViewWatch:
    """What one camera has seen of its door. Pure: frames carry all the time it knows."""

    def __init__(self) -> None:
        self._looked_ns: int | None = None
        self._said = ""
        self._forget()

    def _forget(self) -> None:
        self._looks = 0
        self._edges: Floats | None = None
        self._sharpness = 0.0
        self._since_ns: dict[str, int] = {}

    def judge(self, frame: Frame) -> str:
        """Empty when all is well, else one sentence for a technician, the same as long as it lasts."""
        if self._looked_ns is None or frame.captured_ns - self._looked_ns >= EVERY_NS:
            self._looked_ns = frame.captured_ns
            self._said = self._look(frame)
        return self._said

    def _look(self, frame: Frame) -> str:
        small = cv2.resize(frame.luma, SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
        low, high = np.percentile(small, (2, 98))
        contrast = float(high - low)
        now_ns = frame.captured_ns
        covered = self._lasts(COVERED, now_ns, holds=contrast < FLAT)
        edges, sharpness = _edges(small), _sharpness(frame.luma) / max(contrast, 1.0)
        if self._edges is None or self._looks < LEARN_LOOKS:
            self._learn(edges, sharpness, covered=contrast < FLAT)
            return COVERED if covered else ""
        known = _likeness(edges, self._edges) >= ALIKE
        moved = self._lasts(MOVED, now_ns, holds=not known and contrast >= FLAT)
        # A blurred view still has its coarse edges, so it is known; whether it is sharp only a known view tells.
        blurred = known and sharpness < BLURRED * self._sharpness
        unfocused = self._lasts(UNFOCUSED, now_ns, holds=blurred or (UNFOCUSED in self._since_ns and not known))
        if known and not blurred:
            self._edges += STEP * (edges - self._edges)
            self._sharpness += STEP * (sharpness - self._sharpness)
        if moved and now_ns - self._since_ns[MOVED] >= RELEARN_NS:
            self._forget()
            return ""
        return COVERED if covered else MOVED if moved else UNFOCUSED if unfocused else ""

    def _learn(self, edges: Floats, sharpness: float, *, covered: bool) -> None:
        if covered:
            return
        self._looks += 1
        share = np.float32(1 / self._looks)
        self._edges = edges if self._edges is None else self._edges + share * (edges - self._edges)
        self._sharpness += float(share) * (sharpness - self._sharpness)

    def _lasts(self, what: str, now_ns: int, *, holds: bool) -> bool:
        if not holds:
            self._since_ns.pop(what, None)
            return False
        return now_ns - self._since_ns.setdefault(what, now_ns) >= LASTS_NS


def _edges(small: Floats) -> Floats:
    """Where it goes up and down: the picture without its slow changes, each part as strong as any other."""
    high = small - cv2.GaussianBlur(small, (0, 0), 3.0)
    return np.asarray(np.tanh(high / 8.0), dtype=np.float32)


def _likeness(one: Floats, other: Floats) -> float:
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.sum(one * other)) / size if size else 0.0


def _sharpness(luma: NDArray[np.uint8]) -> float:
    """The steepest of the picture's edges, in grey levels a pixel: the 99.5th percentile of every fourth row's."""
    steps = cv2.absdiff(luma[::4, 2:], luma[::4, :-2])
    return float(np.percentile(steps, 99.5))
