from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from kiosk.ages import Ages, age_s, next_minute_ns
from kiosk.clock import MS, Now, S
from kiosk.messages import Direction, LinkStatus, Screen
from kiosk.views import of_state
from tests.builders import RULES, START, at_ms

VIEW = of_state(RULES, Direction.ENTRY, Screen.ATTRACT)
ONLINE, OFFLINE = LinkStatus(online=True, waiting=0), LinkStatus(online=False, waiting=3)


def _at(ms: int, ahead_ms: int = 0, *, trusted: bool = True) -> Now:
    now = at_ms(ms, utc_trusted=trusted)
    return replace(now, utc=now.utc + timedelta(milliseconds=ahead_ms))


def _since(ages: Ages, now: Now) -> datetime | None:
    return ages.put_on(VIEW, None, now).link_since


def test_a_clock_that_runs_as_it_should_has_not_jumped() -> None:
    """Nor is the first look at it a jump, whatever it says."""
    ages = Ages()
    assert [ages.step(_at(ms, 10**9)) for ms in (0, 33, 86_400_000)] == [0, 0, 0]


@pytest.mark.parametrize("jump_ms", [1000, 30_000, -1000, -86_400_000])
def test_a_jump_of_a_second_is_told_once(jump_ms: int) -> None:
    """Either way, with how far it was."""
    ages = Ages()
    assert [ages.step(_at(0)), ages.step(_at(50, jump_ms)), ages.step(_at(100, jump_ms))] == [0, jump_ms, 0]


@pytest.mark.parametrize("jump_ms", [999, -999])
def test_less_than_a_second_is_told_when_it_has_become_one(jump_ms: int) -> None:
    """Many small steps add up since the last that was told."""
    ages = Ages()
    ages.step(_at(0))
    assert [ages.step(_at(50, jump_ms)), ages.step(_at(60, 2 * jump_ms)), ages.step(_at(70, 3 * jump_ms))] == [
        0,
        2 * jump_ms,
        0,
    ]


def test_since_when_the_link_is_as_it_is() -> None:
    """Hearing the same again is no news; the figures beside it are."""
    ages = Ages()
    ages.step(_at(0))
    assert _since(ages, _at(0)) is None
    ages.note_link(OFFLINE, _at(1500))
    ages.note_link(replace(OFFLINE, waiting=4), _at(4000))
    view = ages.put_on(VIEW, None, _at(5000))
    assert (view.online, view.waiting, view.link_since) == (False, 4, START + timedelta(seconds=1))
    ages.note_link(ONLINE, _at(9000))
    assert _since(ages, _at(9000)) == START + timedelta(seconds=9)


def test_the_time_of_the_link_follows_the_clock() -> None:
    """It is put right when the clock is set, and unknown while the clock cannot be trusted."""
    ages = Ages()
    ages.step(_at(0, trusted=False))
    ages.note_link(ONLINE, _at(2000, trusted=False))
    assert _since(ages, _at(2000, trusted=False)) is None
    ages.step(_at(5000))
    assert _since(ages, _at(5000)) == START + timedelta(seconds=2)
    ages.step(_at(6000, 60_000))
    assert _since(ages, _at(6000, 60_000)) == START + timedelta(seconds=62)
    ages.step(_at(7000, 60_000, trusted=False))
    assert _since(ages, _at(7000, trusted=False)) is None


def test_an_age_is_in_whole_seconds_and_never_negative() -> None:
    """A list from the future is as fresh as can be."""
    made_at = START - timedelta(milliseconds=2700)
    assert (age_s(made_at, _at(0)), age_s(START, _at(-5000)), age_s(None, _at(0))) == (2, 0, None)
    assert age_s(made_at, _at(0, trusted=False)) is None


def test_the_strip_has_the_age_of_the_list_in_whole_minutes() -> None:
    """And the gate is called when it changes."""
    ages, made_at = Ages(), START - timedelta(seconds=59, milliseconds=500)
    shown = [ages.put_on(VIEW, made_at, _at(ms)).city_age_s for ms in (0, 499, 500, 60_499, 60_500)]
    assert shown == [0, 0, 60, 60, 120]
    assert [next_minute_ns(made_at, _at(ms)) for ms in (0, 499, 500)] == [500 * MS, 500 * MS, 60_500 * MS]
    assert ages.put_on(VIEW, None, _at(0)).city_age_s is None


def test_without_a_list_nobody_is_called_and_without_trust_each_minute() -> None:
    """A clock that cannot be trusted may be set by then."""
    assert next_minute_ns(None, _at(0)) is None
    assert [next_minute_ns(START, _at(ms, trusted=False)) for ms in (0, 59_999, 60_000)] == [60 * S, 60 * S, 120 * S]
