"""Does the camera give pictures, are they bright and sharp, and is a code that is held up read from them?

Decides from a few seconds of frames, at once; what lasts longer, a running door tells itself (`kiosk.frame_watch`,
`kiosk.view_watch`).
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np

from kiosk.clock import S
from kiosk.decoder import Reader
from kiosk.doctor.case import Case
from kiosk.doctor.finding import Finding, bad, ok, parted, unknown, warn
from kiosk.engines import read_places
from kiosk.errors import CameraFault
from kiosk.frame_watch import BRIGHT, DARK, FROZEN, SAMPLE, FrameWatch
from kiosk.hints import SMALL_PX, side_px
from kiosk.messages import Frame
from kiosk.view_watch import COVERED, FLAT, SMALL

LOOK_NS = 5 * S // 2
"""Longer than black and white pictures must last to be told (2 s)."""
SLOW, MUCH_TOO_SLOW = 0.8, 0.5
"""Of the configured rate."""
EACH = 5
"""Every fifth frame is looked at closely."""
SHARP = 0.3
"""The steepest edges in grey levels a pixel, in shares of the picture's contrast. Of 46 photographs of codes at 1280
pixels the least was 0.75; after a Gaussian blur of 3 pixels 95 % were below this, of 4 pixels all, of 1 pixel none."""
MUCH_GAIN = 8.0
CLEAN = "clean the lens, then turn it until a held-up code is sharp: kiosk doctor --hold-a-code 20"
PLAIN = "a plain wall looks so too; see whether a code is read (kiosk doctor --hold-a-code 20), else focus the lens"
LIGHT = "change the light at the door, or where the camera looks"
CAMERA_FIX = "check the camera's cable and [camera] in kiosk.toml"
RECORDED = frozenset({"images", "video", "visitors"})


@dataclass(slots=True)
class _Look:
    """What some seconds of frames have shown."""

    times_ns: list[int] = field(default_factory=list)
    samples: set[bytes] = field(default_factory=set)
    closely: list[tuple[float, float, float]] = field(default_factory=list)
    """Contrast, sharpness and brightness of some frames."""
    said: str = ""
    last: Frame | None = None

    def take(self, frame: Frame, watch: FrameWatch) -> None:
        """Look at one."""
        self.times_ns.append(frame.captured_ns)
        self.said = watch.judge(frame)
        self.samples.add(frame.luma[::SAMPLE, ::SAMPLE].tobytes())
        if len(self.times_ns) % EACH == 1:
            self.closely.append(_measured(frame))
        self.last = frame


def camera(case: Case) -> list[Finding]:
    """Findings `camera`, `picture` and, where a code is to be held up, `code`."""
    names = ("camera", "picture", *(["code"] if case.hold_a_code_s else []))
    if case.running:
        fault = case.running.fault("camera", "view", "decoder")
        told = [parted("camera", fault, CAMERA_FIX) if fault else ok("camera", "the running door has no fault of it")]
        return told + [
            unknown(name, "needs the camera; stop the door first: systemctl stop kiosk") for name in names[1:]
        ]
    if case.busy:
        return [unknown(name, case.busy) for name in names]
    try:
        with closing(case.open_camera()) as source:
            return _looked(case, source.frames())
    except CameraFault as fault:
        rest = [unknown(name, "no frame came") for name in names[1:]]
        return [parted("camera", str(fault), CAMERA_FIX), *rest]


def _looked(case: Case, frames: Iterator[Frame]) -> list[Finding]:
    look, watch, held_ns = _Look(), FrameWatch(), int(case.hold_a_code_s * S)
    reading = _Reading() if held_ns else None
    for frame in frames:
        look.take(frame, watch)
        passed_ns = frame.captured_ns - look.times_ns[0]
        done = reading is None or reading.take(frame) or passed_ns >= held_ns
        if done and passed_ns >= LOOK_NS:
            break
    found = [_rate(look, case), _picture(look, case)]
    return [*found, reading.told(case.hold_a_code_s)] if reading else found


def _rate(look: _Look, case: Case) -> Finding:
    settings, times = case.loaded.settings.camera, look.times_ns
    if look.last is None or len(times) < 2:  # noqa: PLR2004 - a rate needs two
        return bad("camera", "it opens, and gives no frames", CAMERA_FIX)
    rate = (len(times) - 1) * S / max(1, times[-1] - times[0])
    height, width = look.last.luma.shape
    said = f"{settings.source}: {width}x{height}, {rate:.0f} frames a second"
    wanted = rate if settings.source == "video" else settings.fps
    gap_ms = max(later - earlier for earlier, later in pairwise(times)) // 1_000_000
    if rate < SLOW * wanted:
        told = bad if rate < MUCH_TOO_SLOW * wanted else warn
        fix = "use the Pi's own power supply, and for a USB camera another port; or lower camera.fps"
        return told("camera", f"{said}; {wanted} are configured, the longest gap was {gap_ms} ms", fix)
    return ok("camera", said)


def _picture(look: _Look, case: Case) -> Finding:
    if not look.closely:
        return unknown("picture", "no frame came")
    contrast, sharpness, brightness = max(look.closely)
    frozen = case.loaded.settings.camera.source not in RECORDED and len(look.samples) == 1
    if said := look.said or (FROZEN if frozen else COVERED if contrast < FLAT else ""):
        return parted("picture", said, CLEAN)
    said = f"brightness {brightness:.0f} of 255, contrast {contrast:.0f}, sharpness {sharpness:.2f}"
    taken = look.last.exposure if look.last else None
    poor = {
        f"{said}: nothing in it is sharp": (sharpness < SHARP, PLAIN),
        f"{said}: dark": (brightness < DARK, LIGHT),
        f"{said}: bright": (brightness > BRIGHT, LIGHT),
        f"{said}: noisy, the light is amplified": (bool(taken and taken.gain > MUCH_GAIN), LIGHT),
    }
    return next((warn("picture", told, fix) for told, (so, fix) in poor.items() if so), ok("picture", said))


def _measured(frame: Frame) -> tuple[float, float, float]:
    small = cv2.resize(frame.luma, SMALL, interpolation=cv2.INTER_AREA)
    low, high = np.percentile(small, (0.5, 99.5))
    steps = cv2.absdiff(frame.luma[::4, 2:], frame.luma[::4, :-2])
    contrast = float(high - low)
    return contrast, float(np.percentile(steps, 99.5)) / max(contrast, 1.0), float(np.median(small))


class _Reading:
    """Reads the code that is held up; its text goes nowhere."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._read = False
        self._read_px = self._glimpsed_px = 0.0

    def take(self, frame: Frame) -> bool:
        """Look at one frame; whether a code has been read by now."""
        if self._read:
            return True
        look = self._reader.look(frame)
        if look.sightings:
            self._read = True
            pixels = [side_px(each.quad) / (17 + 4 * each.version) for each in read_places(frame.luma) if each.version]
            self._read_px = min(pixels, default=0.0)
        elif look.glimpse:
            self._glimpsed_px = max(self._glimpsed_px, look.glimpse.module_px or 0.0)
        return self._read

    def told(self, within_s: float) -> Finding:
        """What came of it."""
        if self._read:
            said = f"read{f', at {self._read_px:.1f} pixels a module' if self._read_px else ''}"
            small = 0 < self._read_px < SMALL_PX
            return warn("code", said, "move the camera closer to where codes are held") if small else ok("code", said)
        if self._glimpsed_px:
            near = "hold it closer" if self._glimpsed_px < SMALL_PX else CLEAN
            return bad("code", f"found and not read, at {self._glimpsed_px:.1f} pixels a module", near)
        return bad("code", f"none was seen within {within_s:.0f} s", "hold it up within the picture, and light it")
