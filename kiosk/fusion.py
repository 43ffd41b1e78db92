"""Many frames make one read: what each frame shows of a code's modules is put together until it can be mended.

Decides which frames show the same code, how much each counts, and which text is beyond doubt. Refuses to know whether
a quick engine would have read it, and what the text means. Called by the decoder, with frames in which zxing-cpp found
a code that it could not read. Often one frame alone is enough.

Frames help twice: `Afterimage` shows where a code is that is too dark or smeared to be found in any one of them, and
`Fusion` adds up what they show of its modules. Two people's codes must never make one text, and neither may two states
of a code that changes: see `_one_code`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import cv2
import numpy as np
import zxingcpp

from kiosk.codewords import Evidence, Modules, agreements, formats, likeness, mend
from kiosk.engines import Luma, Place, Read, deblurred, quad_of, read_zxing
from kiosk.grid import Floats, Grid, Warp, evidence_of, fitted_warp, quad_under, warp_of

MOST_LOOKS = 12
"""Kept for one code: the newest."""
LONGEST_GAP_NS = 500_000_000
FARTHEST_JUMP = 0.5
"""Of the code's size, from one look to the next."""
MOST_NOISE = 0.7
"""Beyond, a look shows no code, or not where it was looked for. Chance is 1."""
LEAST_LIKENESS = 0.5
"""Of what two looks at one code would have in common, given their noise."""
LEAST_FIT = 0.3
"""Of each look to the mended symbol, as `agreements` has it."""
LARGEST_DEFICIT, DEVIATIONS = 0.1, 4.0
"""By how much a block may fit a look worse than the others do: this, or so many standard deviations if that is more."""
LEARNED_PER_FRAME = 0.25
"""Of the afterimage: it holds about four frames."""
_SOFT_PX = 1.0
_TILES, _CONTRAST = (8, 8), 16.0

_QUIET, _PX = 4, 4
_MODEL_2 = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)


def text_of(symbol: Modules) -> bytes | None:
    """What zxing-cpp reads in the drawn symbol: its bytes, exactly."""
    drawn = np.pad(np.where(symbol, 0, 255).astype(np.uint8), _QUIET, constant_values=255)
    reads = read_zxing(drawn.repeat(_PX, axis=0).repeat(_PX, axis=1))
    return reads[0][0] if len(reads) == 1 else None


def look_at(luma: Luma, place: Place) -> Grid | None:
    """None where the place tells no version or no area, or no code shows there."""
    if place.version is None or cv2.contourArea(np.array(place.quad, dtype=np.float32)) < 1:
        return None
    return _look(luma, warp_of(place.quad, place.version))


def _look(luma: Luma, start: Warp) -> Grid | None:
    grid = evidence_of(luma, fitted_warp(luma, start))
    return grid if grid.noise < MOST_NOISE else None


def fused(looks: Sequence[Grid]) -> Evidence:
    """What all show together; each counts by how little noise it has."""
    weights = np.array([1 / (look.noise + 0.02) for look in looks], dtype=np.float32)
    return np.asarray(np.tensordot(weights / weights.sum(), np.stack([look.evidence for look in looks]), 1))


def mended(looks: Sequence[Grid]) -> Read | None:
    """The text of the code that all these looks show, and where it was in the last."""
    evidence, version = fused(looks), looks[0].warp.version
    for level, mask in formats(evidence, version):
        symbol = mend(evidence, version, level, mask)
        if symbol is None or not _one_code(looks, symbol, level):
            continue
        text = text_of(symbol)
        if text:
            return text, quad_of(quad_under(looks[-1].warp))
    return None


def _one_code(looks: Sequence[Grid], symbol: Modules, level: str) -> bool:
    """Whether no look, and neither half of them, contradicts one block of the symbol more than the others.

    Codewords of all blocks lie among each other, so glare and blur meet them alike. Where codes were mixed, one block
    may have been mended to one code's and another block to the other's: each look then fits some blocks better.
    """
    if len(looks) == 1:
        return True
    half = len(looks) // 2
    parts = [look.evidence for look in looks] + [fused(looks[:half]), fused(looks[half:])]
    for part in parts:
        fit, modules = agreements(part, symbol, looks[0].warp.version, level)
        usual = float(fit.mean())
        if usual < LEAST_FIT:
            return False
        deviation = np.sqrt(np.maximum(1 - usual**2, 0.01) / modules)
        if np.any(usual - fit > np.maximum(LARGEST_DEFICIT, DEVIATIONS * deviation)):
            return False
    return True


def places_in(picture: Luma, enlarged: float = 1) -> list[Place]:
    """Where zxing-cpp finds codes, read or not, in pixels of what was so many times enlarged to make the picture."""
    places = []
    for code in zxingcpp.read_barcodes(picture, formats=_MODEL_2, return_errors=True):
        at, extra = code.position, cast("Mapping[str, Any] | None", code.extra) or {}
        corners = [
            (one.x / enlarged, one.y / enlarged) for one in (at.top_left, at.top_right, at.bottom_right, at.bottom_left)
        ]
        if str(extra.get("Version", "")).isdecimal():
            places.append(Place(quad=quad_of(corners), version=int(extra["Version"])))
    return places


class Afterimage:
    """An average of the newest frames: noise and smears of a code that is held still fade in it, the code stays.

    It tells where to look, never what was read: two codes may be mixed in it.
    """

    def __init__(self) -> None:
        self._mean: Floats | None = None

    def add(self, luma: Luma) -> None:
        """Frames of one size; another begins anew."""
        if self._mean is None or self._mean.shape != luma.shape:
            self._mean = luma.astype(np.float32)
        else:
            cv2.accumulateWeighted(luma, self._mean, LEARNED_PER_FRAME)

    def soft(self) -> Luma:
        """Black and white pulled apart, finer than whole grey levels: for darkness."""
        return _spread(cv2.GaussianBlur(self._whole(), (0, 0), _SOFT_PX))

    def evened(self) -> Luma:
        """The same for each part of the picture: for faint codes in bright surroundings."""
        return np.asarray(cv2.createCLAHE(_CONTRAST, _TILES).apply(self.soft()), dtype=np.uint8)

    def deblurred(self) -> Luma:
        """For smears, which have another direction in each frame. Twice the size."""
        return deblurred(np.rint(self._whole()).astype(np.uint8))

    def _whole(self) -> Floats:
        return np.full((1, 1), 0, np.float32) if self._mean is None else self._mean


def _spread(picture: cv2.typing.MatLike) -> Luma:
    return cv2.normalize(picture, np.empty_like(picture), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


class Fusion:
    """Follows one code from frame to frame. Belongs to one thread."""

    def __init__(self) -> None:
        self._looks: deque[Grid] = deque(maxlen=MOST_LOOKS)
        self._seen_ns = 0
        self._fresh = False

    def add(self, luma: Luma, place: Place | None, captured_ns: int) -> bool:
        """Look once more: where the place tells, or, without one, near where the code was. Whether it was seen."""
        if captured_ns - self._seen_ns > LONGEST_GAP_NS:
            self._looks.clear()
        look = look_at(luma, place) if place else None
        if look is None and self._looks:
            look = _look(luma, self._looks[-1].warp)
        if look is None:
            return False
        if self._looks and not self._continues(look):
            self._looks.clear()
        self._looks.append(look)
        self._seen_ns, self._fresh = captured_ns, True
        return True

    def _continues(self, look: Grid) -> bool:
        last = self._looks[-1]
        if look.warp.version != last.warp.version:
            return False
        now, then = np.array(quad_under(look.warp)), np.array(quad_under(last.warp))
        if np.abs(now - then).max() > FARTHEST_JUMP * np.ptp(then, axis=0).max():
            return False
        together = fused(self._looks)
        return likeness(look.evidence, together, look.warp.version) > LEAST_LIKENESS * (1 - look.noise)

    def read(self) -> list[Read] | None:
        """None while too little is known, or nothing new since it was asked last."""
        if not self._fresh:
            return None
        self._fresh = False
        read = mended([*self._looks])
        return [read] if read else None
