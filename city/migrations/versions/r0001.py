"""Events, declarations and aliases, as versions without migrations made them.

A database that such a version has made is taken over: a table that is there stays as it is.
"""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None


def upgrade() -> None:
    """Make what is not there."""
    there = set(sa.inspect(op.get_bind()).get_table_names())
    if "events" not in there:
        _events()
    if "declarations" not in there:
        op.create_table(
            "declarations",
            sa.Column("subject", sa.String(32), primary_key=True),
            sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
            sa.Column("payload", sa.LargeBinary, nullable=False),
        )
    if "aliases" not in there:
        op.create_table(
            "aliases",
            sa.Column("alias", sa.String(32), primary_key=True),
            sa.Column("subject", sa.String(32), nullable=False),
        )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("ledger", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("place", sa.String(64), nullable=False),
        sa.Column("access_point", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("utc_trusted", sa.Boolean, nullable=False),
        sa.Column("subject", sa.String(32), index=True),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("device", "ledger", "sequence"),
    )
