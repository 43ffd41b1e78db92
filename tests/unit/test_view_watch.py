from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk.clock import S
from kiosk.messages import Frame
from kiosk.view_watch import COVERED, LASTS_NS, LEARN_LOOKS, MOVED, RELEARN_NS, UNFOCUSED, ViewWatch

SIZE = (320, 180)
NOISE = [np.random.default_rng(seed).normal(0, 3, (SIZE[1], SIZE[0])) for seed in range(4)]
Picture = NDArray[np.uint8]
Shown = Callable[[int], Picture]


def hall(seed: int) -> Picture:
    """A place with doors, frames and lamps: rectangles with sharp borders on a lit wall."""
    rng = np.random.default_rng(seed)
    picture = np.full((SIZE[1], SIZE[0]), 120, dtype=np.uint8)
    for _ in range(25):
        left, top = int(rng.integers(0, SIZE[0] - 30)), int(rng.integers(0, SIZE[1] - 30))
        right, bottom = left + int(rng.integers(10, 90)), top + int(rng.integers(10, 90))
        cv2.rectangle(picture, (left, top), (right, bottom), int(rng.integers(20, 230)), -1)
    return picture


def noisy(picture: NDArray[np.generic]) -> Picture:
    """As a sensor gives it."""
    light = picture.astype(np.float64)
    return np.clip(light + NOISE[int(light[0, 0]) % 4], 0, 255).astype(np.uint8)


HALL, ELSEWHERE = hall(1), hall(2)


def with_visitor(second: int) -> Picture:
    """The hall, and for ten seconds of every twelve somebody who hides most of it."""
    picture = HALL.copy()
    if second % 12 < 10:
        cv2.rectangle(picture, (40 + second % 7, 20), (290, 180), 60 + second % 40, -1)
    return noisy(picture)


def evening(second: int) -> Picture:
    """The hall by ever less light: to a third within half an hour."""
    return noisy(HALL * (1.0 - min(second, 1800) / 2700))


def said(watch: ViewWatch, shown: Shown, begins_s: int, lasts_s: int) -> list[str]:
    """What it says of each second."""
    return [
        watch.judge(Frame(luma=shown(second), number=second, captured_ns=second * S))
        for second in range(begins_s, begins_s + lasts_s)
    ]


def taught() -> ViewWatch:
    """A watch that has seen the hall for as long as it needs."""
    watch = ViewWatch()
    assert set(said(watch, lambda _: noisy(HALL), 0, LEARN_LOOKS)) == {""}
    return watch


@pytest.mark.parametrize("shown", [with_visitor, evening, lambda _: noisy(HALL)], ids=["busy", "evening", "empty"])
def test_a_door_at_work_is_fine(shown: Shown) -> None:
    """Visitors one after the other, the light of an evening and an empty hall are no faults."""
    assert set(said(taught(), shown, LEARN_LOOKS, 1500)) == {""}


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (lambda _: noisy(np.full_like(HALL, 90)), COVERED),
        (lambda _: noisy(ELSEWHERE), MOVED),
        (lambda _: noisy(cv2.GaussianBlur(HALL, (0, 0), 3.0)), UNFOCUSED),
    ],
    ids=["tape", "turned", "breath on the lens"],
)
def test_another_view_that_lasts_is_told_and_its_end_at_once(shown: Shown, says: str) -> None:
    """Three minutes of tape, of another place or of blur are a fault, until the known view is back."""
    watch = taught()
    lasts_s = LASTS_NS // S
    assert said(watch, shown, LEARN_LOOKS, lasts_s + 2) == [""] * lasts_s + [says] * 2
    assert said(watch, lambda _: noisy(HALL), LEARN_LOOKS + lasts_s + 2, 1) == [""]


def test_a_view_that_stays_is_learned() -> None:
    """After half an hour the new place is the door's own, and the old one would be another."""
    watch = taught()
    told = said(watch, lambda _: noisy(ELSEWHERE), LEARN_LOOKS, RELEARN_NS // S + LEARN_LOOKS + 2)
    assert (MOVED in told, told[-1]) == (True, "")
    begins_s = LEARN_LOOKS + len(told)
    assert said(watch, lambda _: noisy(HALL), begins_s, LASTS_NS // S + 1)[-1] == MOVED


def test_a_camera_that_starts_covered_learns_nothing_of_it() -> None:
    """It says so, and takes the hall as its view once it sees it."""
    watch = ViewWatch()
    assert said(watch, lambda _: noisy(np.full_like(HALL, 90)), 0, 200)[-1] == COVERED
    assert set(said(watch, lambda _: noisy(HALL), 200, 300)) == {""}


def test_between_two_looks_it_says_what_it_said() -> None:
    """It looks once a second; frames in between cost nothing and change nothing."""
    watch = taught()
    covered = np.full_like(HALL, 90)
    begins_ns = LEARN_LOOKS * S
    frames = [Frame(luma=covered, number=n, captured_ns=begins_ns + n * S // 2) for n in range(2 * LASTS_NS // S + 2)]
    assert [watch.judge(frame) for frame in frames][-3:] == ["", COVERED, COVERED]
