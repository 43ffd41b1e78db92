"""The exposure control in front of a camera: the simulated sensor, real engines, real glimpses."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

import numpy as np
import segno

from kiosk.clock import Now, S
from kiosk.engines import Place, locate_zxing
from kiosk.exposure import ExposureControl
from kiosk.glimpses import measure
from kiosk.messages import Exposure, Frame
from kiosk.testing.sensor import Controls, pulsed
from kiosk.testing.visitors import Medium, Showing, SimulatedCamera, frame_count

FPS = 30
GAP_S = 1.0
WATCHED = 22
LONGEST_US = 10_000
SEED = 0


class Tape:
    """Time that passes only while somebody waits."""

    ns = 5 * S

    def now(self) -> Now:
        """The time on the tape."""
        return Now(monotonic_ns=self.ns, utc=datetime(2021, 11, 20, tzinfo=UTC), utc_trusted=True)

    def wait(self, seconds: float) -> bool:
        """Let it pass."""
        self.ns += round(seconds * S)
        return False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`frames` from the first trace of the visitor to the first read; None without one. `asked`: the exposures."""

    frames: int | None
    asked: list[Exposure | None]


def second_visit(camera: SimulatedCamera, tape: Tape, length: int) -> Iterator[Frame]:
    """Half a second of door, then the first frames of the second of two equal visitors: the automatic is settled."""
    start = length + round(GAP_S * FPS)
    frames = camera.frames()
    next(frames)
    tape.ns += round((start - FPS // 2) / FPS * S)
    return takewhile(lambda frame: frame.number < start + WATCHED, frames)


def visited(condition: str, *, controlled: bool) -> Outcome:
    """What plain zxing-cpp makes of a visitor, with and without the control."""
    payload = b"".join(hashlib.sha256(bytes([part])).digest() for part in range(9))
    showing = Showing(codes=(payload,), medium=Medium.PHONE, seed=SEED, condition=condition)
    length, tape, control = frame_count(showing, FPS), Tape(), ExposureControl(LONGEST_US)
    asked: list[Exposure | None] = [None]
    camera = SimulatedCamera([showing, showing], clock=tape, wait=tape.wait, fps=FPS, gap_s=GAP_S)
    with closing(camera):
        for frame in second_visit(camera, tape, length):
            reads, places = locate_zxing(frame.luma)
            if reads:
                return Outcome(frames=frame.number - length - round(GAP_S * FPS), asked=asked)
            glimpse = measure(frame.luma, places[0], frame.captured_ns, frame.exposure) if places else None
            wanted = control.step(frame, glimpse)
            if controlled and wanted != asked[-1]:
                camera.expose(wanted)
                asked.append(wanted)
    return Outcome(frames=None, asked=asked)


def test_a_dim_code_is_read_sooner() -> None:
    """A phone turned down, in a light room: located again and again in the dark, read once it has light."""
    left_alone, followed = visited("dim_phone", controlled=False), visited("dim_phone", controlled=True)
    assert followed.frames is not None
    assert left_alone.frames is None or followed.frames + 3 <= left_alone.frames
    assert [asked and asked.exposure_us for asked in followed.asked] == [None, LONGEST_US]


def test_a_phone_at_night_is_read_at_all() -> None:
    """Blown out by the automatic, no engine even finds it; with the control it is read while it is still coming."""
    left_alone, followed = visited("night_phone", controlled=False), visited("night_phone", controlled=True)
    assert (left_alone.frames, left_alone.asked) == (None, [None])
    assert followed.frames is not None
    light = [asked.exposure_us * asked.gain for asked in followed.asked if asked]
    assert light == sorted(light, reverse=True)


class DimmedScreen:
    """A screen that is dimmed by switching it on for a fifth of each 1/240 s, filling the frame; held still.

    The room has the automatic at 5 ms. An ask comes true two frames later.
    """

    PRODUCT_US = 10_000
    READ_OUT_S = 0.018
    SIZE = 400

    def __init__(self) -> None:
        code = np.array(list(segno.make(hashlib.sha512(b"screen").digest(), error="m").matrix), dtype=np.uint8)
        side = self.SIZE // (len(code) + 8)
        white = np.kron(np.pad(1 - code, 4, constant_values=1), np.ones((side, side))).astype(np.float64)
        near, far = 4 * side, (4 + len(code)) * side
        self.place = Place(quad=((near, near), (far, near), (far, far), (near, far)))
        self._white = 8.0 + 120.0 * white
        self._controls = Controls(product=self.PRODUCT_US)

    def frame(self, number: int) -> Frame:
        """The next frame."""
        exposure = self._controls.of(number)
        starts_s = np.asarray(number / FPS + np.arange(len(self._white)) * (self.READ_OUT_S / 720), dtype=np.float64)
        lit = pulsed(starts_s, exposure.exposure_us / 1e6, 240.0, 0.2)
        brought = exposure.exposure_us * exposure.gain / self.PRODUCT_US
        noise = np.random.default_rng([SEED, number]).normal(0.0, 3.0, self._white.shape)
        luma = np.clip(self._white * lit[:, None] * brought + noise, 0, 255).astype(np.uint8)
        return Frame(luma=luma, number=number, captured_ns=number * S // FPS, exposure=exposure)

    def expose(self, exposure: Exposure | None) -> None:
        """See `kiosk.camera.FrameSource`."""
        self._controls.expose(exposure)


def test_a_banded_screen_gets_whole_periods() -> None:
    """A flicker-free time of the same brightness takes the bands away, and with them what keeps it from being read."""
    screen, control = DimmedScreen(), ExposureControl(LONGEST_US)
    banding: list[float] = []
    read: list[bool] = []
    asked: list[Exposure | None] = [None]
    for number in range(20):
        frame = screen.frame(number)
        glimpse = measure(frame.luma, screen.place, frame.captured_ns, frame.exposure)
        banding.append(glimpse.banding)
        read.append(bool(locate_zxing(frame.luma)[0]))
        wanted = control.step(frame, glimpse)
        if wanted != asked[-1]:
            screen.expose(wanted)
            asked.append(wanted)
    assert [round(step.exposure_us * step.gain, -2) for step in asked if step] == [DimmedScreen.PRODUCT_US]
    assert [step and step.exposure_us for step in asked] == [None, 8_333]
    assert min(banding[:3]) > 0.3
    assert max(banding[6:]) < 0.05
    assert read == [False] * 3 + [True] * 17
