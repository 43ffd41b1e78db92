from itertools import permutations

import pytest

from kiosk.alerts import MOST_KEPT, SHOWN_ACKNOWLEDGED_NS, Alerts, Overdue
from kiosk.clock import S
from kiosk.messages import AlertNews, AlertState

RAISED, DELIVERED, ACKNOWLEDGED, CLOSED = AlertState
AFTER_NS = 60 * S


def _alerts(most: int = 3) -> Alerts:
    return Alerts(AFTER_NS, most)


def _say(alerts: Alerts, state: AlertState, at_s: int = 0, sequence: int = 1, ledger: str = "ledger") -> None:
    alerts.note(AlertNews(ledger=ledger, sequence=sequence, state=state), at_s * S)


def _overdue(count: int, sequence: int = 1, *, delivered: bool = False) -> Overdue:
    return Overdue(ledger="ledger", sequence=sequence, delivered=delivered, count=count)


def test_a_door_without_alerts_waits_for_none() -> None:
    """Nothing is open, unanswered or due."""
    alerts = _alerts()
    assert (alerts.least, alerts.unanswered, alerts.deadline_ns, alerts.elapse(10**15)) == (None, False, None, [])


def test_an_alert_goes_through_its_life() -> None:
    """Each state is what the door shows, until it is closed."""
    alerts, seen = _alerts(), []
    for state in AlertState:
        _say(alerts, state)
        seen.append((alerts.least, alerts.unanswered))
    assert seen == [(RAISED, True), (DELIVERED, True), (ACKNOWLEDGED, False), (None, False)]


@pytest.mark.parametrize("order", list(permutations(AlertState)))
def test_news_in_any_order_and_twice_come_to_the_same(order: tuple[AlertState, ...]) -> None:
    """An alert never goes back: once all has been heard it is closed, and nothing is due."""
    alerts = _alerts()
    for state in (*order, *order):
        _say(alerts, state)
    assert (alerts.least, alerts.deadline_ns) == (None, None)


@pytest.mark.parametrize("states", [*permutations((RAISED, DELIVERED, ACKNOWLEDGED)), (RAISED, ACKNOWLEDGED)])
def test_an_acknowledgement_counts_whenever_it_comes(states: tuple[AlertState, ...]) -> None:
    """Before the delivery as well as after: nobody is called any more."""
    alerts = _alerts()
    for state in states:
        _say(alerts, state)
    assert (alerts.least, alerts.elapse(61 * S)) == (ACKNOWLEDGED, [])


def test_an_alert_without_acknowledgement_is_told_after_each_minute() -> None:
    """Three times, with whether the city has it; delivery does not start the time anew."""
    alerts = _alerts()
    _say(alerts, RAISED, 5)
    assert (alerts.deadline_ns, alerts.elapse(65 * S - 1)) == (65 * S, [])
    assert alerts.elapse(65 * S) == [_overdue(1)]
    _say(alerts, DELIVERED, 70)
    assert (alerts.deadline_ns, alerts.elapse(125 * S - 1)) == (125 * S, [])
    assert alerts.elapse(125 * S) == [_overdue(2, delivered=True)]
    assert alerts.elapse(185 * S) == [_overdue(3, delivered=True)]
    assert (alerts.deadline_ns, alerts.elapse(10**15), alerts.least) == (None, [], DELIVERED)


def test_a_busy_machine_tells_once_for_all_it_missed() -> None:
    """And again a minute after that."""
    alerts = _alerts()
    _say(alerts, RAISED)
    assert (alerts.elapse(300 * S), alerts.deadline_ns) == ([_overdue(1)], 360 * S)


def test_a_site_may_go_without_escalations() -> None:
    """The alert is shown all the same."""
    alerts = _alerts(most=0)
    _say(alerts, RAISED)
    assert (alerts.deadline_ns, alerts.least) == (None, RAISED)


def test_alerts_are_told_each_at_its_own_time() -> None:
    """The door shows the one that has come least far."""
    alerts = _alerts()
    _say(alerts, RAISED, 0, sequence=1)
    _say(alerts, RAISED, 30, sequence=2)
    _say(alerts, DELIVERED, 40, sequence=1)
    assert (alerts.least, alerts.elapse(60 * S)) == (RAISED, [_overdue(1, 1, delivered=True)])
    assert alerts.elapse(90 * S) == [_overdue(1, 2)]
    _say(alerts, CLOSED, 100, sequence=2)
    assert (alerts.least, alerts.deadline_ns) == (DELIVERED, 120 * S)


def test_an_acknowledged_alert_is_shown_for_an_hour() -> None:
    """Counted from its first acknowledgement; hearing of it again does not bring it back."""
    alerts = _alerts()
    _say(alerts, RAISED)
    _say(alerts, ACKNOWLEDGED, 30)
    _say(alerts, ACKNOWLEDGED, 90)
    end_ns = 30 * S + SHOWN_ACKNOWLEDGED_NS
    assert (alerts.deadline_ns, alerts.elapse(end_ns - 1), alerts.least) == (end_ns, [], ACKNOWLEDGED)
    assert (alerts.elapse(end_ns), alerts.least, alerts.deadline_ns) == ([], None, None)
    _say(alerts, ACKNOWLEDGED, 5000)
    assert alerts.least is None


@pytest.mark.parametrize("state", [ACKNOWLEDGED, CLOSED])
def test_what_the_city_says_of_an_alert_nobody_here_knows_is_not_shown(state: AlertState) -> None:
    """Its list has alerts of weeks ago; one of them is no news for the guard."""
    alerts = _alerts()
    _say(alerts, state, ledger="an earlier outbox")
    assert alerts.least is None


def test_an_alert_kept_over_a_restart_starts_its_time_anew() -> None:
    """The outbox says at the start how far it had come."""
    alerts = _alerts()
    _say(alerts, DELIVERED, 1000)
    assert (alerts.least, alerts.deadline_ns) == (DELIVERED, 1060 * S)


def test_the_figures_are_as_documented() -> None:
    """An hour, and a thousand alerts."""
    assert (SHOWN_ACKNOWLEDGED_NS, MOST_KEPT) == (3_600_000_000_000, 1000)


def test_no_more_than_a_thousand_are_kept() -> None:
    """What has come furthest goes first, the oldest of those; an open one is kept as long as may be."""
    alerts = _alerts()
    _say(alerts, RAISED, sequence=1)
    _say(alerts, ACKNOWLEDGED, 1, sequence=2, ledger="other")
    _say(alerts, ACKNOWLEDGED, 2, sequence=3, ledger="other")
    for sequence in range(4, MOST_KEPT + 2):
        _say(alerts, DELIVERED, 3, sequence=sequence)
    _say(alerts, RAISED, 4, sequence=3, ledger="other")
    assert alerts.least is RAISED
    _say(alerts, CLOSED, 4, sequence=1)
    assert alerts.least is DELIVERED
    _say(alerts, RAISED, 5, sequence=2, ledger="other")
    assert alerts.least is RAISED, "it had been forgotten, and so it counts as new"
