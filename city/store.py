"""Where the city keeps events, each once, and of each person the newest declaration.

SQLAlchemy, so that a pilot's embedded SQLite and a city's PostgreSQL are one address apart. It knows no broker. The
ingest acknowledges only what `add` or `set_aside` has committed. Several processes may have one store on PostgreSQL
each: whatever takes locks on several rows takes them by key, and events before ledgers, so none waits for another in a
circle (docs/decisions/0015-city-database.md).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite

from city import gaps, raised
from city.database import given, opened, writing
from city.gaps import Gap, Key
from city.schema import ALERTS, ALIASES, DECLARATIONS, EVENTS, GAPS, LEDGERS, SHARES, UNREADABLE

PAGE = 1000
"""Rows read at once where all are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One event as it came in, opened. `boot_id` and `boot_ns` are None where an older kiosk does not tell them."""

    device: str
    ledger: str
    sequence: int
    kind: str
    place: str
    access_point: str
    at: datetime
    utc_trusted: bool
    subject: str | None
    body: dict[str, Any]
    boot_id: str | None = None
    boot_ns: int | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it one and the same event however often it comes."""
        return (self.device, self.ledger, self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A message that cannot be read, as it came. `ledger` is empty and `sequence` 0 where it does not even say those.

    `digest`, 64 hex digits, is then what makes it one and the same message; else it is empty. `why` has nothing of its
    content.
    """

    device: str
    ledger: str
    sequence: int
    digest: str
    topic: str
    payload: bytes
    why: str

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What makes it one and the same message however often it comes."""
        return (self.device, self.ledger, self.sequence, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An event as the store has it. `corrected` is when it happened as far as the city knows; None: nobody can tell.

    That is `at` where the kiosk's clock had been set. Else it is what an event of the same boot says that was recorded
    after the clock had been set.
    """

    ledger: str
    sequence: int
    kind: str
    at: datetime
    corrected: datetime | None
    body: dict[str, Any]


class Store:
    """One database, brought up to this version.

    Args:
        address: an SQLAlchemy URL, such as "sqlite:///city.sqlite3".

    Raises:
        ValueError: the database is of a newer version.
    """

    def __init__(self, address: str) -> None:
        self._engine = opened(address)

    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction that may write, committed at its end."""
        return writing(self._engine)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read with."""
        return self._engine.connect()

    def insert(self, table: Table) -> Any:  # noqa: ANN401 - two dialects, one shape
        """An INSERT that knows ON CONFLICT."""
        return (sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert)(table)

    def check(self) -> None:
        """Return if the database answers. Raises SQLAlchemy's OperationalError if not."""
        with self.reading() as connection:
            connection.execute(text("SELECT 1"))

    def add(self, arrivals: Iterable[Arrival], received_at: datetime) -> list[Arrival]:
        """Commit all in one transaction; the answer is those that were not there yet."""
        by_key: dict[tuple[str, str, int], Arrival] = {}
        for arrival in arrivals:
            by_key.setdefault(arrival.key, arrival)
        if not by_key:
            return []
        with self.writing() as connection:
            return [
                by_key[key] for key in self._add(connection, [(by_key[key], received_at) for key in sorted(by_key)])
            ]

    def set_aside(self, messages: Iterable[Quarantined], received_at: datetime) -> list[Quarantined]:
        """Commit what cannot be read, for a version that can; the answer is those that were not there yet."""
        by_key: dict[tuple[str, str, int, str], Quarantined] = {}
        for message in messages:
            by_key.setdefault(message.key, message)
        if not by_key:
            return []
        rows = [
            {"received_at": received_at, **{name: getattr(by_key[key], name) for name in Quarantined.__slots__}}
            for key in sorted(by_key)
        ]
        key = ("device", "ledger", "sequence", "digest")
        insert = self.insert(UNREADABLE).on_conflict_do_nothing(index_elements=key)
        with self.writing() as connection:
            new = connection.execute(insert.returning(*(UNREADABLE.c[name] for name in key)), rows)
            return [by_key[tuple(row)] for row in new]

    def read_again(self, opened: Callable[[str, bytes], Arrival | None]) -> int:
        """Let `opened(topic, payload)` read what could not be read; what it now can becomes an event. How many."""
        moved, after = 0, 0
        while True:
            with self.writing() as connection:
                page = select(UNREADABLE).where(UNREADABLE.c.id > after).order_by(UNREADABLE.c.id).limit(PAGE)
                rows = connection.execute(page.with_for_update(skip_locked=True)).all()
                read = [(arrival, row) for row in rows if (arrival := opened(row.topic, row.payload))]
                if read:
                    self._move(connection, read)
            moved += len(read)
            if not rows:
                return moved
            after = rows[-1].id

    def events(self, device: str) -> Iterator[Kept]:
        """One device's events, in its order."""
        mine = EVENTS.c.device == device
        with self.reading() as connection:
            boots = _boots(connection, device)
            wanted = select(EVENTS).where(mine).order_by(EVENTS.c.ledger, EVENTS.c.sequence)
            for row in connection.execution_options(yield_per=PAGE).execute(wanted):
                yield Kept(
                    ledger=row.ledger,
                    sequence=row.sequence,
                    kind=row.kind,
                    at=row.at,
                    corrected=_corrected(row, boots),
                    body=row.body,
                )

    def look_for_gaps(self, keys: Collection[Key], before: datetime) -> bool:
        """Take note of what came of these ledgers (device, ledger) before a time; whether it was done.

        It is not while another process does the same. Cheap: only what has come since the last time is counted.
        """
        if not keys:
            return True
        with self.writing() as connection:
            return gaps.advance(connection, self.insert(LEDGERS), keys, before)

    def gaps(self, older_than: datetime) -> list[Gap]:
        """What is missing, and was known to be before that time. What `look_for_gaps` was not told of is not seen."""
        with self.reading() as connection:
            suspects = {(row.device, row.ledger) for row in connection.execute(select(GAPS.c.device, GAPS.c.ledger))}
        self.look_for_gaps(suspects, older_than)
        with self.reading() as connection:
            wanted = select(GAPS).where(GAPS.c.since <= older_than).order_by(*GAPS.primary_key)
            return [Gap(**row._mapping) for row in connection.execute(wanted)]  # noqa: SLF001 - its public name

    def keep_declaration(self, payload: bytes, *, subject: str, issued_at: datetime, aliases: Iterable[str]) -> None:
        """Keep a person's declaration unless a newer one is there, and under which other pseudonyms to find it."""
        with self.writing() as connection:
            insert = self.insert(DECLARATIONS).values(subject=subject, issued_at=issued_at, payload=payload)
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["subject"],
                    set_={"issued_at": insert.excluded.issued_at, "payload": insert.excluded.payload},
                    where=DECLARATIONS.c.issued_at <= insert.excluded.issued_at,
                )
            )
            for alias in sorted(set(aliases)):
                insert = self.insert(ALIASES).values(alias=alias, subject=subject)
                connection.execute(insert.on_conflict_do_update(index_elements=["alias"], set_={"subject": subject}))

    def declaration_of(self, pseudonym: str) -> bytes:
        """The newest declaration of a person, by any of their pseudonyms, as their phone would show it; or nothing."""
        subject = select(ALIASES.c.subject).where(ALIASES.c.alias == pseudonym).scalar_subquery()
        wanted = select(DECLARATIONS.c.payload).where(
            or_(DECLARATIONS.c.subject == pseudonym, DECLARATIONS.c.subject == subject)
        )
        newest = wanted.order_by(DECLARATIONS.c.issued_at.desc()).limit(1)
        with self.reading() as connection:
            return connection.execute(newest).scalar() or b""

    def shared(self, topic: str) -> str:
        """A shared subscription for all workers with this database, under a name that nobody else can guess.

        mosquitto's ACL lets anybody join a group, and who may not read what it is given swallows it (docs/broker.md).
        """
        with self.reading() as connection:
            return f"$share/{connection.execute(select(SHARES.c.secret)).scalar_one()}/{topic}"

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _add(self, connection: Connection, ordered: Sequence[tuple[Arrival, datetime]]) -> list[tuple[str, str, int]]:
        rows = [
            {"received_at": at, **{name: getattr(arrival, name) for name in Arrival.__slots__}}
            for arrival, at in ordered
        ]
        insert, key = self.insert(EVENTS), (EVENTS.c.device, EVENTS.c.ledger, EVENTS.c.sequence)
        values: list[dict[str, Any]] | None = rows
        if connection.dialect.name == "postgresql":
            table = given(connection, rows, *(EVENTS.c[name] for name in rows[0]))
            insert, values = insert.from_select([*rows[0]], select(*(table.c[name] for name in rows[0]))), None
        insert = insert.on_conflict_do_nothing(index_elements=key).returning(*key)
        new = [tuple(row) for row in connection.execute(insert, values)]
        fresh = {row[0].key for row in ordered if row[0].kind in raised.KINDS}.intersection(new)
        if fresh:
            told = [row for (arrival, _), row in zip(ordered, rows, strict=True) if arrival.key in fresh]
            raised.note(connection, self.insert(ALERTS), told)
        return new

    def _move(self, connection: Connection, read: list[tuple[Arrival, Row[Any]]]) -> None:
        by_key = {arrival.key: (arrival, row.received_at) for arrival, row in reversed(read)}
        self._add(connection, [by_key[key] for key in sorted(by_key)])
        connection.execute(UNREADABLE.delete().where(UNREADABLE.c.id.in_([row.id for _, row in read])))


def _boots(connection: Connection, device: str) -> dict[str, datetime]:
    """When the boots began that have events from before the clock was set, by the first event after that."""
    mine = EVENTS.c.device == device
    asked = select(EVENTS.c.boot_id).where(mine, EVENTS.c.utc_trusted.is_(False), EVENTS.c.boot_id.is_not(None))
    trusted = (
        select(EVENTS.c.boot_id, EVENTS.c.at, EVENTS.c.boot_ns)
        .where(mine, EVENTS.c.utc_trusted.is_(True), EVENTS.c.boot_ns.is_not(None), EVENTS.c.boot_id.in_(asked))
        .order_by(EVENTS.c.boot_ns.desc())
    )
    return {row.boot_id: row.at - _since_boot(row.boot_ns) for row in connection.execute(trusted)}


def _corrected(row: Row[Any], boots: dict[str, datetime]) -> datetime | None:
    if row.utc_trusted:
        at: datetime = row.at
        return at
    began = boots.get(row.boot_id)
    return began + _since_boot(row.boot_ns) if began and row.boot_ns is not None else None


def _since_boot(boot_ns: int) -> timedelta:
    return timedelta(microseconds=boot_ns // 1000)
