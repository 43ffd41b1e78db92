"""PURE. Which events are under way to the city, which go next, and which the broker does not take.

Decides the order: alerts first, then the rest by sequence, at most `WINDOW` unacknowledged. What the broker refuses for
good is parked: kept, told once, and tried again much later, so that it holds up no other. Refuses to know MQTT and how
rows are stored. The uplink owns it; in-flight events are those of one connection, parked ones outlive it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kiosk.clock import S
from kiosk.outbox_file import Row

WINDOW = 16
"""Events in flight; below mosquitto's default Receive Maximum of 20, which paho itself does not honour."""
ACKNOWLEDGE_WITHIN_S = 10
"""A row not acknowledged by then is published again on a new connection; paho never resends on a live one."""
PARKED_S = 600
"""How long a row is not sent again that the broker refuses as it is."""
MOST_PARKED = 256
"""Beyond that the oldest are forgotten here, not in the outbox, and are tried again at the next connection."""


class Rows(Protocol):
    """What is waiting; the outbox."""

    def after(self, sequence: int, limit: int) -> list[Row]:
        """Read the oldest rows above a sequence."""

    def alerts_after(self, sequence: int, limit: int) -> list[Row]:
        """As `after`, alerts only."""


@dataclass(frozen=True, slots=True)
class _Sent:
    row: Row
    at_ns: int


class Window:
    """The events of one outbox on their way.

    Args:
        rows: where they wait.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._in_flight: dict[int, int] = {}
        self._published: dict[int, _Sent] = {}
        self._later: dict[int, int] = {}
        self._refused: dict[int, str] = {}
        self._told = set[str]()
        self._held_until_ns = 0
        self._cursor = self._alert_cursor = 0
        self._ledger = ""

    def begin(self, ledger: str) -> None:
        """Start from the oldest row: a new connection, or another ledger, of which nothing has been refused yet."""
        if ledger != self._ledger:
            self._ledger = ledger
            self._later.clear()
            self._refused.clear()
            self._told.clear()
        self._in_flight.clear()
        self._published.clear()
        self._cursor = self._alert_cursor = 0

    @property
    def room(self) -> int:
        """How many more may be under way."""
        return WINDOW - len(self._in_flight)

    @property
    def is_empty(self) -> bool:
        """Nothing is under way."""
        return not self._in_flight

    @property
    def trouble(self) -> str:
        """What the broker does not take, by kinds: a sentence that cannot change for ever, for it becomes an event."""
        if not self._refused:
            return ""
        return (
            f"the broker does not take {', '.join(sorted(self._told))}; they stay stored and are tried again every"
            f" {PARKED_S // 60} min; check its ACL and limits"
        )

    def next(self, room: int, now_ns: int) -> list[Row]:
        """Rows to publish now, at most `room`; tell each by `sent` or `park`."""
        if now_ns < self._held_until_ns:
            return []
        rows = self._tried_again(room, now_ns)
        while len(rows) < room and (alerts := self._rows.alerts_after(self._alert_cursor, room - len(rows))):
            self._alert_cursor = alerts[-1].sequence
            rows += filter(self._is_free, alerts)
        while len(rows) < room and (found := self._rows.after(self._cursor, room - len(rows))):
            self._cursor = found[-1].sequence
            rows += [row for row in found if self._is_free(row) and not self._went_as_alert(row)]
        return rows

    def sent(self, row: Row, mid: int, now_ns: int) -> None:
        """It is under way, under the broker's number for it."""
        self._in_flight[row.sequence] = now_ns
        self._published[mid] = _Sent(row, now_ns)

    def settled(self, mid: int) -> Row | None:
        """Which row the broker has answered for; None if the number is not one of ours."""
        sent = self._published.pop(mid, None)
        return sent.row if sent else None

    def park(self, row: Row, reason: str, now_ns: int) -> bool:
        """Leave it for later, being refused as it is; the answer is whether that is news."""
        self._in_flight.pop(row.sequence, None)
        self._later[row.sequence] = now_ns + PARKED_S * S
        news = row.sequence not in self._refused
        said = f"{row.kind} events ({reason})"
        self._refused[row.sequence] = said
        self._told.add(said)
        if len(self._refused) > MOST_PARKED:
            oldest = next(iter(self._refused))
            del self._refused[oldest]
            self._later.pop(oldest, None)
        return news

    def hold(self, row: Row, until_ns: int) -> None:
        """Send nothing until then, and then this one again."""
        self._in_flight.pop(row.sequence, None)
        self._later[row.sequence] = self._held_until_ns = until_ns

    def acknowledged(self, sequences: Iterable[int]) -> None:
        """The city has them."""
        for sequence in sequences:
            self._in_flight.pop(sequence, None)
            self._forget(sequence)

    def overdue(self, now_ns: int, not_before_ns: int) -> bool:
        """Whether one is unacknowledged for too long, counted from when it was sent or from `not_before_ns`."""
        since_ns = min(self._in_flight.values(), default=None)
        return since_ns is not None and now_ns - max(since_ns, not_before_ns) > ACKNOWLEDGE_WITHIN_S * S

    def _tried_again(self, room: int, now_ns: int) -> list[Row]:
        due = [sequence for sequence, until_ns in self._later.items() if until_ns <= now_ns]
        rows = []
        for sequence in due[: max(0, room)]:
            found = self._rows.after(sequence - 1, 1)
            if found and found[0].sequence == sequence:
                del self._later[sequence]
                self._in_flight[sequence] = now_ns  # the lanes below may come by it at once
                rows.append(found[0])
            else:
                self._forget(sequence)
        return rows

    def _forget(self, sequence: int) -> None:
        self._later.pop(sequence, None)
        if self._refused.pop(sequence, None) and not self._refused:
            self._told.clear()

    def _is_free(self, row: Row) -> bool:
        return row.sequence not in self._in_flight and row.sequence not in self._later

    def _went_as_alert(self, row: Row) -> bool:
        return row.kind == "alert" and row.sequence <= self._alert_cursor
