"""The simulated camera keeps a camera's promises, and its visitors can be read, but only once they are there."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from kiosk.clock import MS, Now, S, SystemClock
from kiosk.errors import ConfigError
from kiosk.messages import Exposure
from kiosk.testing import carriers, gestures, rendering, sensor
from kiosk.testing.carriers import code_modules
from kiosk.testing.casting import visitor
from kiosk.testing.conditions import CONDITIONS
from kiosk.testing.light import Light
from kiosk.testing.visitors import (
    Delivered,
    Medium,
    Showing,
    SimulatedCamera,
    first_pose,
    first_readable,
    frame_count,
    photograph,
    poses,
    render,
    showings_from_json,
    showings_to_json,
)

WIDTH, HEIGHT, FPS = 1280, 720, 30.0


def payload(size: int, seed: int) -> bytes:
    """Bytes of no meaning."""
    return np.random.default_rng([size, seed]).bytes(size)


def showing(*codes: bytes, medium: Medium = Medium.PHONE, seed: int = 1) -> Showing:
    """One visit; a code of 40 bytes unless told."""
    return Showing(codes=codes or (payload(40, seed),), medium=medium, seed=seed)


def picture(visit: Showing | None, index: int) -> NDArray[np.uint8]:
    """A frame at the size the kiosk runs at."""
    return render(visit, index, width=WIDTH, height=HEIGHT, fps=FPS, noise_key=visit.seed if visit else 0)


def read(luma: NDArray[np.uint8]) -> set[bytes]:
    """What plain zxing-cpp makes of a frame."""
    formats = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCodeModel2)
    return {code.bytes for code in zxingcpp.read_barcodes(luma, formats=formats)}


class ScriptedTime:
    """A clock and the waiter that moves it; `naps` holds every wait asked for."""

    def __init__(self) -> None:
        self.monotonic_ns = 5 * S
        self.naps: list[float] = []

    def now(self) -> Now:
        """The scripted time."""
        return Now(monotonic_ns=self.monotonic_ns, utc=datetime(2021, 11, 1, tzinfo=UTC), utc_trusted=True)

    def wait(self, seconds: float) -> bool:
        """Pass the time at once; never closed."""
        self.naps.append(seconds)
        self.monotonic_ns += round(seconds * S)
        return False


def door(
    time: ScriptedTime,
    visits: Sequence[Showing],
    record: Callable[[Delivered], None] | None = None,
    *,
    fps: float = FPS,
    gap_s: float = 0,
    tail_s: float = 0,
    loop: bool = False,
) -> SimulatedCamera:
    """A camera in scripted time, with small frames."""
    return SimulatedCamera(
        visits,
        clock=time,
        wait=time.wait,
        record=record,
        fps=fps,
        width=320,
        height=180,
        gap_s=gap_s,
        tail_s=tail_s,
        loop=loop,
    )


@pytest.mark.parametrize("medium", Medium)
@pytest.mark.parametrize("seed", range(12))
def test_every_visitor_can_be_read_once_there(seed: int, medium: Medium) -> None:
    """Each code is read while it is held, and none in the first quarter second, when it is far, fast and blurred."""
    visit = showing(payload((40, 120, 300)[seed % 3], seed), medium=medium, seed=seed)
    first = first_readable(visit, fps=FPS, width=WIDTH, height=HEIGHT)
    assert list(first) == list(visit.codes)
    assert 8 <= first[visit.codes[0]] <= 18
    assert read(picture(visit, 28)) == set(visit.codes)


def test_nobody_is_read_before_they_come_or_after_they_left() -> None:
    """The first and the last frames of a showing hold no readable code."""
    visit = showing()
    last = frame_count(visit, FPS) - 1
    assert [read(picture(visit, index)) for index in (0, 3, last - 2, last)] == [set(), set(), set(), set()]


@pytest.mark.parametrize("medium", Medium)
def test_two_people_at_once_are_both_read(medium: Medium) -> None:
    """Two codes side by side are both read, in one and the same frame."""
    visit = showing(payload(120, 1), payload(300, 2), medium=medium)
    assert read(picture(visit, 30)) == set(visit.codes)


@pytest.mark.parametrize("medium", Medium)
def test_the_largest_code_there_is_can_be_read(medium: Medium) -> None:
    """2,953 bytes (version 40, level L) are read from a 1280x720 frame."""
    visit = showing(payload(2953, 1), medium=medium)
    assert code_modules(visit.codes[0]).shape == (177, 177)
    assert set(first_readable(visit, fps=FPS, width=WIDTH, height=HEIGHT)) == set(visit.codes)


@pytest.mark.parametrize(
    "code",
    [
        b"0123456789",
        b"HC1:6BF+70790T9WJWG",
        "Đà Nẵng, phường Hải Châu".encode(),
        b"\x93\x5f\xe4\xaa",
        bytes(range(256)),
    ],
    ids=["numeric", "alphanumeric", "utf-8", "kanji", "binary"],
)
def test_payload_bytes_survive_whatever_mode_the_code_is_in(code: bytes) -> None:
    """The bytes read are the bytes shown, for every way a QR code stores them."""
    assert read(picture(showing(code), 30)) == {code}


def test_the_empty_door_holds_no_code() -> None:
    """Nothing in the scene is taken for a code."""
    assert [read(picture(None, index)) for index in range(4)] == [set()] * 4


@pytest.mark.parametrize("visit", [None, showing(), showing(payload(60, 1), payload(60, 2), medium=Medium.CARD)])
def test_a_picture_depends_on_its_arguments_alone(visit: Showing | None) -> None:
    """The same arguments give the same bytes, whatever was drawn between."""
    before = [picture(visit, index).tobytes() for index in (4, 20)]
    for other in range(20, 30):
        picture(showing(seed=other), 20)
    assert [picture(visit, index).tobytes() for index in (4, 20)] == before


@pytest.mark.parametrize("visit", [None, showing()])
def test_no_two_frames_in_a_row_are_alike(visit: Showing | None) -> None:
    """Sensor noise makes each frame differ from the one before, even of a still scene."""
    frames = [picture(visit, index) for index in range(12)]
    changed = [float((one != two).mean()) for one, two in pairwise(frames)]
    assert min(changed) > 0.5


def test_noise_key_changes_the_noise_only() -> None:
    """Another noise key gives other bytes of the same scene."""
    one = render(None, 0, width=WIDTH, height=HEIGHT, fps=FPS, noise_key=1).astype(np.int16)
    two = render(None, 0, width=WIDTH, height=HEIGHT, fps=FPS, noise_key=2).astype(np.int16)
    assert (one != two).any()
    assert abs((one - two).mean()) < 0.1


def test_showings_survive_their_file() -> None:
    """What is written is read back, payload bytes included."""
    visits = [showing(b"\x00\xff", b"two"), showing(payload(2953, 3), medium=Medium.CARD, seed=0), visitor("moire", 4)]
    text = showings_to_json(visits)
    assert showings_from_json(text) == visits
    assert showings_from_json(text.replace(',\n  "condition": "plain"', "")) == visits
    assert showings_from_json("[]") == []


def test_a_bad_file_is_refused_with_every_mistake() -> None:
    """Each mistake names file, entry and field, and no message holds a payload."""
    good = json.loads(showings_to_json([showing(b"secret")]))[0]
    too_long = base64.b64encode(bytes(2954)).decode()
    entries = [
        good,
        {**good, "medium": "paper", "seed": -1},
        {**good, "codes": []},
        {**good, "codes": ["c2VjcmV0", "not base64 \ud800"], "colour": 1},
        {**good, "codes": [too_long], "seed": True, "condition": "fog"},
        "visitor",
    ]
    with pytest.raises(ConfigError) as caught:
        showings_from_json(json.dumps(entries), "door.json")
    assert caught.value.mistakes == [
        "door.json: entry 2: medium: must be one of phone, card",
        "door.json: entry 2: seed: must be a whole number, 0 or more",
        "door.json: entry 3: codes: must be a list of 1 or 2 payloads in base64",
        "door.json: entry 4: colour: unknown field",
        "door.json: entry 4: codes: payload 2 must be 1 to 2953 bytes in base64",
        "door.json: entry 5: codes: payload 1 must be 1 to 2953 bytes in base64",
        f"door.json: entry 5: condition: must be one of {', '.join(CONDITIONS)}",
        "door.json: entry 5: seed: must be a whole number, 0 or more",
        "door.json: entry 6: must be an object with codes, medium and seed",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[\n{,", "door.json: not JSON at line 2: Expecting property name enclosed in double quotes"),
        ("{}", "door.json: must be a list of showings"),
    ],
)
def test_a_file_of_another_form_is_refused(text: str, mistake: str) -> None:
    """What is not a JSON list is named as that."""
    with pytest.raises(ConfigError) as caught:
        showings_from_json(text, "door.json")
    assert caught.value.mistakes == [mistake]


def test_the_camera_plays_each_showing_then_its_gap_then_an_empty_tail_and_ends() -> None:
    """Every frame comes at its own time, without drift, numbered from 0; the record tells which showed a visitor."""
    visits, record = [showing(seed=1), showing(seed=2)], list[Delivered]()
    frames = list(door(ScriptedTime(), visits, record.append, gap_s=0.5, tail_s=0.2).frames())
    first, second = (frame_count(visit, FPS) for visit in visits)
    assert [frame.number for frame in frames] == list(range(first + 15 + second + 15 + 6))
    late_ns = [frame.captured_ns - 5 * S - frame.number * S // 30 for frame in frames]
    assert set(late_ns) <= {0, 1}
    shown = [(0, index, frames[index]) for index in range(first)]
    shown += [(1, index, frames[first + 15 + index]) for index in range(second)]
    assert record == [Delivered(showing=who, index=index, captured_ns=it.captured_ns) for who, index, it in shown]


def test_the_camera_delivers_what_render_draws() -> None:
    """A record of deliveries is enough to draw the same frames again."""
    visit, record = showing(seed=7), list[Delivered]()
    frames = list(door(ScriptedTime(), [visit], record.append).frames())
    again = [render(visit, it.index, width=320, height=180, fps=FPS, noise_key=visit.seed) for it in record]
    assert [frame.luma.tobytes() for frame in frames] == [luma.tobytes() for luma in again]
    assert {(frame.luma.shape, frame.luma.flags.writeable) for frame in frames} == {((180, 320), False)}


def test_a_frame_the_reader_is_late_for_is_lost() -> None:
    """After a stall the camera goes on with the frame of the moment, at once, and keeps its beat."""
    time, record = ScriptedTime(), list[Delivered]()
    frames = door(time, [showing()], record.append, fps=10).frames()
    numbers = [next(frames).number, next(frames).number]
    time.monotonic_ns += 730 * MS
    numbers += [next(frames).number, next(frames).number, next(frames).number]
    assert numbers == [0, 1, 8, 9, 10]
    assert time.naps == pytest.approx([0, 0.1, 0, 0.07, 0.1])
    assert [it.index for it in record] == numbers


def test_a_looping_camera_shows_its_visitors_again() -> None:
    """The second round has the same pictures, under frame numbers that go on."""
    visit, record = showing(), list[Delivered]()
    source = door(ScriptedTime(), [visit], record.append, gap_s=0.1, loop=True).frames()
    length = frame_count(visit, FPS) + 3
    frames = [next(source) for _ in range(2 * length)]
    assert [it.index for it in record] == [*range(length - 3), *range(length - 3)]
    assert frames[-1].number == 2 * length - 1
    assert frames[20].luma.tobytes() == frames[length + 20].luma.tobytes()


def test_the_idle_door_stays_empty_until_closed() -> None:
    """With nobody to show, a looping camera gives changing empty frames for ever; closing ends it."""
    record = list[Delivered]()
    camera = door(ScriptedTime(), [], record.append, loop=True)
    source = camera.frames()
    frames = [next(source) for _ in range(200)]
    alike = [one.luma.tobytes() == two.luma.tobytes() for one, two in pairwise(frames)]
    assert (any(alike), record) == (False, [])
    camera.close()
    camera.close()
    assert list(source) == []


def test_a_waiter_that_reports_the_close_gets_no_further_frame() -> None:
    """The wait for a frame ends with the camera."""
    camera = SimulatedCamera([], clock=ScriptedTime(), wait=lambda _: True, loop=True, width=320, height=180)
    assert list(camera.frames()) == []


def test_the_camera_waits_by_itself() -> None:
    """Without a waiter of the caller's it keeps the beat of the clock, and ends once closed."""
    camera = SimulatedCamera([], clock=SystemClock(), fps=100, loop=True, width=320, height=180)
    source = camera.frames()
    frames = [next(source) for _ in range(4)]
    assert frames[3].captured_ns - frames[0].captured_ns >= 30 * MS
    camera.close()
    assert list(source) == []


def photo(visit: Showing | None, index: int, exposure: Exposure = sensor.REFERENCE) -> NDArray[np.uint8]:
    """A frame the way the simulated sensor takes it."""
    key = visit.seed if visit else 0
    return photograph(visit, index, exposure, width=WIDTH, height=HEIGHT, fps=FPS, noise_key=key)


def held(visit: Showing, index: int, exposure: Exposure = sensor.REFERENCE, fps: float = FPS) -> rendering.Pose:
    """How the first code is held."""
    return poses(visit, index, width=WIDTH, height=HEIGHT, fps=fps, exposure=exposure)[0]


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_photograph_depends_on_its_arguments_alone(name: str) -> None:
    """In every condition the same arguments give the same bytes, whatever was drawn between."""
    visit = visitor(name, 1)
    before = photo(visit, 14).tobytes()
    photo(visitor("two_codes", 2), 12)
    assert photo(visitor(name, 1), 14).tobytes() == before


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name not in {"plain", "two_codes", "versions"}])
def test_every_condition_shows(name: str) -> None:
    """None looks like plain visitors with the same codes, but for those that are about the codes."""
    visit = visitor(name, 3)
    plain = Showing(codes=visit.codes, medium=visit.medium, seed=visit.seed)
    # Early enough for one who passes by, late enough for the others.
    index = 12 if name == "quick_pass" else 22
    change = np.abs(photo(visit, index).astype(np.int16) - photo(plain, index))
    assert np.count_nonzero(change > 8) > 200


def test_grey_levels_follow_exposure_and_gain_until_they_saturate() -> None:
    """Half the time or half the gain gives half the level; four times as much clips."""
    whole, shorter, weaker, clipped = (
        photo(None, 3, Exposure(exposure_us=time_us, gain=gain))
        for time_us, gain in ((20_000, 1.6), (10_000, 1.6), (20_000, 0.8), (20_000, 6.4))
    )
    assert whole.mean() / shorter.mean() == pytest.approx(2, rel=0.01)
    assert whole.mean() / weaker.mean() == pytest.approx(2, rel=0.01)
    assert (whole == 255).mean() < 0.01 < (clipped == 255).mean()


def test_noise_is_that_of_the_electrons_gathered() -> None:
    """As bright with a quarter of the light, a flat grey of 100 has twice the noise, within what is read out."""
    condition = CONDITIONS["plain"]

    def spread(exposure: Exposure) -> float:
        scale = 32_000 / (exposure.exposure_us * exposure.gain)
        light = Light(lamps=np.full((200, 200), 100 * scale, np.float32), screens=np.zeros((200, 200), np.float32))
        return float(sensor.develop(light, exposure, condition=condition, seed=0, at_s=0, noise=(1, 2)).std())

    assert spread(Exposure(exposure_us=20_000, gain=2)) == pytest.approx((100 * 255 * 2 / 17_200) ** 0.5, rel=0.05)
    ratio = spread(Exposure(exposure_us=10_000, gain=8)) / spread(Exposure(exposure_us=40_000, gain=2))
    assert ratio == pytest.approx(2, rel=0.05)


def test_lamps_and_screens_stripe_only_what_is_no_whole_number_of_periods() -> None:
    """10 ms even out a 100 Hz lamp, 8.33 ms a screen of 240 Hz; what is gathered is the same at the mean."""
    starts = np.linspace(0, 1, 2401)
    assert np.ptp(sensor.flicker(starts, 0.010)) < 1e-9
    assert np.ptp(sensor.flicker(starts, 0.002)) == pytest.approx(2 * sensor.FLICKER_DEPTH, rel=0.07)
    assert np.ptp(sensor.pulsed(starts, 2 / 240, 240, 0.3)) < 1e-9
    short = sensor.pulsed(np.linspace(0, 1, 24_001), 0.0005, 240, 0.3)
    assert (np.min(short), np.max(short), np.mean(short)) == pytest.approx((0, 1 / 0.3, 1), abs=0.01)


def test_tremor_is_at_8_to_12_hz() -> None:
    """Of how fast the hand moves while it holds still, nearly all lies there."""
    for seed in range(4):
        visit = visitor("tremor", seed)
        xs = [held(visit, index, fps=200).x for index in range(160, 360)]
        power = np.abs(np.fft.rfft(np.diff(xs) * np.hanning(199))) ** 2
        rates = np.fft.rfftfreq(199, 1 / 200)
        assert power[(rates > 6.9) & (rates < 13.1)].sum() > 0.9 * power.sum()


def test_smear_is_proportional_to_exposure() -> None:
    """A hand that moves smears the code by its speed times the exposure."""
    visit = showing(seed=2)
    short, long = (held(visit, 8, Exposure(exposure_us=us, gain=4)).smear for us in (1000, 3000))
    assert np.hypot(*short) > 0.5
    assert np.array(long) == pytest.approx(3 * np.array(short), rel=0.05)


def test_a_moving_code_leans_by_what_it_moves_while_rows_are_read() -> None:
    """The rolling shutter displaces each row by the speed times the time until it is read."""
    visit = visitor("rolling_shutter", 1)
    pose, carrier = held(visit, 9), carriers.card(visit.codes[0], 1)
    speed = np.array(pose.smear) / (sensor.REFERENCE.exposure_us / 1e6)
    assert pose.skew == pytest.approx(speed * CONDITIONS["rolling_shutter"].read_out_s / HEIGHT)

    def top(skew: float) -> tuple[float, float]:
        seen = rendering.project(carrier, replace(pose, x=640, y=360, skew=(skew, 0.0)), WIDTH, HEIGHT)
        assert seen
        x, y, far = seen.homography @ (carrier.centre[0], 0, 1)
        return x / far + seen.columns.start, y / far + seen.rows.start

    (still_x, still_y), (leaning_x, leaning_y) = top(0), top(0.05)
    assert leaning_y == pytest.approx(still_y)
    assert leaning_x - still_x == pytest.approx(0.05 * (still_y - 360))


@pytest.mark.parametrize("medium", Medium)
@pytest.mark.parametrize("seed", range(2))
def test_the_pose_is_where_the_code_is_seen(seed: int, medium: Medium) -> None:
    """A reader finds the code's centre and size where the truth has them."""
    visit = showing(payload(120, seed), medium=medium, seed=seed)
    pose, modules = held(visit, 28), code_modules(visit.codes[0]).shape[0]
    (code,) = zxingcpp.read_barcodes(photo(visit, 28), formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    at = code.position
    corners = np.array([(p.x, p.y) for p in (at.top_left, at.top_right, at.bottom_right, at.bottom_left)], float)
    assert corners.mean(axis=0) == pytest.approx((pose.x, pose.y), abs=4)
    area = cv2.contourArea(corners.astype(np.float32)) / (np.cos(pose.pitch) * np.cos(pose.yaw))
    assert area**0.5 / modules == pytest.approx(pose.module_px, rel=0.04)


@pytest.mark.parametrize("seed", range(4))
def test_a_readable_pose_is_one_that_plain_visitors_are_read_in(seed: int) -> None:
    """In ordinary light the truth's first readable pose is within three frames of the first that is read."""
    visit = showing(payload(120, seed), seed=seed)
    (pose,) = first_pose(visit, fps=FPS, width=WIDTH, height=HEIGHT)
    (seen,) = first_readable(visit, fps=FPS, width=WIDTH, height=HEIGHT).values()
    assert pose is not None
    assert abs(pose - seen) <= 3
    assert read(photo(visit, pose + 4)) == set(visit.codes)


def test_what_is_too_small_turned_fast_soft_or_outside_is_no_readable_pose() -> None:
    """Each limit alone decides."""
    view = gestures.View(WIDTH, HEIGHT, 1)
    good = rendering.Pose(x=640, y=360, module_px=4, pitch=0, yaw=0, roll=0, defocus_px=0.6, smear=(1, 0))
    spoilt: list[dict[str, Any]] = [
        {"module_px": 1.9}, {"yaw": 1.0}, {"smear": (3.0, 4.1)}, {"defocus_px": 1.9}, {"x": 50.0}, {"y": 700.0}
    ]  # fmt: skip
    assert gestures.readable(good, 33, view)
    assert not any(gestures.readable(replace(good, **change), 33, view) for change in spoilt)


def test_dark_mode_is_light_on_dark() -> None:
    """A reader that does not invert finds nothing."""
    luma, formats = photo(visitor("dark_mode", 1), 28), zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
    assert not zxingcpp.read_barcodes(luma, formats=formats, try_invert=False)
    assert zxingcpp.read_barcodes(luma, formats=formats)


def test_versions_are_those_of_the_condition() -> None:
    """Codes of many sizes come, all from 3 to 25."""
    sides = {code_modules(visitor("versions", seed).codes[0]).shape[0] for seed in range(9)}
    versions = {(side - 17) // 4 for side in sides}
    assert min(versions) >= 3
    assert max(versions) <= 25
    assert len(versions) > 5


@pytest.mark.parametrize("product", [50, 700, 5_000, 9_999, 32_000, 100_000, 300_000, 900_000])
def test_automatic_exposure_takes_time_before_gain_in_stages(product: float) -> None:
    """Time and gain make the product, within a frame's length and the sensor's limits."""
    split = sensor.automatic(product)
    reached = min(max(product, 100), 33_000 * 16)
    assert split.exposure_us * split.gain == pytest.approx(reached, rel=0.01)
    assert 100 <= split.exposure_us <= 33_000
    assert 1 <= split.gain <= 16


def test_automatic_exposure_brings_any_light_to_the_same_mean() -> None:
    """From ordinary light into a quarter of it, the mean comes back within a second, without overshoot."""
    controls, means = sensor.Controls(), []
    for number in range(30):
        exposure = controls.of(number)
        grey = 130 / 4 * exposure.exposure_us * exposure.gain / 32_000
        luma = np.full((64, 64), min(grey, 255), dtype=np.uint8)
        controls.meter(luma, exposure)
        means.append(float(luma.mean()))
    assert means[0] == 32
    assert sorted(means) == means
    assert means[-1] == pytest.approx(sensor.TARGET_GREY, abs=3)


def test_an_exposure_takes_effect_two_frames_after_it_is_asked_for() -> None:
    """Frames tell what they were taken with, and look it; None gives the exposure back to the camera."""
    camera = door(ScriptedTime(), [], tail_s=1)
    asked, taken, means = Exposure(exposure_us=2000, gain=4.0), [], []
    for frame in camera.frames():
        taken.append(frame.exposure)
        means.append(float(frame.luma.mean()))
        if frame.number == 3:
            camera.expose(asked)
        if frame.number == 9:
            camera.expose(None)
    usual = sensor.REFERENCE
    assert taken[:14] == [usual] * 5 + [asked] * 6 + [usual] * 3
    assert means[6] / means[3] == pytest.approx(0.25, rel=0.12)


def test_the_camera_delivers_conditions_as_they_are_photographed() -> None:
    """A record of deliveries, exposures included, is enough to draw the same frames again."""
    visit, record = visitor("low_light", 3), list[Delivered]()
    frames = list(door(ScriptedTime(), [visit], record.append).frames())[::9]
    again = [
        photograph(visit, it.index, it.exposure, width=320, height=180, fps=FPS, noise_key=visit.seed)
        for it in record[::9]
        if it.exposure
    ]
    assert [frame.luma.tobytes() for frame in frames] == [luma.tobytes() for luma in again]
    assert frames[-1].exposure == Exposure(exposure_us=33_000, gain=16.0)
