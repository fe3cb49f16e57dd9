"""Alembic's entry: runs the steps on the connection that the server hands over."""

from __future__ import annotations

from alembic import context

from llm_observe.control.store import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
