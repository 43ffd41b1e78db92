"""The city's database by its address: connections that keep what they commit, tables as `city.schema` has them.

Brings a database up to this version at start, one process at a time, and refuses one that is newer. Knows nothing of
what is in the tables. `city.store` builds on it.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    FromClause,
    Text,
    bindparam,
    cast,
    column,
    create_engine,
    event,
    func,
    make_url,
    select,
)

MIGRATIONS = Path(__file__).parent / "migrations"

_UPGRADING = 0x6B696F736B
"""Our advisory lock on PostgreSQL."""
_IN_THIS_PROCESS = threading.Lock()
"""Alembic keeps what it works on in one place for the whole process."""
_NOTICED_WITHIN = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
"""Seconds; a PostgreSQL that went without a word is given up after eleven."""


def opened(address: str) -> Engine:
    """Connect, and bring the tables to this version.

    Args:
        address: an SQLAlchemy URL: "sqlite:///city.sqlite3", "postgresql://user@host/city" (through psycopg 3).

    Raises:
        ValueError: the database is of a newer version.
    """
    url = make_url(address)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    embedded = url.get_backend_name() == "sqlite"
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": 30} if embedded else _NOTICED_WITHIN
    )  # errors are logged, people are not
    if embedded:
        event.listen(engine, "connect", _durable)
        event.listen(engine, "begin", _begun)
    try:
        _upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that may write, committed at its end. On SQLite it has the write lock from its start."""
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection, connection.begin():
        yield connection


def given(connection: Connection, rows: list[dict[str, Any]], *columns: Column[Any]) -> FromClause:
    """Rows of ours as a table to join with: one parameter, and one statement however many they are.

    A statement with a parameter for each value costs six times as much, most of it in the driver.
    """
    written = bindparam("given", json.dumps(rows, default=datetime.isoformat), type_=Text)
    if connection.dialect.name == "sqlite":
        each = func.json_each(written).table_valued("value")
        return select(*(func.json_extract(each.c.value, f"$.{one.name}").label(one.name) for one in columns)).subquery()
    typed = (column(one.name, one.type) for one in columns)
    return func.json_to_recordset(cast(written, JSON)).table_valued(*typed).render_derived(with_types=True)


def _upgrade(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    with engine.connect() as connection:
        if _revision_of(connection) == head:
            return
    with _IN_THIS_PROCESS, writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADING)))
        found = _revision_of(connection)
        if found and found not in {revision.revision for revision in script.walk_revisions()}:
            raise ValueError(
                f"the database is at revision {found}, newer than this program, which knows {head}: "
                "install the version of `city` that made it, or newer"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401 - DBAPI connections have no common type
    """An acknowledgement is a promise, so a commit must be on disk (docs/decisions/0003)."""
    connection.isolation_level = None  # we begin transactions, not the driver, which leaves out changes of tables
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begun(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
