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
from dataclasses import dataclass, field, replace
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
CREATE TABLE IF NOT EXISTS ledger (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL,
                                   acknowledged INTEGER NOT NULL DEFAULT 0);
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

    def wait(self, timeout_s: float) -> bool:
        """Wait for the commit; if it is not there in time the events are marked `late_record`."""
        if self._stored.wait(timeout_s):
            return True
        self.late = True
        return self._stored.is_set()

    def settle(self, sequences: tuple[int, ...]) -> None:
        """The commit is done; called by the writer."""
        self.sequences = sequences
        self._stored.set()


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
            self._reader = self._connect()
            self._reader.executescript(_SCHEMA)
            self.ledger = _ledger_of(self._reader)
            (self._last,) = self._reader.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
            (self._waiting,) = self._reader.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
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
        try:
            rows = self._reader.execute(
                "SELECT sequence, kind, payload FROM events"
                " WHERE sequence > ? AND sequence <= ? AND NOT acknowledged ORDER BY sequence LIMIT ?",
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
        self._given_up += excess
        return unstored[excess:]

    def _store(self, connection: sqlite3.Connection, receipts: list[Receipt], acknowledged: list[int]) -> bool:
        """Commit, or say why not; what could not be committed is tried again."""
        if not receipts and not acknowledged:
            return True
        rows = self._numbered(receipts)
        try:
            waiting = self._commit(connection, rows, acknowledged)
        except sqlite3.Error as error:
            lost = f"; {self._given_up} events given up" if self._given_up else ""
            self._report(f"{self._path.name} cannot be written ({error}){lost}; free the disk or change the card")
            return False
        self._last += len(rows)
        self._rewrite_late(connection, rows)
        self._released = self._last
        for receipt in receipts:
            receipt.settle(tuple(stored.sequence for of, stored in rows if of is receipt))
        self._waiting = waiting
        self._on_change()
        self._report("")
        return True

    def _numbered(self, receipts: list[Receipt]) -> list[tuple[Receipt, StoredEvent]]:
        events = [(receipt, event) for receipt in receipts for event in receipt.events]
        return [
            (receipt, StoredEvent(ledger=self.ledger, sequence=number, event=_marked(event, late=receipt.late)))
            for number, (receipt, event) in enumerate(events, self._last + 1)
        ]

    def _commit(
        self, connection: sqlite3.Connection, rows: list[tuple[Receipt, StoredEvent]], acknowledged: list[int]
    ) -> int:
        """Insert, and let acknowledged rows go but the newest: the next sequence is counted from it."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO events (sequence, kind, payload) VALUES (?, ?, ?)",
                [(one.sequence, wire.kind_of(one.event), wire.encode_event(one, self._origin)) for _, one in rows],
            )
            connection.executemany(
                "UPDATE events SET acknowledged = 1 WHERE sequence = ?", [(n,) for n in acknowledged]
            )
            connection.execute(
                "DELETE FROM events WHERE acknowledged AND sequence < (SELECT max(sequence) FROM events)"
            )
            (waiting,) = connection.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
        return int(waiting)

    def _rewrite_late(self, connection: sqlite3.Connection, rows: list[tuple[Receipt, StoredEvent]]) -> None:
        """Mark what became late while its commit was under way; no reader has seen it yet."""
        late = [
            replace(stored, event=_marked(stored.event, late=True))
            for receipt, stored in rows
            if receipt.late and not stored.event.late_record
        ]
        if late:
            with connection:
                connection.executemany(
                    "UPDATE events SET payload = ? WHERE sequence = ?",
                    [(wire.encode_event(one, self._origin), one.sequence) for one in late],
                )

    def _report(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            self._on_health(fault)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def _marked(event: Event, *, late: bool) -> Event:
    return replace(event, late_record=True) if late else event


def _ledger_of(connection: sqlite3.Connection) -> str:
    """The file's own name for itself; a new file, even on the same device, counts from 1 under a new one."""
    found = connection.execute("SELECT name FROM ledger").fetchone()
    if found:
        return str(found[0])
    name = secrets.token_hex(8)
    connection.execute("INSERT INTO ledger (name) VALUES (?)", (name,))
    return name
