"""The outbox's SQLite file: opened, told from a damaged one, set aside, written in one transaction, held to its bounds.

Decides what a readable outbox is and what goes when there is too much (docs/decisions/0013). Refuses to know threads,
events and the broker. `kiosk.outbox` is its only writer; `kiosk.outbox_view` looks at the same file.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from kiosk.errors import OutboxFault

SCHEMA_VERSION = 1
"""`PRAGMA user_version`; a version before 0013 wrote 0. It rises only where the previous firmware could not work on
the file: columns with a default, tables and indexes may be added without."""

MOST_DROPPED_AT_ONCE = 5_000
"""In one transaction, so in one report: its sequences fit `wire.BIGGEST_PAYLOAD` even if no two are neighbours."""

PAGE_BYTES = 1024
"""Of a new file; one of before keeps its 4096. An event has about 700: 5.4 KB are written for each, else 7.9 KB."""

DAY_S = 86_400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger (name TEXT NOT NULL, device TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL,
                                   acknowledged INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS alerts ON events (sequence) WHERE kind = 'alert';
CREATE TABLE IF NOT EXISTS open_alerts (sequence INTEGER PRIMARY KEY, stored_s INTEGER);
"""
_ADDED = (
    ("ledger", "dropped", "INTEGER NOT NULL DEFAULT 0"),  # events ever dropped by the bounds
    ("events", "stored_s", "INTEGER"),  # Unix time, NULL where the clock was not trusted
    ("events", "keep", "INTEGER NOT NULL DEFAULT 0"),  # 1: never dropped
)
_OURS = {
    "ledger": {"name", "device"},
    "events": {"sequence", "kind", "payload", "acknowledged"},
    "open_alerts": {"sequence", "stored_s"},
}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much may wait: events, and days since they were stored. Alerts count, and are never dropped."""

    most_events: int = 100_000
    most_days: int = 30

    @property
    def lot(self) -> int:
        """How many go at least when there are too many: one report for all of them."""
        return max(10, self.most_events // 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An accepted event, ready to be published."""

    sequence: int
    kind: str
    payload: bytes


class Damaged(Exception):
    """The file, or what SQLite says of it, is no outbox any more."""


Report = Callable[[int, list[int], str], Row]
"""Makes the report of a drop from its own sequence, those dropped, and the key of the bound."""


class OutboxFile:
    """The file with its two connections: one for the writing thread, one for the reading thread.

    Args:
        path: the file; its folder must exist.
        device: whose events are in it.

    Raises:
        Damaged: it cannot be trusted; set it aside.
        OutboxFault: another device's events wait in it.
        sqlite3.Error: it cannot be opened for another reason.
    """

    def __init__(self, path: Path, device: str) -> None:
        if path.with_name(path.name + "-wal").exists() and not (path.exists() and path.stat().st_size):
            raise Damaged("its log is there, the file itself is gone")  # SQLite would remove the log
        with ExitStack() as on_failure:
            try:
                self.writer = _connect(path)
                on_failure.callback(self.writer.close)
                _prepare(self.writer)
                self.ledger = _ledger_of(self.writer, device)
                (self.last,) = self.writer.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
                (self.waiting,) = self.writer.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
                rows = self.writer.execute("SELECT sequence FROM events WHERE acknowledged")
                self._acknowledged = frozenset(number for (number,) in rows)
                open_alerts = self.writer.execute("SELECT sequence FROM open_alerts")
                self.open_alerts = {number for (number,) in open_alerts}
                self.reader = _connect(path)
            except sqlite3.Error as error:
                if is_damage(error):
                    raise Damaged(str(error)) from error
                raise
            on_failure.pop_all()

    def close(self) -> None:
        """Close both connections."""
        self.reader.close()
        self.writer.close()

    def rows(self, sequence: int, newest: int, limit: int, *, alerts: bool) -> list[Row]:
        """Read the oldest unacknowledged rows above `sequence`, up to `newest`."""
        lane = " AND kind = 'alert'" if alerts else ""
        found = self.reader.execute(
            "SELECT sequence, kind, payload FROM events"  # noqa: S608 - the lane is one of two literals above
            f" WHERE sequence > ? AND sequence <= ? AND NOT acknowledged{lane} ORDER BY sequence LIMIT ?",
            (sequence, newest, limit),
        )
        return [Row(sequence=number, kind=kind, payload=payload) for number, kind, payload in found]

    def waiting_among(self, sequences: Iterable[int]) -> set[int]:
        """Tell which of these are rows that wait."""
        asked = "SELECT sequence FROM events WHERE sequence = ? AND NOT acknowledged"
        return {number for number in sequences if self.writer.execute(asked, (number,)).fetchone()}

    def commit(
        self,
        rows: list[Row],
        let_go: frozenset[int],
        closed: frozenset[int],
        *,
        now_s: int | None,
        bounds: Bounds,
        judge_age: bool,
        report: Report,
    ) -> int:
        """Insert, let acknowledged rows go, and drop what the bounds no longer allow: one transaction.

        Args:
            rows: the next sequences.
            let_go: rows that wait and that the city has.
            closed: alerts that are no longer open.
            now_s: Unix time for what is inserted; None while the clock is not trusted.
            bounds: how many may wait.
            judge_age: whether to look for what is too old; needs `now_s`.
            report: makes the row that tells of a drop.

        Returns:
            How many were dropped.
        """
        gone, last = let_go | self._acknowledged, self.last + len(rows)
        waiting = self.waiting + len(rows) - len(let_go)
        with self.writer as writer:
            writer.execute("BEGIN IMMEDIATE")
            self._insert(rows, now_s, keep=False)
            open_alerts = self._open_alerts(rows, closed, now_s, judge_age=judge_age)
            writer.executemany("UPDATE events SET acknowledged = 1 WHERE sequence = ?", [(n,) for n in sorted(let_go)])
            dropped, key = self._too_many(waiting, bounds), "most_events"
            if not dropped and judge_age and now_s is not None:
                dropped, key = self._too_old(now_s - bounds.most_days * DAY_S), "most_days"
            if dropped:
                last += 1
                self._insert([report(last, dropped, key)], now_s, keep=True)
                writer.execute("UPDATE ledger SET dropped = dropped + ?", (len(dropped),))
            # The next sequence is counted from the newest row, so that one stays even when acknowledged.
            gone_now = [(n,) for n in sorted(gone.union(dropped)) if n != last]
            writer.executemany("DELETE FROM events WHERE sequence = ?", gone_now)
        self.last, self._acknowledged, self.open_alerts = last, gone & {last}, open_alerts
        self.waiting = waiting + (1 - len(dropped) if dropped else 0)
        return len(dropped)

    def _open_alerts(self, rows: list[Row], closed: frozenset[int], now_s: int | None, *, judge_age: bool) -> set[int]:
        """Keep which alerts are open, and none longer than a day after a trusted clock has seen it."""
        raised, writer = [row.sequence for row in rows if row.kind == "alert"], self.writer
        writer.executemany("INSERT INTO open_alerts (sequence, stored_s) VALUES (?, ?)", [(n, now_s) for n in raised])
        if judge_age and now_s is not None and self.open_alerts:
            writer.execute("UPDATE open_alerts SET stored_s = ? WHERE stored_s IS NULL", (now_s,))
            old = writer.execute("SELECT sequence FROM open_alerts WHERE stored_s < ?", (now_s - DAY_S,))
            closed = closed.union(number for (number,) in old)
        writer.executemany("DELETE FROM open_alerts WHERE sequence = ?", [(n,) for n in sorted(closed)])
        return self.open_alerts.union(raised) - closed

    def rewrite(self, rows: Iterable[Row]) -> None:
        """Give rows another payload."""
        with self.writer as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany(
                "UPDATE events SET payload = ? WHERE sequence = ?", [(row.payload, row.sequence) for row in rows]
            )

    def _insert(self, rows: list[Row], now_s: int | None, *, keep: bool) -> None:
        self.writer.executemany(
            "INSERT INTO events (sequence, kind, payload, stored_s, keep) VALUES (?, ?, ?, ?, ?)",
            [(row.sequence, row.kind, row.payload, now_s, keep) for row in rows],
        )

    def _too_many(self, waiting: int, bounds: Bounds) -> list[int]:
        """The oldest that may go, a lot of them or none: what is left then are alerts and reports."""
        if waiting <= bounds.most_events:
            return []
        wanted = min(max(bounds.lot, waiting + 1 - bounds.most_events), MOST_DROPPED_AT_ONCE)
        found = self._droppable("", (wanted,))
        return found if len(found) >= bounds.lot else []

    def _too_old(self, before_s: int) -> list[int]:
        """What was stored before that time by a trusted clock; reading ends at the first row that is younger."""
        (young,) = self.writer.execute(
            "SELECT coalesce((SELECT sequence FROM events WHERE stored_s >= ? ORDER BY sequence LIMIT 1), ?)",
            (before_s, self.last + 1),
        ).fetchone()
        return self._droppable(" AND sequence < ? AND stored_s < ?", (young, before_s, MOST_DROPPED_AT_ONCE))

    def _droppable(self, also: str, values: tuple[int, ...]) -> list[int]:
        found = self.writer.execute(
            "SELECT sequence FROM events WHERE NOT acknowledged AND NOT keep"  # noqa: S608 - `also` is a literal above
            f" AND kind != 'alert'{also} ORDER BY sequence LIMIT ?",
            values,
        )
        return [number for (number,) in found]


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken, and not only that it cannot be reached or written."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def _connect(path: Path) -> sqlite3.Connection:
    with ExitStack() as on_failure:
        connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        on_failure.callback(connection.close)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        on_failure.pop_all()
    return connection


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def _prepare(connection: sqlite3.Connection) -> None:
    """Check the file and bring it to this version's schema, in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise Damaged(f"a later firmware has written it: schema {version}, this one knows {SCHEMA_VERSION}")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise Damaged(" ".join(str(verdict).split()))
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if any(not _OURS.get(table, set()) <= _columns(connection, table) for table in tables) or (
        tables and not tables & set(_OURS)
    ):
        raise sqlite3.OperationalError("it is a database of another kind")
    if version == SCHEMA_VERSION and tables >= set(_OURS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.strip().split(";\n"):
            connection.execute(statement)
        for table, column, kind in _ADDED:
            if column not in _columns(connection, table):
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _ledger_of(connection: sqlite3.Connection, device: str) -> str:
    """The file's own name for itself; a new file, even on the same device, counts from 1 under a new one.

    Raises:
        OutboxFault: another device's events still wait in it; under this one's name the city would not take them.
        Damaged: events wait in it under no name.
    """
    found = connection.execute("SELECT name, device FROM ledger").fetchone()
    if found and found[1] == device:
        return str(found[0])
    (waiting,) = connection.execute("SELECT count(*) FROM events WHERE NOT acknowledged").fetchone()
    if waiting and not found:
        raise Damaged("its ledger's name is gone")
    if waiting:
        raise OutboxFault(
            f"outbox.path: {waiting} events of the door {found[1]!r} still wait in it: give door.device that name"
            " until they are sent, or name another file"
        )
    name = secrets.token_hex(8)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM events")
        connection.execute("DELETE FROM open_alerts")
        connection.execute("DELETE FROM ledger")
        connection.execute("INSERT INTO ledger (name, device) VALUES (?, ?)", (name, device))
    return name
