from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kiosk.clock import MS
from kiosk.hints import Hints, advice, side_px
from kiosk.messages import Elapsed, Exposure, Glimpse, Hint, Quad, Seen
from tests.builders import sighting

FRAME = (1280, 720)
FRAME_MS = 33
REST_MS = 1500
EMPTY = Seen(sightings=())


def square(side: int, left: int = 500, top: int = 300) -> Quad:
    """Corners of an upright code."""
    return ((left, top), (left + side, top), (left + side, top + side), (left, top + side))


GOOD = Glimpse(
    captured_ns=0,
    quad=square(196),
    module_px=4.0,
    dark=40,
    light=180,
    clipped=0.0,
    edge_px=1.8,
    banding=0.02,
    tilt=8.0,
)
"""A code of version 8 in which nothing is wrong."""
SMALL = replace(GOOD, quad=square(73), module_px=1.5)
NEAR = replace(GOOD, quad=square(660, top=30), module_px=13.5)
DIM = replace(GOOD, dark=12, light=30)
PALE = replace(GOOD, dark=190, light=220)
GLARE = replace(GOOD, clipped=0.12, light=227)
TILTED = replace(GOOD, tilt=62.0)
SOFT = replace(GOOD, edge_px=3.8)
MOVED = replace(GOOD, captured_ns=FRAME_MS * MS, quad=square(196, left=520))
CAUSES = {
    Hint.READING: GOOD,
    Hint.CLOSER: SMALL,
    Hint.FURTHER: NEAR,
    Hint.SCREEN_UP: DIM,
    Hint.TOO_BRIGHT: GLARE,
    Hint.TILT_LESS: TILTED,
}


def play(hints: Hints, glimpses: Iterable[Glimpse], from_ms: int = 0) -> list[tuple[int, Hint | None]]:
    """Show glimpses thirty times a second; give each change of the hint and its ms."""
    changes: list[tuple[int, Hint | None]] = [(from_ms, None)]
    for number, glimpse in enumerate(glimpses):
        ms = from_ms + number * FRAME_MS
        hint = hints.step(replace(glimpse, captured_ns=ms * MS), ms * MS)
        if hint is not changes[-1][1]:
            changes.append((ms, hint))
    return changes


def hints_of_a_door() -> Hints:
    """What a door starts with."""
    return Hints(FRAME, rest_ns=REST_MS * MS)


@pytest.mark.parametrize("hint", CAUSES)
def test_each_cause_has_its_advice(hint: Hint) -> None:
    """One thing wrong with a code is what the visitor is told to change."""
    assert advice(CAUSES[hint], None, FRAME) is hint


@pytest.mark.parametrize(
    ("glimpse", "hint"),
    [
        (SOFT, Hint.FURTHER),
        (replace(SOFT, module_px=3.0, quad=square(147)), Hint.CLOSER),
        (PALE, Hint.TOO_BRIGHT),
        (replace(SMALL, module_px=None), Hint.CLOSER),
        (replace(GOOD, module_px=None), Hint.READING),
        (replace(GOOD, quad=square(400, left=-60)), Hint.FURTHER),
        (replace(GOOD, quad=square(400, left=878)), Hint.FURTHER),
        (replace(GOOD, quad=square(196, left=-60)), Hint.READING),
        (replace(GOOD, quad=((0, 0),) * 4, module_px=None, dark=0, light=0), Hint.READING),
    ],
)
def test_advice_weighs_size_blur_and_place(glimpse: Glimpse, hint: Hint) -> None:
    """A soft code gains by distance if it is large, else by coming closer; only a large one is told it is cut off."""
    assert advice(glimpse, None, FRAME) is hint


@pytest.mark.parametrize(
    ("glimpse", "hint"),
    [
        (MOVED, Hint.HOLD_STILL),
        (replace(MOVED, quad=square(196, left=506)), Hint.READING),
        (replace(MOVED, quad=square(196, left=506), edge_px=3.8), Hint.HOLD_STILL),
        (replace(MOVED, exposure=Exposure(exposure_us=2000, gain=4.0)), Hint.READING),
        (replace(MOVED, captured_ns=0), Hint.READING),
        (replace(MOVED, captured_ns=1000 * MS), Hint.READING),
    ],
)
def test_motion_counts_by_what_it_smears(glimpse: Glimpse, hint: Hint) -> None:
    """Twenty pixels a frame smear a long exposure and not a short one; six do so only where the code is soft."""
    assert advice(glimpse, GOOD, FRAME) is hint


def test_a_hint_comes_after_half_a_second_of_evidence() -> None:
    """A code that is read sooner brings no advice at all."""
    assert play(hints_of_a_door(), [SMALL] * 40) == [(0, None), (528, Hint.CLOSER)]


def test_a_read_ends_a_hint_at_once_and_rests() -> None:
    """What is glimpsed just after a read is the code that has had its answer."""
    hints = hints_of_a_door()
    play(hints, [SMALL] * 30)
    assert hints.step(Seen(sightings=(sighting(b"an", 990),)), 990 * MS) is None
    assert hints.deadline_ns is None
    assert play(hints, [SMALL] * 80, from_ms=1000) == [(1000, None), (3046, Hint.CLOSER)]


def test_a_frame_without_a_code_is_no_read() -> None:
    """Nor is any other input."""
    hints = hints_of_a_door()
    play(hints, [SMALL] * 30)
    assert [hints.step(given, 1000 * MS) for given in (EMPTY, Elapsed())] == [Hint.CLOSER, Hint.CLOSER]


def test_a_hint_goes_a_second_after_the_code() -> None:
    """The deadline says when, and then there is none."""
    hints = hints_of_a_door()
    play(hints, [SMALL] * 61)  # the last at 1980 ms
    assert hints.deadline_ns == 2980 * MS
    assert hints.step(Elapsed(), 2979 * MS) is Hint.CLOSER
    assert hints.step(Elapsed(), 2980 * MS) is None
    assert hints_of_a_door().deadline_ns is None


def test_a_hint_stays_long_enough_to_be_read() -> None:
    """Even if the code goes as soon as it is there."""
    hints = hints_of_a_door()
    play(hints, [SMALL] * 17)  # it comes with the last, at 528 ms
    assert hints.deadline_ns == 2028 * MS


def test_another_trouble_changes_the_hint_when_the_first_has_been_read() -> None:
    """The visitor comes closer, too close: the next advice waits for its time."""
    assert play(hints_of_a_door(), [*[SMALL] * 20, *[NEAR] * 80]) == [
        (0, None),
        (528, Hint.CLOSER),
        (2046, Hint.FURTHER),
    ]


def test_one_frame_in_between_changes_nothing() -> None:
    """Advice follows most of the last half second."""
    mixed = [TILTED if number % 5 == 4 else SMALL for number in range(200)]
    assert play(hints_of_a_door(), mixed) == [(0, None), (528, Hint.CLOSER)]


def test_evidence_that_agrees_on_nothing_gives_no_advice() -> None:
    """The screen says that the code is being read."""
    mixed = [(SMALL, TILTED, GLARE, DIM)[number % 4] for number in range(100)]
    assert play(hints_of_a_door(), mixed) == [(0, None), (528, Hint.READING)]


def test_a_glimpse_now_and_then_is_no_evidence() -> None:
    """Two a second may be two people passing."""
    hints = hints_of_a_door()
    assert {hints.step(replace(SMALL, captured_ns=ms * MS), ms * MS) for ms in range(0, 20_000, 450)} == {None}


def test_clearing_begins_anew() -> None:
    """After a verdict has had the screen, evidence must hold again."""
    hints = hints_of_a_door()
    play(hints, [SMALL] * 30)
    hints.clear()
    assert play(hints, [SMALL] * 30, from_ms=1000) == [(1000, None), (1528, Hint.CLOSER)]


def test_hints_never_flicker() -> None:
    """Whatever is glimpsed, no advice lasts less than a second and a half unless a code is read."""
    for seed in range(12):
        drawn = np.random.default_rng(seed).integers((0, 1), (len(CAUSES), 30), (60, 2))
        glimpses = [cause for which, frames in drawn for cause in [[*CAUSES.values()][which]] * frames]
        changes = play(hints_of_a_door(), glimpses)
        assert len(changes) > 3
        assert min(after - at for (at, hint), (after, _) in pairwise(changes) if hint) >= 1500


def test_a_side_is_the_mean_of_four() -> None:
    """In pixels."""
    assert (side_px(square(80)), side_px(((0, 0), (30, 40), (30, 40), (0, 0)))) == (80.0, 25.0)
