"""Whatever is appended, acknowledged and opened again in whatever order: the outbox is the list it promises to be."""

import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kiosk import wire
from kiosk.drops import explained
from kiosk.messages import Alert, AlertNews, AlertState, CheckIn, Decision, Direction, Event, Fault, Reason, Scheme
from kiosk.outbox import Outbox
from kiosk.outbox_file import Bounds
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
FAULT_OF_OURS = EVENTS[2]
BOUNDS = Bounds(most_events=12)


class OutboxIsAList(RuleBasedStateMachine):
    """The model: every event ever accepted by sequence, and which were acknowledged or, beyond the bound, dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._accepted: dict[int, Event] = {}
        self._reports: set[int] = set()
        self._dropped: set[int] = set()
        self._acknowledged: set[int] = set()
        self._open_alerts: set[int] = set()
        self._ledger = ""

    @initialize()
    def open(self) -> None:
        """Open the file and let its writer run; it tells of each open alert, and how far it has come."""
        path, news = Path(self._folder.name) / "outbox.sqlite3", list[AlertNews]()
        self._box = Outbox(
            path, ORIGIN, on_health=self._never, on_change=lambda: None, on_alert=news.append, bounds=BOUNDS
        )
        assert {one.sequence: one.state is AlertState.DELIVERED for one in news} == {
            sequence: sequence in self._acknowledged for sequence in self._open_alerts
        }
        self._writer = threading.Thread(target=self._box.write, args=(lambda: None,))
        self._writer.start()
        self._ledger = self._ledger or self._box.ledger

    @rule(events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=4))
    def append(self, events: list[Event]) -> None:
        """Events of one receipt get the next sequences."""
        receipt = self._box.append(events)
        assert receipt.wait(10.0)
        first = self._last() + 1
        assert receipt.sequences == tuple(range(first, first + len(events)))
        self._accepted |= dict(zip(receipt.sequences, events, strict=True))
        self._open_alerts |= {number for number in receipt.sequences if isinstance(self._accepted[number], Alert)}

    @rule(sequences=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=8))
    def acknowledge(self, sequences: list[int]) -> None:
        """The city may acknowledge anything, repeatedly and in any order, but never what it has not been given."""
        known = [number for number in sequences if number <= self._last()]
        self._box.acknowledge(self._ledger, known)
        self._acknowledged |= set(known)

    @rule(sequences=st.lists(st.integers(min_value=1, max_value=30), min_size=1, max_size=8))
    def acknowledge_for_another_ledger(self, sequences: list[int]) -> None:
        """It means somebody else's rows."""
        self._box.acknowledge("f" * 16, sequences)

    @rule(sequence=st.integers(min_value=1, max_value=30))
    def close_alert(self, sequence: int) -> None:
        """People may close any alert, before or after the city has it; what is none is passed over."""
        if sequence <= self._last():
            self._box.close_alert(self._ledger, sequence)
            self._open_alerts.discard(sequence)

    @rule()
    def open_again(self) -> None:
        """End and begin anew, on the same file."""
        self._close()
        self.open()

    @invariant()
    def what_waits_is_what_was_accepted_and_neither_acknowledged_nor_reported_as_dropped(self) -> None:
        """Read back whole, in order, under one ledger; the reports alone come in between."""
        until(self._settled)
        assert self._box.ledger == self._ledger
        read = self._read()
        assert [event for sequence, event in read.items() if sequence not in self._reports] == [
            self._accepted[sequence] for sequence in read if sequence not in self._reports
        ]

    @invariant()
    def no_alert_and_no_report_is_dropped_and_the_bound_holds_for_the_rest(self) -> None:
        """Beyond the bound there is less than a lot of anything else."""
        dropped = [self._accepted[sequence] for sequence in self._dropped - self._reports]
        assert not any(isinstance(event, Alert) for event in dropped)
        assert not self._dropped & self._reports
        rest = [number for number in self._read() if not isinstance(self._accepted.get(number, FAULT_OF_OURS), Alert)]
        droppable = [number for number in rest if number not in self._reports]
        assert self._box.waiting <= BOUNDS.most_events or len(droppable) < BOUNDS.lot

    def _settled(self) -> bool:
        """Whether just that waits; reports are learnt on the way."""
        read, waiting = self._read(), self._box.waiting
        for sequence, event in read.items():
            if isinstance(event, Fault) and event.stage == "outbox":
                self._reports.add(sequence)
                self._dropped |= {number for span in explained(event.detail) for number in span}
        known = self._accepted.keys() | self._reports
        assert known == set(range(1, self._last() + 1))
        return list(read) == sorted(known - self._acknowledged - self._dropped) and waiting == len(read)

    def _read(self) -> dict[int, Event]:
        rows = self._box.after(0, 1000)
        read = [wire.decode_event(wire.event_topic("door-01", row.kind), row.payload) for row in rows]
        return {one.stored.sequence: one.stored.event for one in read if isinstance(one, wire.Received)}

    def _last(self) -> int:
        return max([0, *self._accepted, *self._reports])

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
