"""Exposure that follows what a code looks like, and what a Pi camera is told."""

from collections import deque
from dataclasses import dataclass, field, replace
from itertools import pairwise, product

import numpy as np
import pytest

from kiosk import camera_controls
from kiosk.clock import S
from kiosk.exposure import FLICKER_FREE_US, HOLD_NS, LEAST_US, MOST_GAIN, ExposureControl
from kiosk.messages import Exposure, Frame, Glimpse
from kiosk.settings import CameraSettings

LONGEST_US = 10_000
FRAME_NS = S // 30
AUTOMATIC = Exposure(exposure_us=10_000, gain=4.0)


def made(
    *, light: int, dark: int = 10, clipped: float = 0.0, banding: float = 0.0, exposure: Exposure | None = None
) -> Glimpse:
    """A glimpse that says so."""
    return Glimpse(
        captured_ns=0,
        quad=((0, 0), (9, 0), (9, 9), (0, 9)),
        module_px=3.0,
        dark=dark,
        light=light,
        clipped=clipped,
        edge_px=1.0,
        banding=banding,
        tilt=0.0,
        exposure=exposure,
    )


def frame(number: int, at_limit: float = 0.0, exposure: Exposure | None = None, at_ns: int | None = None) -> Frame:
    """A grey frame, the top of it at the sensor's limit."""
    luma = np.full((160, 160), 60, dtype=np.uint8)
    luma[: round(at_limit * 160)] = 255
    return Frame(luma=luma, number=number, captured_ns=number * FRAME_NS if at_ns is None else at_ns, exposure=exposure)


@dataclass(kw_only=True)
class Scene:
    """A code in front of a camera that answers after some frames.

    `level` is what its light modules would be without a limit, as the automatic has it; `period_us` is a flicker's;
    `tells` says whether frames carry their exposure; `most_gain` is all the camera has.
    """

    level: float
    period_us: float = 0.0
    delay: int = 2
    tells: bool = True
    most_gain: float = 16.0
    in_force: Exposure = AUTOMATIC
    coming: deque[Exposure | None] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Left to itself it goes back to where it started."""
        self.automatic = self.in_force

    def light(self) -> float:
        """The light modules, without a limit."""
        now = self.in_force
        return self.level * now.exposure_us * now.gain / (AUTOMATIC.exposure_us * AUTOMATIC.gain)

    def banding(self) -> float:
        """What is left of full flicker when it is averaged over the exposure."""
        if not self.period_us:
            return 0.0
        turns = self.in_force.exposure_us / self.period_us
        swing = abs(np.sinc(turns))
        return float(2 * swing / (1 + swing))

    def told(self) -> Exposure | None:
        """What frames say of how they were taken."""
        return self.in_force if self.tells else None

    def glimpse(self, number: int) -> Glimpse | None:
        """What a frame says, or None when the code can be read in it."""
        light = self.light()
        if 40 < light < 300 and self.banding() < 0.35:
            return None
        seen = made(
            light=round(min(255, light)),
            dark=round(min(255, light * 0.15)),
            clipped=0.5 if light > 255 else 0.0,
            banding=self.banding(),
            exposure=self.told(),
        )
        return replace(seen, captured_ns=number * FRAME_NS)

    def ask(self, exposure: Exposure | None) -> None:
        """Comes true `delay` frames later."""
        self.coming.append(exposure)
        if len(self.coming) > self.delay:
            asked = self.coming.popleft() or self.automatic
            self.in_force = Exposure(exposure_us=asked.exposure_us, gain=min(asked.gain, self.most_gain))


def played(scene: Scene, frames: int = 120) -> tuple[list[Exposure | None], int | None]:
    """What was asked for, frame by frame, and the first frame that could be read."""
    control = ExposureControl(LONGEST_US)
    asked: list[Exposure | None] = []
    first = None
    for number in range(frames):
        glimpse = scene.glimpse(number)
        if glimpse is None and first is None:
            first = number
        asked.append(control.step(frame(number, exposure=scene.told()), glimpse, read=glimpse is None))
        scene.ask(asked[-1])
    return asked, first


def changes(asked: list[Exposure | None]) -> list[Exposure]:
    """Every exposure that was asked for, in order, each once."""
    return [now for before, now in pairwise([None, *asked]) if now is not None and now != before]


def brought(exposure: Exposure) -> float:
    """Light, as time by gain."""
    return exposure.exposure_us * exposure.gain


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("delay", [0, 2, 8])
@pytest.mark.parametrize("level", [12, 20, 40, 400, 1000, 20_000])
def test_a_code_too_dark_or_blown_out_comes_into_range(level: float, delay: int, tells: bool) -> None:  # noqa: FBT001
    """Whatever the automatic made of it, a code gets into the readable range in steps that all go the same way."""
    start = AUTOMATIC if tells else Exposure(exposure_us=LONGEST_US, gain=1.0)
    scene = Scene(level=level * (brought(AUTOMATIC) / brought(start)), delay=delay, tells=tells, in_force=start)
    asked, first = played(scene)
    assert first is not None
    assert first < 75
    steps = [brought(start), *map(brought, changes(asked))]
    rising = [after > before for before, after in pairwise(steps)]
    assert len(set(rising)) <= 1
    assert asked[first:] == asked[first : first + 1] * (120 - first)


def test_a_dim_code_gets_time_first_and_then_gain() -> None:
    """Longer, as far as a moving hand allows; only then amplified."""
    asked, _ = played(Scene(level=30, in_force=Exposure(exposure_us=5_000, gain=2.0)))
    assert changes(asked) == [Exposure(exposure_us=10_000, gain=8.0)]


def test_a_blown_out_code_loses_gain_first_and_then_time() -> None:
    """A shorter exposure is sharper, but at night noise is what the gain brought."""
    asked, _ = played(Scene(level=4000))
    assert changes(asked) == [
        Exposure(exposure_us=10_000, gain=1.0),
        Exposure(exposure_us=2_500, gain=1.0),
    ]


@pytest.mark.parametrize("delay", [0, 2, 8])
@pytest.mark.parametrize("period_us", [1e6 / 60, 1e6 / 100, 1e6 / 120, 1e6 / 240, 1e6 / 480])
@pytest.mark.parametrize("start_us", [1_300, 2_600, 5_200, 7_300])
def test_bands_go_where_the_light_allows(period_us: float, delay: int, start_us: int) -> None:
    """Any usual flicker is averaged out by one of three exposures, at the same brightness, if there is gain to give."""
    start = Exposure(exposure_us=start_us, gain=20_000 / start_us)
    scene = Scene(level=240, period_us=period_us, delay=delay, in_force=start)
    readable = scene.glimpse(0) is None
    asked, first = played(scene)
    assert first is not None
    assert len(changes(asked)) <= 3
    assert readable or {round(brought(step), -2) for step in changes(asked)} == {20_000}


def test_bands_stay_where_a_longer_exposure_would_blow_the_code_out() -> None:
    """A bright screen at a short exposure is left as it is: bands may be read, white may not."""
    scene = Scene(level=4 * 180, period_us=1e6 / 240, in_force=Exposure(exposure_us=1_000, gain=1.0))
    scene.level = 180 * brought(AUTOMATIC) / 1_000
    asked, first = played(scene)
    assert (set(asked), first) == ({None}, None)


def test_flicker_that_nothing_removes_is_settled_for() -> None:
    """Where every exposure is tried in vain the best one stays; nothing goes round in circles."""
    scene = Scene(level=200, period_us=50_000.0)
    asked, first = played(scene, frames=900)
    assert first is None
    assert [step.exposure_us for step in changes(asked)] == [8_333, 16_667]
    assert len(set(asked[-600:])) == 1


@pytest.mark.parametrize("most_gain", [1.0, 2.0, 8.0])
def test_a_camera_at_its_limit_is_asked_once(most_gain: float) -> None:
    """More than the camera has, or than there is, is not asked for again and again."""
    scene = Scene(level=0.5, most_gain=most_gain, in_force=Exposure(exposure_us=10_000, gain=1.0))
    asked, first = played(scene, frames=300)
    assert first is None
    assert [step.gain for step in changes(asked)] == ([8.0] if most_gain == 1.0 else [8.0, MOST_GAIN])


def test_every_ask_is_within_bounds() -> None:
    """Whatever glimpses say, time and gain stay within what a sensor has and a hand allows."""
    taken = [None, Exposure(exposure_us=1, gain=0.01), Exposure(exposure_us=10**6, gain=900.0)]
    for light, dark, clipped, banding, in_force in product(
        [0, 1, 47, 48, 150, 234, 235, 255], [0, 200], [0.0, 1.0], [0.0, 1.0], taken
    ):
        control = ExposureControl(LONGEST_US)
        glimpse = made(light=light, dark=dark, clipped=clipped, banding=banding, exposure=in_force)
        for number in range(60):
            asked = control.step(frame(number), replace(glimpse, captured_ns=number * FRAME_NS))
            assert asked is None or LEAST_US <= asked.exposure_us <= FLICKER_FREE_US[-1]
            assert asked is None or 1.0 <= asked.gain <= MOST_GAIN


def test_one_glimpse_changes_nothing() -> None:
    """A shadow or a smear is gone in the next frame."""
    control = ExposureControl(LONGEST_US)
    dark, blown = made(light=20), made(light=255, clipped=0.5)
    assert [control.step(frame(0), glimpse) for glimpse in (dark, blown, dark, None, blown)] == [None] * 5


@pytest.mark.parametrize(
    "glimpse",
    [made(light=150, clipped=0.3), made(light=255, clipped=0.1), made(light=60, banding=0.2), made(light=250)],
)
def test_what_exposure_cannot_mend_is_left_to_the_automatic(glimpse: Glimpse) -> None:
    """Glare on a well-lit code, a bright code and a faint band are no reason to touch the exposure."""
    control = ExposureControl(LONGEST_US)
    assert {control.step(frame(number), glimpse) for number in range(30)} == {None}


def test_the_automatic_comes_back_after_the_last_glimpse_or_read() -> None:
    """Glimpses and reads keep an exposure in force; some seconds after the last of them the camera has its own way."""
    control = ExposureControl(LONGEST_US)
    for _ in range(2):
        asked = control.step(frame(0), made(light=20))
    assert asked == Exposure(exposure_us=10_000, gain=7.5)
    assert control.step(frame(0, at_ns=HOLD_NS), None) == asked
    assert control.step(frame(0, at_ns=HOLD_NS), None, read=True) == asked
    assert control.step(frame(0, at_ns=2 * HOLD_NS), None) == asked
    assert control.step(frame(0, at_ns=2 * HOLD_NS + 1), None) is None


NIGHT = Exposure(exposure_us=33_000, gain=8.0)


def flooded(before: list[float], after: list[float], read_at: int = -1) -> list[Exposure | None]:
    """What is asked for while so much of each frame is at the sensor's limit, and one of the frames can be read."""
    control = ExposureControl(LONGEST_US)
    asked = []
    for number, at_limit in enumerate([*before, *after]):
        asked.append(control.step(frame(number, at_limit, NIGHT), None, read=number == read_at))
    return asked[len(before) :]


def test_a_flood_of_light_that_is_new_is_met_without_a_glimpse() -> None:
    """No engine finds a code that is blown out altogether; a large bright thing in a dark frame is taken for one."""
    quarter = Exposure(exposure_us=10_000, gain=6.6)
    assert flooded([0.0] * 30, [0.2] * 3) == [None, quarter, quarter]


def test_what_is_always_bright_is_no_flood() -> None:
    """Daylight in the door, a lamp, a small light, and a thing that has just been read leave the automatic alone."""
    assert set(flooded([0.2] * 30, [0.2] * 60)) == {None}
    assert set(flooded([0.2] * 30, [0.0] * 60 + [0.2] * 60)) == {None}
    assert set(flooded([0.0] * 30, [0.05] * 60)) == {None}
    assert set(flooded([0.0] * 30, [0.2] * 14, read_at=29)) == {None}


RANGES = {"ExposureTime": (114, 694_422, 20_000), "AnalogueGain": (1.0, 10.66, 1.0), "AeEnable": (False, True, True)}
MODES = {"ExposureTimeMode": (0, 1, 0), "AnalogueGainMode": (0, 1, 0)}


def test_an_exposure_is_asked_for_in_the_words_of_the_library() -> None:
    """Older libcamera takes the values alone, newer a mode for each; both within what the sensor has."""
    asked = Exposure(exposure_us=50, gain=16.0)
    values = {"ExposureTime": 114, "AnalogueGain": 10.66}
    assert camera_controls.exposing(asked, RANGES) == values
    assert camera_controls.exposing(asked, RANGES | MODES) == values | {"ExposureTimeMode": 1, "AnalogueGainMode": 1}
    assert camera_controls.exposing(None, RANGES) == {"AeEnable": True}
    assert camera_controls.exposing(None, RANGES | MODES) == {
        "AeEnable": True,
        "ExposureTimeMode": 0,
        "AnalogueGainMode": 0,
    }
    assert camera_controls.exposing(asked, {"AeEnable": (False, True, True)}) == {}


def test_what_a_frame_was_taken_with_is_read_from_its_metadata() -> None:
    """Time, and the gain of sensor and image processor together; nothing where the camera does not tell."""
    told = {"ExposureTime": 9_998, "AnalogueGain": 8.0, "DigitalGain": 1.25}
    assert camera_controls.exposed(told) == Exposure(exposure_us=9_998, gain=10.0)
    assert camera_controls.exposed({"SensorTimestamp": 5}) is None


def test_the_automatic_is_kept_short() -> None:
    """When it would expose for longer than a hand allows it keeps the gain only, until there is light again."""
    short = camera_controls.ShortAutomatic(10_000, RANGES | MODES)
    course = [(5_000, 2.0), (9_998, 4.0), (10_050, 4.0), (14_000, 4.0), (14_000, 4.0), (9_998, 7.0), (9_998, 1.6)]
    told = [short.follow(Exposure(exposure_us=time_us, gain=gain)) for time_us, gain in course]
    assert told == [{}, {}, {}, {"ExposureTimeMode": 1, "ExposureTime": 10_000}, {}, {}, {}]
    assert short.follow(Exposure(exposure_us=9_998, gain=1.4)) == camera_controls.exposing(None, RANGES | MODES)
    assert short.follow(Exposure(exposure_us=9_998, gain=1.4)) == {}


def test_controls_for_reading_are_only_those_the_camera_has() -> None:
    """Autofocus near and fast for a lens with a motor, or a fixed distance; nothing that is not listed."""
    common = {"FrameDurationLimits": (33_333, 33_333), "AeExposureMode": 1}
    focus = {"AfMode", "AfRange", "AfSpeed", "LensPosition"}
    camera = CameraSettings()
    assert camera_controls.for_reading(camera, common.keys() | focus) == {
        **common,
        "AfMode": 2,
        "AfRange": 1,
        "AfSpeed": 1,
    }
    fixed = CameraSettings(lens_position=4.0)
    assert camera_controls.for_reading(fixed, common.keys() | focus) == {**common, "AfMode": 0, "LensPosition": 4.0}
    assert camera_controls.for_reading(camera, common.keys()) == common
    assert camera_controls.for_reading(camera, {"Brightness"}) == {}


@pytest.mark.parametrize(
    ("region", "wanted"),
    [
        ([0.0, 0.0, 1.0], (0, 152, 3280, 1845)),
        ([0.25, 0.25, 0.5], (820, 613, 1640, 922)),
        ([0.5, 0.5, 0.5], (1640, 1074, 1640, 922)),
    ],
)
def test_a_region_keeps_the_shape_of_the_frame(region: list[float], wanted: tuple[int, int, int, int]) -> None:
    """A share of the widest 16:9 part of a 4:3 sensor."""
    assert camera_controls.crop((0, 0, 3280, 2149), (1280, 720), region) == wanted
