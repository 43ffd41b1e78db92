from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk.clock import MS, S
from kiosk.frame_watch import FrameWatch
from kiosk.messages import Frame

FRAME_NS = 100 * MS
NOISE = np.random.default_rng(1)
Picture = Callable[[], NDArray[np.uint8]]


def noisy(level: float) -> Picture:
    """Pictures of an evenly lit wall by a real sensor."""
    return lambda: np.clip(NOISE.normal(level, 3, (240, 320)), 0, 255).astype(np.uint8)


def still(level: int) -> Picture:
    """The same pixels again and again."""
    return lambda: np.full((240, 320), level, dtype=np.uint8)


def phone_in_the_dark() -> NDArray[np.uint8]:
    """A lit screen that fills a fortieth of an otherwise black picture."""
    picture = noisy(16)()
    picture[100:140, 150:200] = 90
    return picture


def shown(watch: FrameWatch, picture: Picture, from_ns: int, to_ns: int) -> list[str]:
    """What the watch says of each frame of a time."""
    return [watch.judge(Frame(luma=picture(), number=0, captured_ns=at)) for at in range(from_ns, to_ns + 1, FRAME_NS)]


@pytest.mark.parametrize(
    "picture", [noisy(60), noisy(128), noisy(215), phone_in_the_dark], ids=["dim", "grey", "bright", "phone"]
)
def test_a_working_camera_is_fine(picture: Picture) -> None:
    """Dim, grey and bright scenes, and a lit phone at night, are no faults however long they last."""
    assert set(shown(FrameWatch(), picture, 0, 20 * S)) == {""}


@pytest.mark.parametrize(
    ("picture", "lasts_s", "says"),
    [
        (noisy(16), 2, "the picture is black: uncover the lens, or give the door light"),
        (still(0), 2, "the picture is black: uncover the lens, or give the door light"),
        (noisy(245), 2, "the picture is white: turn the camera away from the sun or the lamp that blinds it"),
        (still(128), 5, "the picture is frozen: check the camera's cable, then restart the kiosk"),
    ],
    ids=["covered", "covered and denoised", "blinded", "frozen"],
)
def test_a_fault_must_last(picture: Picture, lasts_s: int, says: str) -> None:
    """Black and white count after 2 s, frozen after 5 s, each with the same sentence until the picture is well."""
    watch = FrameWatch()
    assert shown(watch, noisy(100), 7 * S, 9 * S) == [""] * 21
    begins = 9 * S + FRAME_NS
    assert set(shown(watch, picture, begins, begins + lasts_s * S - FRAME_NS)) == {""}
    assert shown(watch, picture, begins + lasts_s * S, begins + 8 * S) == [says] * (81 - 10 * lasts_s)
    assert shown(watch, noisy(100), 30 * S, 31 * S) == [""] * 11


def test_a_break_starts_the_count_again() -> None:
    """One frame that differs every second keeps a dark picture from being called a fault."""
    watch = FrameWatch()
    for second in range(10):
        assert set(shown(watch, noisy(16), second * S, second * S + 900 * MS - FRAME_NS)) == {""}
        assert shown(watch, noisy(100), second * S + 900 * MS, second * S + 900 * MS) == [""]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (720, 1280), (17, 33)])
def test_any_shape_is_judged(shape: tuple[int, int]) -> None:
    """A picture of any shape is judged."""
    watch = FrameWatch()
    black = np.zeros(shape, dtype=np.uint8)
    says = [watch.judge(Frame(luma=black, number=0, captured_ns=at * S)) for at in range(4)]
    assert [bool(sentence) for sentence in says] == [False, False, True, True]


def test_a_camera_without_frames_has_vanished() -> None:
    """No frame for 2 s is a fault until the next frame comes."""
    watch = FrameWatch()
    shown(watch, noisy(100), S, S)
    assert watch.vanished(3 * S - 1) == ""
    assert watch.vanished(3 * S) == "the camera gives no frames: check its cable and the power supply"
    shown(watch, noisy(100), 4 * S, 4 * S)
    assert watch.vanished(5 * S) == ""


def test_a_camera_that_never_gave_a_frame_has_vanished() -> None:
    """Before the first frame the 2 s count from the first question."""
    watch = FrameWatch()
    assert watch.vanished(100 * S) == ""
    assert watch.vanished(102 * S) == "the camera gives no frames: check its cable and the power supply"
