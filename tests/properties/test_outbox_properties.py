"""Whatever is appended, acknowledged and opened again in whatever order: the outbox is the list it promises to be."""

import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kiosk import wire
from kiosk.messages import Alert, CheckIn, Decision, Direction, Event, Fault, Reason, Scheme
from kiosk.outbox import Outbox
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
EVENTS: tuple[Event, ...] = (
    CheckIn(
        at=AT,
        utc_trusted=True,
        direction=Direction.ENTRY,
        decision=Decision.GRANTED,
        reasons=(Reason.NO_RISK,),
        scheme=Scheme.DECLARATION,
        subject="0f" * 16,
        data_age_s=3600,
    ),
    Alert(
        at=AT,
        utc_trusted=False,
        direction=Direction.EXIT,
        reasons=(Reason.AT_RISK_AREA,),
        scheme=None,
        subject=None,
    ),
    Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail="ống kính bị che"),
)


class OutboxIsAList(RuleBasedStateMachine):
    """The model: every event ever accepted, in order, and which of them the city has acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._accepted: list[Event] = []
        self._acknowledged: set[int] = set()
        self._ledger = ""

    @initialize()
    def open(self) -> None:
        """Open the file and let its writer run."""
        path = Path(self._folder.name) / "outbox.sqlite3"
        self._box = Outbox(path, ORIGIN, on_health=self._never, on_change=lambda: None)
        self._writer = threading.Thread(target=self._box.write, args=(lambda: None,))
        self._writer.start()
        self._ledger = self._ledger or self._box.ledger

    @rule(events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=4))
    def append(self, events: list[Event]) -> None:
        """Events of one receipt get the next sequences."""
        receipt = self._box.append(events)
        assert receipt.wait(10.0)
        first = len(self._accepted) + 1
        assert receipt.sequences == tuple(range(first, first + len(events)))
        self._accepted += events

    @rule(sequences=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=8))
    def acknowledge(self, sequences: list[int]) -> None:
        """The city may acknowledge anything, repeatedly and in any order, but never what it has not been given."""
        known = [number for number in sequences if number <= len(self._accepted)]
        self._box.acknowledge(self._ledger, known)
        self._acknowledged |= set(known)

    @rule(sequences=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=8))
    def acknowledge_for_another_ledger(self, sequences: list[int]) -> None:
        """It means somebody else's rows."""
        self._box.acknowledge("f" * 16, sequences)

    @rule()
    def open_again(self) -> None:
        """End and begin anew, on the same file."""
        self._close()
        self.open()

    @invariant()
    def what_waits_is_what_was_accepted_and_not_acknowledged(self) -> None:
        """Read back whole, in order, under one ledger."""
        waiting = [number for number in range(1, len(self._accepted) + 1) if number not in self._acknowledged]
        until(lambda: self._box.waiting == len(waiting))
        assert self._box.ledger == self._ledger
        rows = self._box.after(0, 1000)
        assert [row.sequence for row in rows] == waiting
        read = [wire.decode_event(wire.event_topic("door-01", row.kind), row.payload) for row in rows]
        assert [one.stored.event for one in read if isinstance(one, wire.Received)] == [
            self._accepted[number - 1] for number in waiting
        ]

    def teardown(self) -> None:
        """Leave no thread and no file."""
        if hasattr(self, "_box"):
            self._close()
        self._folder.cleanup()

    def _close(self) -> None:
        self._box.close()
        self._writer.join(10.0)
        assert not self._writer.is_alive()

    @staticmethod
    def _never(fault: str) -> None:
        raise AssertionError(fault)


TestOutboxIsAList = OutboxIsAList.TestCase
TestOutboxIsAList.settings = settings(max_examples=25, stateful_step_count=15, deadline=None, database=None)
