import math

from kiosk.back_off import QUICK_S, SPREAD_S, BackOff

FAR, NEAR, MIDDLE = (lambda _, most: most), (lambda least, _: least), (lambda least, most: (least + most) / 2)


def test_a_good_connection_is_followed_by_a_wait_of_up_to_the_spread() -> None:
    """From nothing at all, so that all doors fill the time evenly."""
    assert BackOff(NEAR).next_s(stood_s=3600.0, alert=False) == 0.0
    assert BackOff(FAR).next_s(stood_s=3600.0, alert=False) == SPREAD_S


def test_after_a_failure_a_door_leaves_a_whole_spread_to_the_others() -> None:
    """A connection that ended before it had stood so long counts as a failure."""
    for stood_s in (0.0, 1.0, math.nextafter(SPREAD_S, 0.0)):
        assert BackOff(NEAR).next_s(stood_s=stood_s, alert=False) == SPREAD_S
        assert BackOff(FAR).next_s(stood_s=stood_s, alert=False) == 2 * SPREAD_S


def test_an_alert_is_tried_soon_and_then_less_often() -> None:
    """Doubling, up to the spread and no further."""
    back_off = BackOff(FAR)
    waits_s = [back_off.next_s(stood_s=stood_s, alert=True) for stood_s in (SPREAD_S, *[0.0] * 7)]
    assert waits_s == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, SPREAD_S, SPREAD_S]
    assert back_off.next_s(stood_s=0.0, alert=True) == SPREAD_S


def test_a_newly_raised_alert_is_tried_soon_again() -> None:
    """However long the broker has been away, and however many alerts wait already."""
    back_off = BackOff(MIDDLE)
    for _ in range(2000):
        back_off.next_s(stood_s=0.0, alert=True)
    back_off.hurry()
    assert [back_off.next_s(stood_s=0.0, alert=True) for _ in range(2)] == [0.75 * QUICK_S, 1.5 * QUICK_S]


def test_once_the_alert_has_gone_the_door_waits_like_any_other() -> None:
    """And the next alert begins anew."""
    back_off = BackOff(FAR)
    waits_s = [back_off.next_s(stood_s=0.0, alert=alert) for alert in (True, True, False, True)]
    assert waits_s == [2.0, 4.0, 2 * SPREAD_S, 2.0]


def test_a_small_city_may_spread_over_less() -> None:
    """Alerts keep to it as well."""
    back_off = BackOff(FAR, spread_s=0.5)
    assert back_off.next_s(stood_s=0.5, alert=False) == 0.5
    assert [back_off.next_s(stood_s=0.0, alert=alert) for alert in (False, True, True)] == [1.0, 0.5, 0.5]
