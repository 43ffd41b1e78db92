"""The outbox on real files: nothing accepted is lost, doubled or renumbered, whatever happens to disk and process."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kiosk import wire
from kiosk.clock import Clock, S, SystemClock
from kiosk.drops import explained
from kiosk.errors import OutboxFault
from kiosk.messages import Alert, AlertNews, CheckIn, Decision, Direction, Event, Fault, Reason, Scheme
from kiosk.outbox import MOST_UNSTORED, Outbox
from kiosk.outbox_file import DAY_S, Bounds
from kiosk.testing.clock import ManualClock
from tests.waiting import until

ORIGIN = wire.Origin(device="door-01", place="place-0001", access_point="main")
AT = datetime(2021, 11, 20, 8, 30, tzinfo=UTC)
KILLS = 20
BOUNDS = Bounds()
CLOCK = SystemClock()
EVERYTHING = 1_000_000


def event(number: int) -> Fault:
    """An event that tells its number."""
    return Fault(at=AT, utc_trusted=True, stage="camera", recovered=False, detail=f"event {number}")


class Opened:
    """An outbox whose writer runs, and all it said about its health."""

    def __init__(
        self,
        path: Path,
        *,
        started: bool = True,
        origin: wire.Origin = ORIGIN,
        bounds: Bounds = BOUNDS,
        clock: Clock = CLOCK,
    ) -> None:
        self.path = path
        self.health: list[str] = []
        self.alerts: list[AlertNews] = []
        self.box = Outbox(
            path,
            origin,
            on_health=self.health.append,
            on_change=lambda: None,
            on_alert=self.alerts.append,
            bounds=bounds,
            clock=clock,
        )
        self._thread = threading.Thread(target=self.box.write, args=(lambda: None,))
        if started:
            self.start()

    def start(self) -> None:
        """Let the writer write."""
        self._thread.start()

    def store(self, *events: Event) -> tuple[int, ...]:
        """Append and wait for the commit."""
        receipt = self.box.append(events)
        assert receipt.wait(10.0)
        return receipt.sequences

    def acknowledge(self, *sequences: int) -> None:
        """Let rows go, and wait until they have."""
        left = self.box.waiting - len(sequences)
        self.box.acknowledge(self.box.ledger, sequences)
        until(lambda: self.box.waiting == left)

    def waiting(self) -> list[tuple[int, dict[str, Any]]]:
        """Sequence and data of every event that waits, as the uplink would publish them."""
        return [(row.sequence, json.loads(row.payload)["data"]) for row in self.box.after(0, EVERYTHING)]

    def numbers(self) -> list[tuple[int, int]]:
        """Sequence and number of every event that waits."""
        return [(sequence, int(data["detail"].split()[1])) for sequence, data in self.waiting()]

    def close(self) -> None:
        """End the writer."""
        self.box.close()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


@contextmanager
def opened(
    path: Path,
    *,
    started: bool = True,
    origin: wire.Origin = ORIGIN,
    bounds: Bounds = BOUNDS,
    clock: Clock = CLOCK,
) -> Iterator[Opened]:
    """An outbox for a while."""
    outbox = Opened(path, started=started, origin=origin, bounds=bounds, clock=clock)
    try:
        yield outbox
    finally:
        outbox.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold SQLite's write lock from another connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the outbox is."""
    return tmp_path / "outbox.sqlite3"


def test_accepted_events_come_back_in_order_after_the_file_is_opened_again(path: Path) -> None:
    """Sequences count from 1 without gaps, across openings, under one ledger name."""
    with opened(path) as outbox:
        first = outbox.store(event(1), event(2)), outbox.store(event(3))
        ledger = outbox.box.ledger
    with opened(path) as outbox:
        second = outbox.store(event(4))
        assert (first, second) == (((1, 2), (3,)), (4,))
        assert outbox.numbers() == [(1, 1), (2, 2), (3, 3), (4, 4)]
        assert (outbox.box.ledger, outbox.box.waiting) == (ledger, 4)


def test_a_row_is_read_above_the_cursor_and_no_more_than_asked_for(path: Path) -> None:
    """The uplink's window decides how many."""
    with opened(path) as outbox:
        outbox.store(*(event(number) for number in range(1, 11)))
        assert [row.sequence for row in outbox.box.after(3, 4)] == [4, 5, 6, 7]
        assert outbox.box.after(10, 4) == []


def test_acknowledged_rows_go_and_their_sequences_are_never_given_again(path: Path) -> None:
    """Not even when everything was acknowledged and the file was opened again, twice."""
    with opened(path) as outbox:
        outbox.store(event(1), event(2), event(3))
        outbox.acknowledge(2)
        assert outbox.numbers() == [(1, 1), (3, 3)]
        outbox.acknowledge(1, 3)
        assert outbox.numbers() == []
    for number in (4, 5):
        with opened(path) as outbox:
            assert outbox.store(event(number)) == (number,)
            outbox.acknowledge(number)
            assert outbox.box.waiting == 0
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_an_acknowledgement_for_another_ledger_lets_nothing_go(path: Path) -> None:
    """A card from another door, or a file made anew, has its own ledger."""
    with opened(path) as outbox:
        outbox.store(event(1), event(2))
        outbox.box.acknowledge("another ledger", [1, 2])
        outbox.acknowledge(2)
        assert outbox.numbers() == [(1, 1)]


def test_acknowledging_twice_or_the_unknown_changes_nothing(path: Path) -> None:
    """The city repeats itself after a lost connection."""
    with opened(path) as outbox:
        outbox.store(event(1), event(2))
        outbox.acknowledge(1)
        outbox.box.acknowledge(outbox.box.ledger, [1, 1, 99])
        outbox.store(event(3))
        assert outbox.numbers() == [(2, 2), (3, 3)]


def test_every_commit_is_on_disk(path: Path) -> None:
    """Write-ahead log with an fsync for each commit; NORMAL would lose accepted events at a power cut."""
    with opened(path) as outbox:
        for connection in (outbox.box._file.writer, outbox.box._file.reader):
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_receipt_that_was_waited_for_in_vain_marks_its_events_late(path: Path) -> None:
    """The writer had not begun when the time was over; what was in time is not marked."""
    with opened(path, started=False) as outbox:
        late, in_time = outbox.box.append([event(1), event(2)]), outbox.box.append([event(3)])
        assert not late.wait(0.01)
        outbox.start()
        assert (in_time.wait(10.0), late.wait(10.0)) == (True, True)
        assert [data["late_record"] for _, data in outbox.waiting()] == [True, True, False]


def test_a_receipt_whose_time_ends_while_the_commit_is_under_way_marks_its_events_late(path: Path) -> None:
    """The writer was already waiting for the disk; nobody reads the event before its mark is right."""
    with opened(path) as outbox:
        with locked(path):
            receipt = outbox.box.append([event(1)])
            until(outbox.box._work.empty, what="the writer has taken it")
            assert not receipt.wait(0.05)
            assert outbox.waiting() == []
        assert receipt.wait(10.0)
        assert [(sequence, data["late_record"]) for sequence, data in outbox.waiting()] == [(1, True)]


def test_a_disk_that_refuses_the_late_mark_costs_no_event_and_ends_no_thread(path: Path) -> None:
    """The event was committed before; the fault is told, and the next commit clears it."""
    with opened(path) as outbox, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(
            "CREATE TRIGGER refusal BEFORE UPDATE OF payload ON events BEGIN SELECT RAISE(FAIL, 'refused'); END"
        )
        with locked(path):
            receipt = outbox.box.append([event(1)])
            until(outbox.box._work.empty, what="the writer has taken it")
            assert not receipt.wait(0.05)
        assert receipt.wait(10.0)
        until(lambda: len(outbox.health) == 1)
        assert outbox.health[0] == "outbox.sqlite3 cannot be written (refused); free the disk or change the card"
        outbox.store(event(2))
        until(lambda: outbox.health[1:] == [""])
        assert outbox.numbers() == [(1, 1), (2, 2)]


def test_closing_stores_what_was_handed_over_before(path: Path) -> None:
    """An event appended just before the end is there at the next start."""
    with opened(path, started=False) as outbox:
        for number in range(1, 101):
            outbox.box.append([event(number)])
        outbox.start()
    with opened(path) as outbox:
        assert outbox.numbers() == [(number, number) for number in range(1, 101)]


PHOTOS = b"these are photos, not a database" * 64
TORN_HEADER = b"SQLite format 3\0" + b"\xff" * 4080


def faults(outbox: Opened) -> list[tuple[int, str, bool, str]]:
    """Sequence, stage, recovered and detail of every event that waits."""
    return [(number, data["stage"], data["recovered"], data["detail"]) for number, data in outbox.waiting()]


@pytest.mark.parametrize("content", [PHOTOS, TORN_HEADER])
def test_a_file_that_is_no_outbox_is_set_aside_whole_and_told_in_the_first_event(path: Path, content: bytes) -> None:
    """The door goes on with a new ledger; the bytes stand beside it under a name of their own."""
    path.write_bytes(content)
    with opened(path) as outbox:
        until(lambda: outbox.box.waiting == 1)
        ((number, stage, recovered, detail),) = faults(outbox)
        assert (number, stage, recovered) == (1, "outbox", True)
        assert detail.startswith("outbox.sqlite3 was damaged (")
        assert detail.endswith("): set aside as outbox.sqlite3.damaged-1; a new ledger begins")
        assert outbox.store(event(2)) == (2,)
    assert path.with_name("outbox.sqlite3.damaged-1").read_bytes() == content


def test_an_outbox_with_a_torn_page_is_set_aside_and_what_is_whole_can_still_be_read(path: Path) -> None:
    """Its ledger ends; the new one has another name."""
    with opened(path) as outbox:
        ledger = outbox.box.ledger
        for number in range(1, 101):
            outbox.store(event(number))
    tear(path)
    with opened(path) as outbox:
        until(lambda: outbox.box.waiting == 1)
        assert outbox.box.ledger != ledger
    with closing(sqlite3.connect(path.with_name("outbox.sqlite3.damaged-1"))) as old:
        assert old.execute("SELECT name FROM ledger").fetchone() == (ledger,)


def tear(path: Path) -> None:
    """Overwrite the last page of a table's tree."""
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)


def test_a_file_of_a_later_schema_is_set_aside(path: Path) -> None:
    """It stands there whole for the firmware that wrote it."""
    with opened(path) as outbox:
        outbox.store(event(1))
        outbox.box._file.writer.execute("PRAGMA user_version = 2")
    with opened(path) as outbox:
        until(lambda: outbox.box.waiting == 1)
        assert "(a later firmware has written it: schema 2, this one knows 1)" in faults(outbox)[0][3]


def test_a_log_whose_file_is_gone_is_set_aside(path: Path) -> None:
    """SQLite would remove it, and with it the only trace of what was accepted."""
    path.with_name("outbox.sqlite3-wal").write_bytes(b"frames")
    with opened(path) as outbox:
        until(lambda: outbox.box.waiting == 1)
    assert path.with_name("outbox.sqlite3.damaged-1-wal").read_bytes() == b"frames"


def test_five_damaged_files_are_kept_and_the_removal_of_a_sixth_is_told(path: Path) -> None:
    """No name is given twice."""
    for number in range(1, 8):
        path.write_bytes(b"%d" % number * 1000)
        path.with_name("outbox.sqlite3-wal").unlink(missing_ok=True)
        with opened(path) as outbox:
            until(lambda: outbox.box.waiting == 1)
            detail = faults(outbox)[0][3]
    assert "set aside as outbox.sqlite3.damaged-7; damaged-2 was removed, 5 are kept; " in detail
    kept = {file.name: file.read_bytes()[:1] for file in path.parent.glob("*.damaged-*")}
    assert kept == {f"outbox.sqlite3.damaged-{number}": b"%d" % number for number in range(3, 8)}


@pytest.mark.parametrize("finder", ["writer", "reader"])
def test_damage_found_while_running_starts_a_new_ledger_and_costs_no_new_event(path: Path, finder: str) -> None:
    """The old file is set aside; the reader is told once, so that it asks for the new ledger from its start."""
    with opened(path) as outbox:
        for number in range(1, 101):
            outbox.store(event(number))
        old = outbox.box.ledger
        outbox.box._file.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"\xff" * path.stat().st_size)
        if finder == "writer":
            outbox.box._file.writer.execute("PRAGMA shrink_memory")  # else it goes on from its own copy of the pages
            outbox.store(event(101))
            until(lambda: outbox.box.waiting == 2)
        else:
            with pytest.raises(OutboxFault, match="cannot be read"):
                outbox.box.after(0, 1)
            until(lambda: outbox.box.ledger != old)
            outbox.store(event(101))
        with pytest.raises(OutboxFault, match="was damaged and set aside; a new ledger has begun"):
            outbox.box.after(100, 1)
        told = [detail for _, _, _, detail in faults(outbox)]
        assert {detail.partition(" (")[0] for detail in told} == {"event 101", "outbox.sqlite3 was damaged"}
        assert (outbox.box.ledger == old, len(told), outbox.health[-1:]) == (False, 2, [""] if outbox.health else [])
    assert path.with_name("outbox.sqlite3.damaged-1").exists()


# Bounds.


def checkin(number: int) -> CheckIn:
    """A check-in that tells its number by its age."""
    return CheckIn(
        at=AT,
        utc_trusted=True,
        direction=Direction.ENTRY,
        decision=Decision.GRANTED,
        reasons=(Reason.NO_RISK,),
        scheme=Scheme.DECLARATION,
        subject="0f" * 16,
        data_age_s=number,
    )


ALERT = Alert(
    at=AT, utc_trusted=True, direction=Direction.EXIT, reasons=(Reason.AT_RISK_AREA,), scheme=None, subject=None
)


def gone(outbox: Opened) -> set[int]:
    """What the reports explain."""
    return {number for _, data in outbox.waiting() for span in explained(data.get("detail", "")) for number in span}


def test_beyond_its_bound_the_outbox_drops_the_oldest_but_no_alert_and_reports_which(path: Path) -> None:
    """What waits and what is reported is everything; the reports are few, and are never dropped themselves."""
    with opened(path, bounds=Bounds(most_events=200)) as outbox:
        for number in range(1, 501):
            outbox.store(ALERT if number % 50 == 0 else checkin(number))
        waiting = outbox.waiting()
        reports = [data for _, data in waiting if data.get("stage") == "outbox"]
        sequences = {sequence for sequence, _ in waiting}
        assert len([data for _, data in waiting if "reasons" in data and "decision" not in data]) == 10
        assert (gone(outbox) & sequences, gone(outbox) | sequences) == (set(), set(range(1, outbox.box._file.last + 1)))
        assert {report["recovered"] for report in reports} == {True}
        assert 190 <= outbox.box.waiting == len(waiting) <= 200
        dropped = len(gone(outbox))
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT dropped FROM ledger").fetchone() == (dropped,)


def test_nothing_but_alerts_and_reports_is_never_dropped(path: Path) -> None:
    """The bound gives way to them."""
    with opened(path, bounds=Bounds(most_events=10)) as outbox:
        for _ in range(40):
            outbox.store(ALERT)
        assert (outbox.box.waiting, gone(outbox)) == (40, set())


def test_what_is_older_than_its_bound_is_dropped_once_both_times_were_trusted(path: Path) -> None:
    """An event stored before the clock was set has no known age, and stays; so does an alert."""
    clock = ManualClock(utc=AT, utc_trusted=False)
    with opened(path, clock=clock) as outbox:
        outbox.store(checkin(1))
        clock.utc_trusted = True
        outbox.store(checkin(2), ALERT, checkin(4))
        clock.advance(29 * DAY_S * S)
        outbox.store(checkin(5))
        clock.advance(2 * DAY_S * S)
        outbox.store(checkin(6))
        assert [sequence for sequence, _ in outbox.waiting()] == [1, 3, 5, 6, 7]
        detail = outbox.waiting()[-1][1]["detail"]
    assert detail == "dropped 2 events beyond outbox.most_days, no alert among them: sequences 2, 4"


# Alerts with a life.


def news(outbox: Opened) -> list[tuple[int, str]]:
    """Sequence and state of all it said of its alerts."""
    assert {one.ledger for one in outbox.alerts} <= {outbox.box.ledger}
    return [(one.sequence, one.state.value) for one in outbox.alerts]


def test_an_alert_is_raised_when_it_is_on_disk_and_delivered_when_the_city_has_it(path: Path) -> None:
    """Once each, however often the city repeats itself; other events are no news."""
    with opened(path) as outbox:
        outbox.store(event(1), ALERT, checkin(3))
        assert news(outbox) == [(2, "raised")]
        outbox.acknowledge(1, 2)
        outbox.box.acknowledge(outbox.box.ledger, [2])
        outbox.store(event(4))
        assert news(outbox) == [(2, "raised"), (2, "delivered")]


def test_an_open_alert_is_told_again_after_a_restart_until_it_is_closed(path: Path) -> None:
    """With the state it had; the city's copy does not end it, a person does."""
    with opened(path) as outbox:
        outbox.store(ALERT, ALERT, ALERT)
        outbox.acknowledge(1, 3)
        outbox.box.close_alert(outbox.box.ledger, 3)
        outbox.box.close_alert("another ledger", 2)
        outbox.box.close_alert(outbox.box.ledger, 99)
    for _ in range(2):
        with opened(path) as outbox:
            assert news(outbox) == [(1, "delivered"), (2, "raised")]
    with opened(path) as outbox:
        outbox.box.close_alert(outbox.box.ledger, 1)
        outbox.box.close_alert(outbox.box.ledger, 2)
        outbox.store(event(4))
    with opened(path) as outbox:
        assert (news(outbox), outbox.box.waiting) == ([], 2)


def test_closing_an_alert_costs_no_write_of_its_own(path: Path) -> None:
    """It goes with the next event."""
    with opened(path) as outbox:
        outbox.store(ALERT)
        outbox.box.close_alert(outbox.box.ledger, 1)
        until(outbox.box._work.empty)
        assert open_in_file(path) == [1]
        outbox.store(event(2))
        assert open_in_file(path) == []


def open_in_file(path: Path) -> list[int]:
    """Which alerts the file keeps as open."""
    with closing(sqlite3.connect(path)) as file:
        return [number for (number,) in file.execute("SELECT sequence FROM open_alerts ORDER BY sequence")]


def test_an_alert_is_open_for_no_more_than_a_day_after_a_trusted_clock_has_seen_it(path: Path) -> None:
    """A door without the time cannot tell how old one is."""
    clock = ManualClock(utc=AT, utc_trusted=False)
    with opened(path, clock=clock) as outbox:
        outbox.store(ALERT)
        clock.advance(9 * DAY_S * S)
        outbox.store(ALERT)
        clock.utc_trusted = True
        outbox.store(event(3))
        clock.advance(DAY_S * S // 2)
        outbox.store(ALERT)
        assert open_in_file(path) == [1, 2, 4]
        clock.advance(DAY_S * S // 2 + 2 * S)
        outbox.store(event(5))
        assert open_in_file(path) == [4]
        assert len([data for _, data in outbox.waiting() if "reasons" in data]) == 3


def test_a_new_ledger_has_no_open_alerts(path: Path) -> None:
    """Those of the damaged file stay in it, and their rows with them."""
    with opened(path) as outbox:
        outbox.store(ALERT)
    tear(path)
    path.with_name("outbox.sqlite3-wal").unlink(missing_ok=True)
    with opened(path) as outbox:
        until(lambda: outbox.box.waiting == 1)
        assert (news(outbox), open_in_file(path)) == ([], [])


def test_the_newest_is_the_highest_sequence_that_was_ever_stored(path: Path) -> None:
    """Acknowledged or not, and over a restart."""
    with opened(path) as outbox:
        assert outbox.box.newest == 0
        outbox.store(event(1), event(2))
        outbox.acknowledge(1, 2)
        assert outbox.box.newest == 2
    with opened(path) as outbox:
        assert outbox.box.newest == 2


# Versions.

FIRST_VERSION = (
    "CREATE TABLE IF NOT EXISTS ledger (name TEXT NOT NULL, device TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL,
                                       acknowledged INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX IF NOT EXISTS alerts ON events (sequence) WHERE kind = 'alert'",
)
"""As version 0.1.0 made the file."""


def test_the_previous_version_works_on_the_file_and_this_one_again_on_what_it_left(path: Path) -> None:
    """Its own statements: it opens, inserts, lets go and reads; then this version goes on counting."""
    with opened(path) as outbox:
        outbox.store(event(1), event(2), event(3))
        ledger = outbox.box.ledger
    with closing(sqlite3.connect(path)) as previous, previous:
        for statement in FIRST_VERSION:
            previous.execute(statement)
        assert previous.execute("SELECT name, device FROM ledger").fetchone() == (ledger, "door-01")
        payload = previous.execute("SELECT payload FROM events WHERE sequence = 3").fetchone()[0]
        previous.execute("INSERT INTO events (sequence, kind, payload) VALUES (?, ?, ?)", (4, "fault", payload))
        previous.execute("UPDATE events SET acknowledged = 1 WHERE sequence IN (1, 4)")
        previous.execute("DELETE FROM events WHERE acknowledged AND sequence < (SELECT max(sequence) FROM events)")
    with opened(path) as outbox:
        assert (outbox.store(event(5)), outbox.box.ledger) == ((5,), ledger)
        assert outbox.numbers() == [(2, 2), (3, 3), (5, 5)]


def test_a_file_of_the_first_version_is_taken_over(path: Path) -> None:
    """Ledger, events and count stay."""
    with closing(sqlite3.connect(path)) as previous, previous:
        for statement in FIRST_VERSION:
            previous.execute(statement)
        previous.execute("INSERT INTO ledger (name, device) VALUES ('0123456789abcdef', 'door-01')")
        previous.execute("INSERT INTO events (sequence, kind, payload) VALUES (7, 'alert', x'7b7d')")
    with opened(path) as outbox:
        assert (outbox.box.ledger, outbox.store(event(8))) == ("0123456789abcdef", (8,))
        assert [row.sequence for row in outbox.box.alerts_after(0, 9)] == [7]


# Syncs.


def test_acknowledged_rows_go_many_at_once_and_are_not_read_meanwhile(path: Path) -> None:
    """Nineteen stay in the file, uncounted and unread; the twentieth takes all of them along."""
    with opened(path) as outbox:
        outbox.store(*(event(number) for number in range(1, 31)))
        outbox.acknowledge(*range(1, 20))
        assert (len(outbox.numbers()), in_file(path)) == (11, 30)
        assert [row.sequence for row in outbox.box.after(0, 3)] == [20, 21, 22]
        outbox.acknowledge(20)
        until(lambda: in_file(path) == 10)
        outbox.acknowledge(21)
    assert in_file(path) == 9


def in_file(path: Path) -> int:
    """How many rows the file has."""
    with closing(sqlite3.connect(path)) as file:
        return int(file.execute("SELECT count(*) FROM events").fetchone()[0])


def test_an_alert_is_not_given_up_while_the_disk_refuses(path: Path) -> None:
    """What was handed over first, and would be the first to go."""
    with opened(path, started=False) as outbox:
        outbox.box.append([checkin(1), ALERT])
        for number in range(1, MOST_UNSTORED + 4):
            outbox.box.append([event(number)])
        outbox.start()
        until(lambda: outbox.box.waiting)
        assert [row.sequence for row in outbox.box.alerts_after(0, 9)] == [2]


def test_a_database_of_another_kind_is_refused(path: Path) -> None:
    """A table of the same name with other columns is not taken over."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE events (name TEXT)")
    with pytest.raises(OutboxFault, match=r"outbox\.sqlite3: cannot be used as the outbox "):
        Outbox(path, ORIGIN, on_health=print, on_change=print)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The sentence says where to look."""
    with pytest.raises(OutboxFault, match=r"nowhere/outbox\.sqlite3: .*; check folder, owner and disk$"):
        Outbox(tmp_path / "nowhere" / "outbox.sqlite3", ORIGIN, on_health=print, on_change=print)


# A disk without room.

FILL_THE_DISK = """
import json, resource, sys
from contextlib import closing
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[3])
from test_outbox import event, opened
from tests.waiting import until

folder, how = Path(sys.argv[1]), sys.argv[2]
ballast = folder / "ballast"

def fill():
    if how == "file size limit":
        biggest = max(file.stat().st_size for file in folder.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (biggest, resource.RLIM_INFINITY))
        return
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(512)):
                pass
        except OSError:
            pass

def make_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ballast.unlink(missing_ok=True)

with opened(folder / "outbox.sqlite3") as outbox:
    outbox.store(event(1), event(2), event(3))
    fill()
    receipts = [outbox.box.append([event(number) for number in range(4 + 10 * n, 14 + 10 * n)]) for n in range(5)]
    until(lambda: outbox.health, what="the fault is told")
    stored_while_full = [receipt.wait(0) for receipt in receipts]
    make_room()
    until(lambda: outbox.health[-1] == "", what="the fault is over")
    late = [(sequence, data["late_record"]) for sequence, data in outbox.waiting()]
    print(json.dumps({"health": outbox.health, "stored_while_full": stored_while_full,
                      "stored": [receipt.wait(0) for receipt in receipts], "late": late,
                      "numbers": outbox.numbers()}))
"""


@pytest.mark.parametrize("how", ["file size limit", "file system without room"])
def test_a_full_disk_is_told_in_words_and_costs_no_event(tmp_path: Path, how: str) -> None:
    """What waits is stored when there is room again, marked late, and the fault ends."""
    child = [sys.executable, "-c", FILL_THE_DISK, str(tmp_path), how, json.dumps([str(Path.cwd()), _HERE])]
    if how == "file system without room":
        if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
            pytest.skip("a small file system needs a mount namespace: root, and no container that forbids it")
        mount = 'mount -t tmpfs -o size=200k none "$0" && exec "$@"'
        child = ["unshare", "--mount", "sh", "-c", mount, str(tmp_path), *child]
    done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["stored_while_full"] == [False] * 5
    assert said["stored"] == [True] * 5
    fault, *over = said["health"]
    assert fault.startswith("outbox.sqlite3 cannot be written (")
    assert fault.endswith("); free the disk or change the card")
    assert over == [""]
    assert said["numbers"] == [[number, number] for number in range(1, 54)]
    assert said["late"] == [[number, number > 3] for number in range(1, 54)]


_HERE = str(Path(__file__).parent)


def test_more_than_can_be_held_in_memory_gives_up_the_oldest_and_says_so(path: Path) -> None:
    """The sentence has their number, rounded down to a power of two; the newest are stored."""
    with opened(path, started=False) as outbox:
        for number in range(1, MOST_UNSTORED + 4):
            outbox.box.append([event(number)])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("CREATE TRIGGER refusal BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'refused'); END")
            outbox.start()
            until(lambda: outbox.health)
            other.execute("DROP TRIGGER refusal")
        assert "; at least 2 events given up; " in outbox.health[0]
        until(lambda: outbox.box.waiting)
        assert outbox.numbers() == [(number, number + 3) for number in range(1, MOST_UNSTORED + 1)]


# kill -9.


NURSERY = """
import json, os, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
from test_outbox import Opened, event

def write_until_killed():
    outbox = Opened(Path(sys.argv[1]))
    number = outbox.box._file.last
    while True:
        outbox.store(event(number + 1), event(number + 2))
        number += 2
        print(number, flush=True)

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        write_until_killed()
    print("child", child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


def test_no_event_whose_receipt_was_confirmed_is_lost_in_twenty_kills(path: Path) -> None:
    """After each kill -9 the file holds every confirmed event, and the sequences have no gap."""
    nursery = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(path), json.dumps([str(Path.cwd()), _HERE])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with nursery:
        assert nursery.stdin is not None
        for kill in range(KILLS):
            print("go", file=nursery.stdin)
            confirmed = killed_after(nursery, 1 + kill % 7)
            with opened(path) as outbox:
                numbers = outbox.numbers()
            assert len(numbers) >= confirmed > 0
            assert numbers == [(number, number) for number in range(1, len(numbers) + 1)]
        nursery.stdin.close()


def killed_after(nursery: "subprocess.Popen[str]", confirmations: int) -> int:
    """Kill the writer with signal 9 after so many confirmations; the answer is the last number it confirmed."""
    assert nursery.stdout is not None
    child = confirmed = heard = 0
    for line in nursery.stdout:
        match line.split():
            case ["gone"]:
                break
            case ["child", process]:
                child = int(process)
            case [number]:
                confirmed, heard = int(number), heard + 1
        if child and heard >= confirmations:
            os.kill(child, signal.SIGKILL)
            confirmations = EVERYTHING
    return confirmed


def test_a_door_that_changes_its_name_starts_a_ledger_of_its_own(path: Path) -> None:
    """Once its events have gone; until then it is told what waits and under which name."""
    with opened(path) as outbox:
        outbox.store(event(1))
        ledger = outbox.box.ledger
    renamed = replace(ORIGIN, device="door-02")
    with pytest.raises(OutboxFault) as refused:
        Opened(path, origin=renamed)
    assert str(refused.value) == (
        "outbox.path: 1 events of the door 'door-01' still wait in it: give door.device that name"
        " until they are sent, or name another file"
    )
    with opened(path) as outbox:
        assert outbox.numbers() == [(1, 1)]
        outbox.acknowledge(1)
    with opened(path, origin=renamed) as outbox:
        assert (outbox.store(event(2)), outbox.box.ledger == ledger) == ((1,), False)
