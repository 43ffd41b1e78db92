"""Where the city keeps events, each once, and of each person the newest declaration.

SQLAlchemy, so that a pilot's embedded SQLite and a city's PostgreSQL are one address apart. It knows no broker. The
ingest acknowledges only what `add` has committed; the look-ups and whoever issues declarations use the other half.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

_METADATA = MetaData()

EVENTS = Table(
    "events",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("device", String(64), nullable=False),
    Column("ledger", String(64), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("place", String(64), nullable=False),
    Column("access_point", String(64), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("utc_trusted", Boolean, nullable=False),
    Column("subject", String(32), index=True),
    Column("body", JSON, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("device", "ledger", "sequence"),
)

DECLARATIONS = Table(
    "declarations",
    _METADATA,
    Column("subject", String(32), primary_key=True),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

ALIASES = Table(
    "aliases",
    _METADATA,
    Column("alias", String(32), primary_key=True),
    Column("subject", String(32), nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One event as it came in, opened."""

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

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it one and the same event however often it comes."""
        return (self.device, self.ledger, self.sequence)


class Store:
    """One database, made ready.

    Args:
        address: an SQLAlchemy URL, such as "sqlite:///city.sqlite3".
    """

    def __init__(self, address: str) -> None:
        self._engine: Engine = create_engine(address, hide_parameters=True)  # errors are logged, people are not
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _durable)
        _METADATA.create_all(self._engine)

    def add(self, arrivals: Iterable[Arrival], received_at: datetime) -> list[Arrival]:
        """Commit all in one transaction; the answer is those that were not there yet."""
        new = []
        with self._engine.begin() as connection:
            for arrival in arrivals:
                row = {name: getattr(arrival, name) for name in arrival.__slots__}
                insert = self._insert(EVENTS).on_conflict_do_nothing(index_elements=["device", "ledger", "sequence"])
                done = connection.execute(insert.values(received_at=received_at, **row))
                if done.rowcount:
                    new.append(arrival)
        return new

    def events(self, device: str) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
        """Ledger, sequence, kind and body of one device's events, in its order."""
        wanted = select(EVENTS.c.ledger, EVENTS.c.sequence, EVENTS.c.kind, EVENTS.c.body).where(
            EVENTS.c.device == device
        )
        with self._engine.connect() as connection:
            for row in connection.execute(wanted.order_by(EVENTS.c.ledger, EVENTS.c.sequence)):
                yield (row.ledger, row.sequence, row.kind, row.body)

    def keep_declaration(self, payload: bytes, *, subject: str, issued_at: datetime, aliases: Iterable[str]) -> None:
        """Keep a person's declaration unless a newer one is there, and under which other pseudonyms to find it."""
        with self._engine.begin() as connection:
            row = {"subject": subject, "issued_at": issued_at.astimezone(UTC), "payload": payload}
            insert = self._insert(DECLARATIONS).values(row)
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["subject"],
                    set_={"issued_at": insert.excluded.issued_at, "payload": insert.excluded.payload},
                    where=DECLARATIONS.c.issued_at <= insert.excluded.issued_at,
                )
            )
            for alias in aliases:
                insert = self._insert(ALIASES).values(alias=alias, subject=subject)
                connection.execute(insert.on_conflict_do_update(index_elements=["alias"], set_={"subject": subject}))

    def declaration_of(self, pseudonym: str) -> bytes:
        """The newest declaration of a person, by any of their pseudonyms, as their phone would show it; or nothing."""
        subject = select(ALIASES.c.subject).where(ALIASES.c.alias == pseudonym).scalar_subquery()
        wanted = select(DECLARATIONS.c.payload).where(
            or_(DECLARATIONS.c.subject == pseudonym, DECLARATIONS.c.subject == subject)
        )
        newest = wanted.order_by(DECLARATIONS.c.issued_at.desc()).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(newest).scalar() or b""

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _insert(self, table: Table) -> Any:  # noqa: ANN401 - two dialects, one shape
        return (sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert)(table)


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401 - DBAPI connections have no common type
    """An acknowledgement is a promise, so a commit must be on disk (docs/decisions/0003)."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
