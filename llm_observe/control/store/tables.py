"""The tables of ``control.db``, as the migrations leave them."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

scopes = Table(
    "scopes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("selector", Text, nullable=False),  # canonical JSON of a mapping
    Column("priority", Integer, nullable=False),
    UniqueConstraint("selector", "priority", name="uq_scopes"),
)

versions = Table(
    "versions",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("scope_id", Integer, ForeignKey("scopes.id"), nullable=False),
    Column("document", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("undone_of", Integer, ForeignKey("versions.version")),
    Index("ix_versions_scope", "scope_id", "version"),
    sqlite_autoincrement=True,
)

agents = Table(
    "agents",
    metadata,
    Column("uid", String(36), primary_key=True),
    Column("service", Text, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("record", LargeBinary, nullable=False),  # JSON of the record
    Index("ix_agents_last_seen", "last_seen"),
)

acknowledgements = Table(
    "acknowledgements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(36), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("error", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_acknowledgements_hash", "hash", "uid", "at"),
    Index("ix_acknowledgements_at", "at"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("last_used", Float),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_audit_at", "at"),
)
