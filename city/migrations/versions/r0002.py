"""Boots, gaps, unreadable events, alerts, doors; and more events than 2,147,483,647 on PostgreSQL."""

import secrets
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"


def upgrade() -> None:
    """Add to what is there; on PostgreSQL the table of events is written anew once."""
    op.add_column("events", sa.Column("boot_id", sa.String(64)))
    op.add_column("events", sa.Column("boot_ns", sa.BigInteger))
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("events", "id", type_=sa.BigInteger)
        op.execute("ALTER SEQUENCE events_id_seq AS bigint")
    _unreadable()
    _ledgers()
    op.create_table(
        "alerts",
        *_key("sequence"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("by", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("escalations", sa.Integer, nullable=False, server_default="0"),
        sa.Column("told", sa.Boolean, nullable=False, server_default=sa.true(), index=True),
    )
    op.create_table(
        "doors",
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True)),
        sa.Column("silent_since", sa.DateTime(timezone=True)),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("boot_id", sa.String(64)),
        sa.Column("ledger", sa.String(64), nullable=False),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.BigInteger, nullable=False),
        sa.Column("faults", sa.JSON, nullable=False),
    )
    shares = op.create_table(
        "shares", sa.Column("id", sa.Integer, primary_key=True), sa.Column("secret", sa.String(64), nullable=False)
    )
    op.bulk_insert(shares, [{"id": 1, "secret": secrets.token_hex(16)}])


def _unreadable() -> None:
    op.create_table(
        "unreadable",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("ledger", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("topic", sa.String(256), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("why", sa.String(512), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("device", "ledger", "sequence", "digest"),
    )


def _ledgers() -> None:
    op.create_table(
        "ledgers",
        *_key(),
        sa.Column("whole_to", sa.BigInteger, nullable=False),
        sa.Column("highest", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "gaps",
        *_key("first"),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    )


def _key(*numbers: str) -> Iterator[sa.Column[Any]]:
    for name in ("device", "ledger"):
        yield sa.Column(name, sa.String(64), primary_key=True)
    for name in numbers:
        yield sa.Column(name, sa.BigInteger, primary_key=True)
