"""Where the city keeps events: each once, by device, ledger and sequence.

SQLAlchemy, so that a pilot's embedded SQLite and a city's PostgreSQL are one address apart. It knows no broker; the
ingest calls it, and acknowledges only what `add` has committed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
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
                done = connection.execute(self._insert_once().values(received_at=received_at, **row))
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

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _insert_once(self) -> Any:  # noqa: ANN401 - two dialects, one shape
        insert = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        return insert(EVENTS).on_conflict_do_nothing(index_elements=["device", "ledger", "sequence"])


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401 - DBAPI connections have no common type
    """An acknowledgement is a promise, so a commit must be on disk (docs/decisions/0003)."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
