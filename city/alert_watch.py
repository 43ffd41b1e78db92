"""PURE. Which alerts are news: raised, escalated, acknowledged, closed; and those nobody answers, again and again.

An alert is told as soon as it is heard, and of what was not heard the database tells. Told twice it is only when
nobody has acknowledged it for `AGAIN_NS`. Called by `city.lookout`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from city.alerts import Key, Standing
from city.notices import AlertNotice, shortened
from kiosk import wire
from kiosk.clock import Now, S
from kiosk.messages import Alert, AlertState, Escalation

AGAIN_NS = 60 * S
"""Between two notices of an alert that nobody has acknowledged."""
FORGET_NS = 3600 * S
"""What is not open is remembered for so long: it may be sent again."""


class AlertWatch:
    """All alerts that are open, or were lately."""

    def __init__(self) -> None:
        self._open: dict[Key, Standing] = {}
        self._told_ns: dict[Key, int] = {}
        self._escalated: dict[Key, int] = {}

    def hear(self, received: wire.Received, now: Now) -> list[AlertNotice]:
        """An event has come, perhaps before the database has it, perhaps for the second time."""
        event, device = received.stored.event, received.origin.device
        if isinstance(event, Alert):
            key = (device, received.stored.ledger, received.stored.sequence)
            if key not in self._told_ns:
                self._told_ns[key] = now.monotonic_ns
                return [_raised(received, event, now.utc)]
        if isinstance(event, Escalation):
            key = (device, event.alert_ledger, event.alert_sequence)
            if event.count > self._escalated.get(key, 0):
                self._escalated[key] = event.count
                self._told_ns.setdefault(key, now.monotonic_ns)
                return [_escalated(received, event, now.utc)]
        return []

    def gone_from(self, standing: Iterable[Standing]) -> list[Key]:
        """Give the alerts that were open when it looked last, and are not among these."""
        here = {alert.key for alert in standing}
        return [key for key in self._open if key not in here]

    def look(self, standing: Iterable[Standing], closed: Iterable[Standing], now: Now) -> list[AlertNotice]:
        """Give the news in what the database has: all that are open, and what became of those `gone_from` it."""
        here = {alert.key: alert for alert in standing}
        notices = [notice for alert in here.values() if (notice := self._news_of(alert, now))]
        notices += [of_alert(alert, "closed", alert.said_at) for alert in closed]
        self._open = here
        for key in [key for key, ns in self._told_ns.items() if key not in here and now.monotonic_ns - ns > FORGET_NS]:
            del self._told_ns[key]
            self._escalated.pop(key, None)
        return notices

    def _news_of(self, alert: Standing, now: Now) -> AlertNotice | None:
        before, told_ns = self._open.get(alert.key), self._told_ns.get(alert.key)
        heard_of = self._escalated.get(alert.key, 0)
        self._escalated[alert.key] = max(alert.escalations, heard_of)
        if alert.state is not AlertState.DELIVERED:
            self._told_ns.setdefault(alert.key, now.monotonic_ns)
            new = before is None or before.state is not alert.state
            return of_alert(alert, alert.state, alert.said_at) if new else None
        if told_ns is None or now.monotonic_ns - told_ns >= AGAIN_NS:
            self._told_ns[alert.key] = now.monotonic_ns
            young = told_ns is None and now.utc - alert.said_at < timedelta(microseconds=AGAIN_NS // 1000)
            return of_alert(alert, "raised", alert.raised_at) if young else of_alert(alert, "unanswered", now.utc)
        return of_alert(alert, "escalated", now.utc) if alert.escalations > heard_of else None


def of_alert(alert: Standing, news: str, at: datetime) -> AlertNotice:
    """Tell of an alert in the database."""
    return AlertNotice(
        news=news,
        at=at,
        device=alert.device,
        place=alert.place,
        access_point=alert.access_point,
        ledger=alert.ledger,
        sequence=alert.sequence,
        direction=alert.direction,
        reasons=alert.reasons,
        subject=shortened(alert.subject),
        count=alert.escalations,
        by=alert.by,
    )


def _raised(received: wire.Received, alert: Alert, now: datetime) -> AlertNotice:
    return AlertNotice(
        news="raised",
        at=alert.at if alert.utc_trusted else now,
        device=received.origin.device,
        place=received.origin.place,
        access_point=received.origin.access_point,
        ledger=received.stored.ledger,
        sequence=received.stored.sequence,
        direction=alert.direction,
        reasons=alert.reasons,
        subject=shortened(alert.subject),
    )


def _escalated(received: wire.Received, escalation: Escalation, now: datetime) -> AlertNotice:
    return AlertNotice(
        news="escalated",
        at=now,
        device=received.origin.device,
        place=received.origin.place,
        access_point=received.origin.access_point,
        ledger=escalation.alert_ledger,
        sequence=escalation.alert_sequence,
        count=escalation.count,
    )
