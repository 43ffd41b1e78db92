"""The city's tables, each named once; whoever reads or writes one imports it from here.

Knows no connection and no rule. What changes here needs a revision in `city/migrations/versions`; a test holds both
against each other on SQLite and on PostgreSQL (docs/decisions/0015-city-database.md).
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    true,
)

NAME = 64
"""Longest name of a device, a ledger, a place, an access point or a boot, in characters."""

TOPIC, WHY = 256, 512
"""Longest topic, and longest reason, of an unreadable event."""

METADATA = MetaData()

_LONG_KEY = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts by itself in an INTEGER key only


class _Utc(TypeDecorator[datetime]):
    """A time in UTC both ways: SQLite keeps no zone, PostgreSQL gives back its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value.astimezone(UTC) if value else None
        return value.replace(tzinfo=UTC)


def _time(name: str, *, nullable: bool = True) -> Column[datetime]:
    return Column(name, _Utc, nullable=nullable)


EVENTS = Table(
    "events",
    METADATA,
    Column("id", _LONG_KEY, primary_key=True),
    Column("device", String(NAME), nullable=False),
    Column("ledger", String(NAME), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("place", String(NAME), nullable=False),
    Column("access_point", String(NAME), nullable=False),
    _time("at", nullable=False),
    Column("utc_trusted", Boolean, nullable=False),
    Column("subject", String(32), index=True),
    Column("body", JSON, nullable=False),
    _time("received_at", nullable=False),
    Column("boot_id", String(NAME)),  # the clock of the device's boot; empty in events of older firmware
    Column("boot_ns", BigInteger),
    UniqueConstraint("device", "ledger", "sequence"),
)

DECLARATIONS = Table(
    "declarations",
    METADATA,
    Column("subject", String(32), primary_key=True),
    _time("issued_at", nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

ALIASES = Table(
    "aliases",
    METADATA,
    Column("alias", String(32), primary_key=True),
    Column("subject", String(32), nullable=False),
)

UNREADABLE = Table(  # as it came, for a version that can read it; ledger "" and sequence 0 where those are unreadable
    "unreadable",
    METADATA,
    Column("id", _LONG_KEY, primary_key=True),
    Column("device", String(NAME), nullable=False),
    Column("ledger", String(NAME), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),  # of topic and payload, where there is no ledger and sequence; or ""
    Column("topic", String(TOPIC), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("why", String(WHY), nullable=False),
    _time("received_at", nullable=False),
    UniqueConstraint("device", "ledger", "sequence", "digest"),
)

LEDGERS = Table(  # how far a ledger has been looked at for gaps; `city.gaps` keeps this and the next one
    "ledgers",
    METADATA,
    Column("device", String(NAME), primary_key=True),
    Column("ledger", String(NAME), primary_key=True),
    Column("whole_to", BigInteger, nullable=False),  # every sequence up to here is there, or was reported as dropped
    Column("highest", BigInteger, nullable=False),
)

GAPS = Table(
    "gaps",
    METADATA,
    Column("device", String(NAME), primary_key=True),
    Column("ledger", String(NAME), primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    _time("since", nullable=False),  # when an event beyond it was received
)

ALERTS = Table(  # what people did about an alert; its content is the event of the same key
    "alerts",
    METADATA,
    Column("device", String(NAME), primary_key=True),
    Column("ledger", String(NAME), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("by", String(NAME), nullable=False),  # who said so last; empty while nobody has
    _time("at", nullable=False),
    Column("escalations", Integer, nullable=False, server_default="0"),  # how often the kiosk has told of nobody
    Column("told", Boolean, nullable=False, server_default=true(), index=True),  # the kiosk's retained states say so
)

DOORS = Table(
    "doors",
    METADATA,
    Column("device", String(NAME), primary_key=True),
    Column("online", Boolean, nullable=False),
    _time("heard_at"),  # anything at all, birth and will included
    _time("silent_since"),  # an alarm is out
    Column("version", String(NAME), nullable=False),
    Column("boot_id", String(NAME)),
    Column("ledger", String(NAME), nullable=False),
    Column("newest", BigInteger, nullable=False),  # highest sequence the kiosk says it has stored
    Column("waiting", BigInteger, nullable=False),
    Column("faults", JSON, nullable=False),
)

SHARES = Table(  # one row: the name of the workers' shared subscriptions, a secret because whoever knows it can join
    "shares",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("secret", String(NAME), nullable=False),
)
