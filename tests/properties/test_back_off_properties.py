"""Whatever happened to a door before, and whatever chance says: its waits keep to the law the broker relies on."""

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kiosk.back_off import QUICK_S, SPREAD_S, BackOff

DOORS = 4000
seeds = st.integers(0, 2**32).map(Random)
everyday = settings(max_examples=100, deadline=None, database=None, derandomize=True)
stood = st.one_of(st.just(0.0), st.floats(0.0, 2 * SPREAD_S))
asked = st.tuples(stood, st.booleans(), st.booleans())
"""How long the connection had stood, whether an alert waits, and whether one was raised just before."""
spreads = st.floats(0.1, 600.0)


@everyday
@given(before=st.lists(asked, max_size=20), stood_s=stood, spread_s=spreads, share=st.floats(0.0, 1.0))
def test_without_an_alert_the_past_does_not_matter(
    before: list[tuple[float, bool, bool]], stood_s: float, spread_s: float, share: float
) -> None:
    """The wait is the spread's share that chance gives, and one whole spread more if the connection was not good."""
    back_off = BackOff(lambda least, most: least + share * (most - least), spread_s)
    for was_s, alert, raised in before:
        if raised:
            back_off.hurry()
        back_off.next_s(stood_s=was_s, alert=alert)
    first_s = 0.0 if stood_s >= spread_s else spread_s
    assert abs(back_off.next_s(stood_s=stood_s, alert=False) - (first_s + share * spread_s)) < 1e-6


@everyday
@given(asks=st.lists(asked, min_size=1, max_size=40), random=seeds, spread_s=spreads)
def test_no_alert_waits_longer_than_the_spread(
    asks: list[tuple[float, bool, bool]], random: Random, spread_s: float
) -> None:
    """Nor longer than the first quick wait when it has just been raised."""
    back_off = BackOff(random.uniform, spread_s)
    for stood_s, alert, raised in asks:
        if raised:
            back_off.hurry()
        wait_s = back_off.next_s(stood_s=stood_s, alert=alert)
        assert 0.0 <= wait_s <= (spread_s if alert else 2 * spread_s)
        assert not (alert and raised) or wait_s <= QUICK_S


@everyday
@given(tries=st.integers(2, 60), random=seeds)
def test_an_alert_is_never_tried_more_often_the_longer_the_broker_is_away(tries: int, random: Random) -> None:
    """No wait is shorter than half of any before it, and seven of them bring it to what a broker bears from all."""
    back_off = BackOff(random.uniform)
    waits_s = [back_off.next_s(stood_s=0.0, alert=True) for _ in range(tries)]
    assert all(later_s >= earlier_s / 2 for earlier_s, later_s in pairwise(waits_s))
    assert all(wait_s >= SPREAD_S / 2 for wait_s in waits_s[6:])


@settings(everyday, max_examples=20)
@given(random=seeds, failures=st.integers(0, 3))
def test_doors_that_begin_to_wait_together_come_evenly(random: Random, failures: int) -> None:
    """In no twelfth of the spread do more come than their share and what chance adds (5 standard deviations)."""
    twelfth_s, share = SPREAD_S / 12, DOORS / 12
    came = [0] * 12 * (2 * failures + 3)
    for _ in range(DOORS):
        back_off = BackOff(random.uniform)
        at_s = back_off.next_s(stood_s=SPREAD_S, alert=False)
        came[int(at_s / twelfth_s)] += 1
        for _ in range(failures):
            at_s += back_off.next_s(stood_s=0.0, alert=False)
            came[int(at_s / twelfth_s)] += 1
    assert max(came) <= share + 5 * share**0.5
