"""Alembic's way in: it executes this file. The connection is `city.database`'s, and so is its transaction."""

from alembic import context

from city.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
