"""Which events go next, and what becomes of those the broker does not take."""

from kiosk.clock import S
from kiosk.outbox_file import Row
from kiosk.window import ACKNOWLEDGE_WITHIN_S, MOST_PARKED, PARKED_S, WINDOW, Window

LATER_NS = PARKED_S * S


class Kept:
    """An outbox of rows in memory: `alerts` are the sequences that are alerts."""

    def __init__(self, count: int, *alerts: int) -> None:
        self.rows = {
            number: Row(sequence=number, kind="alert" if number in alerts else "fault", payload=b"")
            for number in range(1, count + 1)
        }

    def after(self, sequence: int, limit: int) -> list[Row]:
        """As the outbox."""
        return [row for row in self.rows.values() if row.sequence > sequence][:limit]

    def alerts_after(self, sequence: int, limit: int) -> list[Row]:
        """As the outbox."""
        return [row for row in self.after(sequence, len(self.rows)) if row.kind == "alert"][:limit]


class Sender:
    """Publishes whatever the window gives, under numbers of its own."""

    def __init__(self, rows: Kept) -> None:
        self.rows = rows
        self.window = Window(rows)
        self.connect()

    def connect(self, ledger: str = "f00d") -> None:
        """A new connection."""
        self.window.begin(ledger)

    def send(self, now_ns: int = 0) -> list[int]:
        """Send what may go; their sequences."""
        rows = self.window.next(self.window.room, now_ns)
        for row in rows:
            self.window.sent(row, 1000 + row.sequence, now_ns)
        return [row.sequence for row in rows]

    def refuse(self, *sequences: int, now_ns: int = 0) -> list[bool]:
        """Be the broker that does not take these."""
        rows = [self.window.settled(1000 + sequence) for sequence in sequences]
        return [self.window.park(row, "Not authorized", now_ns) for row in rows if row]

    def acknowledge(self, *sequences: int) -> None:
        """Be the city."""
        for sequence in sequences:
            del self.rows.rows[sequence]
        self.window.acknowledged(sequences)


def test_alerts_go_first_then_the_rest_in_order_and_no_more_than_the_window() -> None:
    """What is not acknowledged goes again on the next connection, in the same order."""
    sender = Sender(Kept(20, 7, 19))
    first = [7, 19, *(number for number in range(1, 16) if number != 7)]
    assert (sender.send(), sender.send()) == (first, [])
    sender.acknowledge(7, 1)
    assert sender.send() == [16, 17]
    sender.connect()
    assert sender.send() == [19, *(number for number in range(2, 18) if number != 7)][:WINDOW]


def test_a_parked_row_is_passed_over_until_its_time_on_every_connection() -> None:
    """The others take its place; then it goes first."""
    sender = Sender(Kept(4))
    sender.send()
    assert sender.refuse(1, 2) == [True, True]
    sender.acknowledge(3)
    sender.connect()
    assert sender.send(LATER_NS - 1) == [4]
    assert sender.send(LATER_NS) == [1, 2]
    assert sender.refuse(1, now_ns=LATER_NS) == [False]
    assert sender.send(2 * LATER_NS) == [1]


def test_the_trouble_ends_with_the_last_refused_row() -> None:
    """Acknowledged after all, or no more in the outbox."""
    sender = Sender(Kept(3, 3))
    sender.send()
    sender.refuse(1, 2, 3)
    said = sender.window.trouble
    assert "take alert events (Not authorized), fault events (Not authorized); " in said
    sender.acknowledge(3)
    assert sender.window.trouble == said, "a sentence that changes is an event that may be refused"
    sender.acknowledge(1)
    del sender.rows.rows[2]
    assert (sender.send(LATER_NS), sender.window.trouble) == ([], "")


def test_no_more_rows_are_remembered_than_the_bound_and_the_rest_go_again_later() -> None:
    """The outbox forgets none."""
    sender = Sender(Kept(MOST_PARKED + 40))
    while sent := sender.send():
        sender.refuse(*sent)
    assert (len(sender.window._refused), len(sender.window._later)) == (MOST_PARKED, MOST_PARKED)
    sender.connect()
    assert sender.send() == list(range(1, WINDOW + 1))


def test_a_new_ledger_begins_with_nothing_refused() -> None:
    """Its sequences are others."""
    sender = Sender(Kept(2))
    sender.send()
    sender.refuse(1, 2)
    sender.connect("another")
    assert (sender.send(), sender.window.trouble) == ([1, 2], "")


def test_while_the_broker_is_full_nothing_goes_and_what_it_refused_goes_first_then() -> None:
    """An alert waits as well: the broker would refuse it."""
    sender = Sender(Kept(3, 3))
    sender.window.sent(sender.rows.rows[2], 1002, 0)
    row = sender.window.settled(1002)
    assert row is not None
    sender.window.hold(row, 5 * S)
    assert (sender.send(4 * S), sender.send(5 * S), sender.window.trouble) == ([], [2, 3, 1], "")


def test_only_what_is_under_way_can_be_overdue() -> None:
    """Counted from when it was sent, or from when a list has come."""
    sender = Sender(Kept(2))
    sender.send(S)
    sender.refuse(1)
    late_ns = S + ACKNOWLEDGE_WITHIN_S * S + 1
    assert (sender.window.overdue(late_ns, 0), sender.window.overdue(late_ns, 2 * S)) == (True, False)
    sender.acknowledge(2)
    assert not sender.window.overdue(late_ns, 0)
