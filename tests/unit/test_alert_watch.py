"""Which alerts are news, and which are told again."""

from dataclasses import replace
from datetime import timedelta

from city.alert_watch import AlertWatch
from city.alerts import Standing
from city.notices import AlertNotice
from kiosk import wire
from kiosk.clock import Now
from kiosk.messages import Alert, AlertState, Direction, Escalation, Event, Reason, Scheme, StoredEvent
from tests.builders import START, at_ms

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main", boot_id="b")
ALERT = Alert(
    at=START,
    utc_trusted=True,
    direction=Direction.ENTRY,
    reasons=(Reason.AT_RISK_SYMPTOM,),
    scheme=Scheme.DECLARATION,
    subject="0123456789abcdef0123456789abcdef",
)
STORED = Standing(
    device="door-01",
    ledger="aa",
    sequence=7,
    place="place-0001",
    access_point="main",
    direction="entry",
    reasons=("at_risk.symptom",),
    subject=ALERT.subject,
    raised_at=START,
    state=AlertState.DELIVERED,
    by="",
    said_at=START,
    escalations=0,
)
RAISED = AlertNotice(
    news="raised",
    at=START,
    device="door-01",
    place="place-0001",
    access_point="main",
    ledger="aa",
    sequence=7,
    direction="entry",
    reasons=("at_risk.symptom",),
    subject="01234567",
)


def at_s(second: int) -> Now:
    """That many seconds after the start."""
    return at_ms(second * 1000)


def received(event: Event, sequence: int = 7) -> wire.Received:
    """An event as it comes."""
    return wire.Received(origin=ORIGIN, stored=StoredEvent(ledger="aa", sequence=sequence, event=event))


def escalation(count: int) -> wire.Received:
    """The kiosk says that nobody has acknowledged alert 7."""
    event = Escalation(at=START, utc_trusted=True, alert_ledger="aa", alert_sequence=7, delivered=True, count=count)
    return received(event, 20 + count)


def news(notices: list[AlertNotice]) -> list[str]:
    """What they say, without of what."""
    return [notice.news for notice in notices]


def test_an_alert_is_told_once_however_often_it_comes_and_wherever_from() -> None:
    """Live first, then again from the kiosk, then from the database."""
    watch = AlertWatch()
    assert watch.hear(received(ALERT), at_s(1)) == [RAISED]
    assert watch.hear(received(ALERT), at_s(2)) + watch.look([STORED], [], at_s(3)) == []


def test_an_alert_that_was_not_heard_is_told_from_the_database() -> None:
    """As raised while it is young; else as one that nobody answers."""
    assert AlertWatch().look([STORED], [], at_s(59)) == [RAISED]
    assert AlertWatch().look([STORED], [], at_s(60)) == [replace(RAISED, news="unanswered", at=at_s(60).utc)]


def test_an_alert_that_nobody_acknowledges_is_told_again_each_minute() -> None:
    """Until somebody does."""
    watch = AlertWatch()
    watch.hear(received(ALERT), at_s(0))
    told = [(second, news(watch.look([STORED], [], at_s(second)))) for second in range(0, 200, 5)]
    assert [(second, said) for second, said in told if said] == [
        (60, ["unanswered"]),
        (120, ["unanswered"]),
        (180, ["unanswered"]),
    ]
    taken = replace(STORED, state=AlertState.ACKNOWLEDGED, by="Trần B", said_at=at_s(200).utc)
    assert watch.look([taken], [], at_s(203)) == [replace(RAISED, news="acknowledged", at=at_s(200).utc, by="Trần B")]
    assert [news(watch.look([taken], [], at_s(second))) for second in range(205, 500, 5)] == [[]] * 59


def test_an_alert_that_is_closed_is_told_and_then_gone() -> None:
    """Whoever looks has to fetch what is no more among the open ones."""
    watch = AlertWatch()
    watch.look([STORED], [], at_s(1))
    assert watch.gone_from([STORED]) == []
    assert watch.gone_from([]) == [STORED.key]
    closed = replace(STORED, state=AlertState.CLOSED, by="Lê C", said_at=at_s(9).utc)
    assert watch.look([], [closed], at_s(10)) == [replace(RAISED, news="closed", at=at_s(9).utc, by="Lê C")]
    assert (watch.gone_from([]), watch.look([], [], at_s(15))) == ([], [])


def test_each_escalation_is_told_once() -> None:
    """Heard, or seen in the database when it was not heard."""
    watch = AlertWatch()
    watch.hear(received(ALERT), at_s(0))
    heard = AlertNotice(
        news="escalated",
        at=at_s(30).utc,
        device="door-01",
        place="place-0001",
        access_point="main",
        ledger="aa",
        sequence=7,
        count=1,
    )
    assert watch.hear(escalation(1), at_s(30)) == [heard]
    assert watch.hear(escalation(1), at_s(31)) + watch.look([replace(STORED, escalations=1)], [], at_s(32)) == []
    assert watch.look([replace(STORED, escalations=2)], [], at_s(40)) == [
        replace(RAISED, news="escalated", at=at_s(40).utc, count=2)
    ]
    assert watch.hear(escalation(2), at_s(41)) == []
    watch.hear(escalation(3), at_s(42))
    behind = [watch.look([replace(STORED, escalations=count)], [], at_s(43 + count)) for count in (2, 3)]
    assert behind == [[], []]


def test_an_alert_raised_before_the_clock_was_set_has_the_citys_time() -> None:
    """1970 helps nobody."""
    wrong = replace(ALERT, at=START - timedelta(days=18_000), utc_trusted=False)
    assert AlertWatch().hear(received(wrong), at_s(5)) == [replace(RAISED, at=at_s(5).utc)]


def test_an_alert_that_somebody_has_at_the_start_is_told_as_such() -> None:
    """It is no more told again."""
    watch = AlertWatch()
    taken = replace(STORED, state=AlertState.ACKNOWLEDGED, by="Trần B")
    assert news(watch.look([taken], [], at_s(500))) == ["acknowledged"]
    assert news(watch.look([taken], [], at_s(600))) == []


def test_what_is_closed_is_forgotten_after_an_hour() -> None:
    """A day has hundreds, a year 100,000; within the hour the kiosk may send it again."""
    watch = AlertWatch()
    watch.hear(received(ALERT), at_s(0))
    watch.look([STORED], [], at_s(1))
    watch.look([], [STORED], at_s(3600))
    assert watch.hear(received(ALERT), at_s(3600)) == []
    watch.look([], [], at_s(3601))
    assert news(watch.hear(received(ALERT), at_s(3602))) == ["raised"]
