"""The durable queue, and the only one: an event is accepted when its transaction is on disk.

SQLite in WAL mode with `synchronous=FULL` (docs/decisions/0003: NORMAL loses committed rows at a power cut). One
writer thread owns every change; callers get a `Receipt` and may wait for it within a bound. Sequences count from 1
without a gap inside one ledger, a name made with the file. A row goes when the city has acknowledged it, never
before. It knows no broker; the core thread appends, the uplink reads and acknowledges.
"""

import queue
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from kiosk import wire
from kiosk.errors import OutboxFault
from kiosk.messages import Event, StoredEvent

RETRY_S = 1.0
"""Between attempts while the disk refuses: soon enough for a guard, seldom enough for a failing card."""

MOST_UNSTORED = 10_000
"""Events held in memory while the disk refuses; beyond that the oldest are given up, counted and reported. At an entry
nobody is granted meanwhile (docs/decisions/0002)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (name TEXT NOT NULL, device TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL,
                                   acknowledged INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS alerts ON events (sequence) WHERE kind = 'alert';
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An accepted event, ready to be published."""

    sequence: int
    kind: str
    payload: bytes


@dataclass(slots=True)
class Receipt:
    """What becomes of events handed to the outbox."""

    events: tuple[Event, ...]
    sequences: tuple[int, ...] = ()
    late: bool = False
    _stored: threading.Event = field(default_factory=threading.Event)
    _deciding: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the commit; if it is not there in time the events are marked `late_record`."""
        if self._stored.wait(timeout_s):
            return True
        with self._deciding:
            self.late = not self._stored.is_set()
            return not self.late

    def settle(self, sequences: tuple[int, ...], *, marked_late: bool) -> bool:
        """The commit is done, says the writer; False, and nothing settled, where the events still need their mark."""
        with self._deciding:
            if self.late and not marked_late:
                return False
            self.sequences = sequences
            self._stored.set()
            return True


_Numbered = tuple[Receipt, list[StoredEvent]]


class _Acknowledged(tuple[int, ...]):
    """Sequences the city has committed, on their way to the writer."""

    __slots__ = ()


class Outbox:
    """One file, opened or made.

    Args:
        path: the SQLite file; its folder must exist.
        origin: written into every payload.
        on_health: told one sentence when storing starts to fail, and "" when it works again; called by the writer.
        on_change: called by the writer when something was stored or let go.

    Raises:
        OutboxFault: the file cannot be opened as an outbox.
    """

    def __init__(
        self, path: Path, origin: wire.Origin, *, on_health: Callable[[str], None], on_change: Callable[[], None]
    ) -> None:
        self._path = path
        self._origin = origin
        self._on_health = on_health
        self._on_change = on_change
        self._work: queue.Queue[Receipt | _Acknowledged | None] = queue.Queue()
        self._closing = threading.Event()
        self._fault = ""
        self._given_up = 0
        try:
            with ExitStack() as on_failure:
                self._reader = self._connect()
                on_failure.callback(self._reader.close)
                self._reader.executescript(_SCHEMA)
                self.ledger = _ledger_of(self._reader, origin.device)
                (self._last,) = self._reader.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
                (self._waiting,) = self._reader.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
                on_failure.pop_all()
        except sqlite3.Error as error:
            raise OutboxFault(
                f"{path}: cannot be used as the outbox ({error}); check folder, owner and disk"
            ) from error
        self._released = self._last

    @property
    def waiting(self) -> int:
        """How many accepted events the city has not acknowledged."""
        return int(self._waiting)

    def append(self, events: Iterable[Event]) -> Receipt:
        """Hand over events to be stored in one transaction; does not wait."""
        receipt = Receipt(tuple(events))
        self._work.put(receipt)
        return receipt

    def acknowledge(self, ledger: str, sequences: Iterable[int]) -> None:
        """Let rows go that the city has committed; another ledger's are not ours to let go."""
        if ledger == self.ledger:
            self._work.put(_Acknowledged(sequences))

    def after(self, sequence: int, limit: int) -> list[Row]:
        """Read the oldest unacknowledged rows above `sequence`; for one reading thread.

        Raises:
            OutboxFault: the file cannot be read.
        """
        return self._rows("", sequence, limit)

    def alerts_after(self, sequence: int, limit: int) -> list[Row]:
        """As `after`, alerts only: they have a lane of their own, before whatever history waits."""
        return self._rows(" AND kind = 'alert'", sequence, limit)

    def _rows(self, lane: str, sequence: int, limit: int) -> list[Row]:
        try:
            rows = self._reader.execute(
                "SELECT sequence, kind, payload FROM events"  # noqa: S608 - the lane is one of two literals above
                f" WHERE sequence > ? AND sequence <= ? AND NOT acknowledged{lane} ORDER BY sequence LIMIT ?",
                (sequence, self._released, limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise OutboxFault(f"{self._path}: cannot be read ({error}); check the disk") from error
        return [Row(sequence=number, kind=kind, payload=payload) for number, kind, payload in rows]

    def write(self, stamp: Callable[[], None]) -> None:
        """Do the writer's work until `close`; `stamp` is called at each sign of progress, at least every second."""
        connection = self._connect()
        unstored: list[Receipt] = []
        try:
            while unstored or not (self._closing.is_set() and self._work.empty()):
                stamp()
                batch = self._take(wait=not unstored)
                unstored = self._within_bound([*unstored, *(item for item in batch if isinstance(item, Receipt))])
                acknowledged = [number for item in batch if isinstance(item, _Acknowledged) for number in item]
                if self._store(connection, unstored, acknowledged):
                    unstored = []
                elif self._closing.wait(RETRY_S):
                    return
        finally:
            connection.close()
            self._reader.close()

    def close(self) -> None:
        """Let the writer store what it has and end."""
        self._closing.set()
        self._work.put(None)

    def _take(self, *, wait: bool) -> list[Receipt | _Acknowledged]:
        batch: list[Receipt | _Acknowledged | None] = []
        try:
            batch.append(self._work.get(timeout=1.0) if wait else self._work.get_nowait())
            while True:
                batch.append(self._work.get_nowait())
        except queue.Empty:
            return [item for item in batch if item is not None]

    def _within_bound(self, unstored: list[Receipt]) -> list[Receipt]:
        excess = len(unstored) - MOST_UNSTORED
        if excess <= 0:
            return unstored
        self._given_up += sum(len(receipt.events) for receipt in unstored[:excess])
        return unstored[excess:]

    def _store(self, connection: sqlite3.Connection, receipts: list[Receipt], acknowledged: list[int]) -> bool:
        """Commit, or say why not; what could not be committed is tried again."""
        if not receipts and not acknowledged:
            return True
        numbered = self._numbered(receipts)
        try:
            waiting = self._commit(connection, [one for _, stored in numbered for one in stored], acknowledged)
        except sqlite3.Error as error:
            self._report(self._fault_of(error))
            return False
        fault = self._settle(connection, numbered)
        self._last = self._released = self._last + sum(len(stored) for _, stored in numbered)
        self._waiting = waiting
        self._on_change()
        self._report(fault)
        return True

    def _numbered(self, receipts: list[Receipt]) -> list[_Numbered]:
        numbers = count(self._last + 1)
        return [
            (
                receipt,
                [
                    StoredEvent(ledger=self.ledger, sequence=next(numbers), event=_marked(event, late=receipt.late))
                    for event in receipt.events
                ],
            )
            for receipt in receipts
        ]

    def _commit(self, connection: sqlite3.Connection, rows: list[StoredEvent], acknowledged: list[int]) -> int:
        """Insert, and let acknowledged rows go but the newest: the next sequence is counted from it."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO events (sequence, kind, payload) VALUES (?, ?, ?)",
                [(one.sequence, wire.kind_of(one.event), wire.encode_event(one, self._origin)) for one in rows],
            )
            connection.executemany(
                "UPDATE events SET acknowledged = 1 WHERE sequence = ?", [(n,) for n in acknowledged]
            )
            connection.execute(
                "DELETE FROM events WHERE acknowledged AND sequence < (SELECT max(sequence) FROM events)"
            )
            (waiting,) = connection.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
        return int(waiting)

    def _settle(self, connection: sqlite3.Connection, numbered: list[_Numbered]) -> str:
        """Tell the receipts; what became late during its commit is marked first, and no reader has seen it yet.

        The answer is the fault of a disk that refuses the marks; the events themselves are safe.
        """
        late = [
            (receipt, stored)
            for receipt, stored in numbered
            if not receipt.settle(_sequences(stored), marked_late=all(one.event.late_record for one in stored))
        ]
        fault = ""
        try:
            self._mark_late(connection, [one for _, stored in late for one in stored])
        except sqlite3.Error as error:
            fault = self._fault_of(error)
        for receipt, stored in late:
            receipt.settle(_sequences(stored), marked_late=True)
        return fault

    def _mark_late(self, connection: sqlite3.Connection, rows: list[StoredEvent]) -> None:
        if not rows:
            return
        marked = [replace(one, event=_marked(one.event, late=True)) for one in rows]
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "UPDATE events SET payload = ? WHERE sequence = ?",
                [(wire.encode_event(one, self._origin), one.sequence) for one in marked],
            )

    def _fault_of(self, error: sqlite3.Error) -> str:
        """One sentence that seldom changes: each new one becomes an event, and that must not fill what is full."""
        at_least = 1 << self._given_up.bit_length() >> 1
        lost = f"; at least {at_least} events given up" if at_least else ""
        return f"{self._path.name} cannot be written ({error}){lost}; free the disk or change the card"

    def _report(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            self._on_health(fault)

    def _connect(self) -> sqlite3.Connection:
        with ExitStack() as on_failure:
            connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
            on_failure.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            on_failure.pop_all()
        return connection


def _sequences(stored: list[StoredEvent]) -> tuple[int, ...]:
    return tuple(one.sequence for one in stored)


def _marked(event: Event, *, late: bool) -> Event:
    return replace(event, late_record=True) if late else event


def _ledger_of(connection: sqlite3.Connection, device: str) -> str:
    """The file's own name for itself; a new file, even on the same device, counts from 1 under a new one.

    Raises:
        OutboxFault: another device's events still wait in it; under this one's name the city would not take them.
    """
    found = connection.execute("SELECT name, device FROM ledger").fetchone()
    if found and found[1] == device:
        return str(found[0])
    (waiting,) = connection.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
    if waiting:
        raise OutboxFault(
            f"outbox.path: {waiting} events of the door {found[1]!r} still wait in it: give door.device that name"
            " until they are sent, or name another file"
        )
    name = secrets.token_hex(8)
    connection.execute("DELETE FROM events")
    connection.execute("DELETE FROM ledger")
    connection.execute("INSERT INTO ledger (name, device) VALUES (?, ?)", (name, device))
    return name
