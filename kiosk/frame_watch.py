"""PURE. Are these the pictures of a working camera? Black, white, frozen and vanished each get a sentence.

Refuses to know what follows from it. The daemon asks `judge` with every frame and `vanished` when none comes.
"""

import numpy as np

from kiosk.clock import S
from kiosk.messages import Frame

BLACK_S = WHITE_S = VANISHED_S = 2.0
"""A person close to the lens darkens some frames; the exposure control needs about a second to follow a light."""
FROZEN_S = 5.0
"""Real pixels have noise: even a still picture differs at some sample in the next frame."""
DARK = 40
"""White paper below this is read by no engine (research: white level 25, above video black at 16)."""
BRIGHT = 225
"""Above this less than a twentieth of the contrast is left below video white (235): read by no engine."""
RARE = 0.01
"""Of the samples: a lit phone in the dark is more than that, hot pixels and a lamp are less."""
SAMPLE = 16
"""Every 16th pixel of every 16th row: 3,600 of a 1280x720 frame."""

FROZEN = "the picture is frozen: check the camera's cable, then restart the kiosk"
"""The one of these that is the driver's."""


def _since(since_ns: int | None, now_ns: int, *, holds: bool) -> int | None:
    """Since when something holds without a break."""
    if not holds:
        return None
    return now_ns if since_ns is None else since_ns


def _lasted(since_ns: int | None, now_ns: int, at_least_s: float) -> bool:
    return since_ns is not None and now_ns - since_ns >= at_least_s * S


class FrameWatch:
    """Judges whether the pictures are those of a working camera. Pure: frames carry all the time it knows."""

    def __init__(self) -> None:
        self._black_ns: int | None = None
        self._white_ns: int | None = None
        self._still_ns: int | None = None
        self._seen_ns: int | None = None
        self._sample = b""

    def judge(self, frame: Frame) -> str:
        """Empty when all is well, else one sentence for a technician, the same as long as the fault lasts."""
        now_ns = self._seen_ns = frame.captured_ns
        if frame.luma.ndim != 2 or frame.luma.dtype != np.uint8:  # noqa: PLR2004 - rows and columns
            return "the camera gives no grey pictures: update its driver, or choose another [camera] source"
        sample = frame.luma[::SAMPLE, ::SAMPLE]
        few = sample.size * RARE
        self._black_ns = _since(self._black_ns, now_ns, holds=int(np.count_nonzero(sample > DARK)) <= few)
        self._white_ns = _since(self._white_ns, now_ns, holds=int(np.count_nonzero(sample < BRIGHT)) <= few)
        previous, self._sample = self._sample, sample.tobytes()
        self._still_ns = now_ns if self._still_ns is None or self._sample != previous else self._still_ns
        if _lasted(self._black_ns, now_ns, BLACK_S):
            return "the picture is black: uncover the lens, or give the door light"
        if _lasted(self._white_ns, now_ns, WHITE_S):
            return "the picture is white: turn the camera away from the sun or the lamp that blinds it"
        if _lasted(self._still_ns, now_ns, FROZEN_S):
            return FROZEN
        return ""

    def vanished(self, now_ns: int) -> str:
        """As `judge`, for when no frame comes. Before the first frame, counts from the first time it is asked."""
        if self._seen_ns is None:
            self._seen_ns = now_ns
        if _lasted(self._seen_ns, now_ns, VANISHED_S):
            return "the camera gives no frames: check its cable and the power supply"
        return ""
