"""The simulated camera keeps a camera's promises, and its visitors can be read, but only once they are there."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from kiosk.clock import MS, Now, S, SystemClock
from kiosk.errors import ConfigError
from kiosk.testing.carriers import code_modules
from kiosk.testing.visitors import (
    Delivered,
    Medium,
    Showing,
    SimulatedCamera,
    first_readable,
    frame_count,
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
    visits = [showing(b"\x00\xff", b"two"), showing(payload(2953, 3), medium=Medium.CARD, seed=0)]
    assert showings_from_json(showings_to_json(visits)) == visits
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
        {**good, "codes": [too_long], "seed": True},
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
