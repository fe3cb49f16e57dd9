"""``control.db``: versions, agents, acknowledgements, tokens, audit. The only SQL of the control plane.

Order of calls: `Storage.open`, then any method from any task of that event loop, then `close`.
Every write has been committed when its call returns.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_observe.control.rules.model import (
    Acknowledged,
    AckState,
    AuditRow,
    Scope,
    TokenKind,
    TokenView,
    Version,
)
from llm_observe.control.rules.record import AgentRecord
from llm_observe.control.store import database, tables
from llm_observe.control.store.writer import Writer
from llm_observe.errors import StoreError
from llm_observe.settings.documents import canonical, document_hash

_RECORD = TypeAdapter(AgentRecord)

_SAVE_AGENT = upsert(tables.agents)
_SAVE_AGENT = _SAVE_AGENT.on_conflict_do_update(
    index_elements=["uid"],
    set_={name: _SAVE_AGENT.excluded[name] for name in ("service", "last_seen", "record")},
)
_ADD_ACKNOWLEDGEMENT = insert(tables.acknowledgements)
_ADD_AUDIT = insert(tables.audit)
_VERSIONS = select(tables.versions, tables.scopes.c.selector, tables.scopes.c.priority).join_from(
    tables.versions, tables.scopes
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that has no number yet."""

    scope: Scope
    document: Mapping[str, Any]
    at: float
    author: str = ""
    comment: str = ""
    undone_of: int | None = None


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as it is kept: the hash, never the value."""

    view: TokenView
    hash: str


class Storage:
    """See the module. All state that survives a restart, apart from spans."""

    def __init__(self, path: Path, writing: AsyncEngine, reading: AsyncEngine) -> None:
        self.path = path
        self._writing, self._reading = writing, reading
        self.writer = Writer(writing)

    @classmethod
    async def open(cls, path: Path) -> Storage:
        """Migrate and open.

        Raises:
            StoreError: The file cannot be used.
        """
        await asyncio.to_thread(database.migrate, path)
        storage = cls(path, database.writing_engine(path), database.reading_engine(path))
        storage.writer.start()
        return storage

    async def close(self) -> None:
        """Write what waits, then close the file."""
        await self.writer.close()
        await self._reading.dispose()
        await self._writing.dispose()

    # versions

    async def add_version(self, draft: Draft) -> Version:
        """Store one immutable version; its number is the order of all versions."""

        async def work(connection: AsyncConnection) -> Version:
            row = _version_row(draft, await _scope_id(connection, draft.scope))
            statement = insert(tables.versions).values(row).returning(tables.versions.c.version)
            number = (await connection.execute(statement)).scalar_one()
            return _version_of(draft, number, row["hash"])

        return await self.writer.work(work)

    async def heads(self, at_version: int | None = None) -> list[Version]:
        """The newest version of each scope; with a number, as it was when that was the newest."""
        newest = select(func.max(tables.versions.c.version)).group_by(tables.versions.c.scope_id)
        if at_version is not None:
            newest = newest.where(tables.versions.c.version <= at_version)
        rows = await self._all(_VERSIONS.where(tables.versions.c.version.in_(newest)))
        return [_version(row) for row in rows]

    async def version(self, number: int) -> Version | None:
        """One version."""
        rows = await self._all(_VERSIONS.where(tables.versions.c.version == number))
        return _version(rows[0]) if rows else None

    async def before(self, version: Version) -> Version | None:
        """The version of the same scope before this one."""
        query = _VERSIONS.where(_same_scope(version.scope))
        query = query.where(tables.versions.c.version < version.version)
        rows = await self._all(query.order_by(tables.versions.c.version.desc()).limit(1))
        return _version(rows[0]) if rows else None

    async def history(
        self, scope: Scope | None, *, below: int | None = None, limit: int = 50
    ) -> list[Version]:
        """Versions of one scope (None: of all), newest first, with numbers below ``below``."""
        query = _VERSIONS.order_by(tables.versions.c.version.desc()).limit(limit)
        if scope is not None:
            query = query.where(_same_scope(scope))
        if below is not None:
            query = query.where(tables.versions.c.version < below)
        return [_version(row) for row in await self._all(query)]

    async def grant_ids(self) -> set[str]:
        """The id of every grant that ever stood in a version."""
        grants = func.json_each(tables.versions.c.document, "$.capture.grants").table_valued(
            "key", joins_implicitly=True
        )
        query = select(grants.c.key).select_from(tables.versions, grants).distinct()
        return {row.key for row in await self._all(query)}

    async def undone(self, numbers: Sequence[int]) -> dict[int, int]:
        """For each of these versions that was taken back: the newest version that did it."""
        column = tables.versions.c
        newest = func.max(column.version).label("newest")
        query = select(column.undone_of, newest).group_by(column.undone_of)
        rows = await self._all(query.where(column.undone_of.in_(numbers)))
        return {row.undone_of: row.newest for row in rows}

    # agents

    async def agents(self, limit: int) -> list[AgentRecord]:
        """What was known of each agent, last seen first; an unreadable record is left out."""
        query = select(tables.agents.c.record).order_by(tables.agents.c.last_seen.desc())
        found = [_record(row[0]) for row in await self._all(query.limit(limit))]
        return [record for record in found if record is not None]

    async def save_agents(self, records: Iterable[AgentRecord]) -> None:
        """Remember agents; many callers share one transaction."""
        await self.writer.rows(_SAVE_AGENT, [_agent_row(record) for record in records])

    async def add_acknowledgement(self, uid: str, said: Acknowledged) -> None:
        """Keep one statement of an agent about a config."""
        row = {
            "uid": uid, "hash": said.hash, "state": str(said.state),
            "error": said.error, "at": said.at or 0.0,
        }  # fmt: skip
        await self.writer.rows(_ADD_ACKNOWLEDGEMENT, [row])

    async def acknowledgements(
        self, hashes: Iterable[str], since: float
    ) -> dict[tuple[str, str], Acknowledged]:
        """The last word of each agent about each of these configs since then, by (uid, hash)."""
        column = tables.acknowledgements.c
        query = select(column.uid, column.hash, column.state, column.error, column.at)
        query = query.where(column.hash.in_(list(hashes)), column.at >= since).order_by(column.id)
        rows = await self._all(query)
        return {
            (row.uid, row.hash): Acknowledged(
                hash=row.hash, state=AckState(row.state), error=row.error, at=row.at
            )
            for row in rows
        }

    async def forget_agents(self, uids: Sequence[str]) -> None:
        """Remove agents; what they acknowledged stays until it is too old."""
        await self.writer.work(
            lambda c: c.execute(delete(tables.agents).where(tables.agents.c.uid.in_(uids)))
        )

    async def forget_before(self, at: float) -> None:
        """Remove acknowledgements and audit rows older than this."""

        async def work(connection: AsyncConnection) -> None:
            for table in (tables.acknowledgements, tables.audit):
                await connection.execute(delete(table).where(table.c.at < at))

        await self.writer.work(work)

    # tokens and audit

    async def tokens(self) -> list[StoredToken]:
        """All tokens, oldest first."""
        rows = await self._all(select(tables.tokens).order_by(tables.tokens.c.id))
        return [StoredToken(_token(row), row.hash) for row in rows]

    async def add_token(self, kind: TokenKind, name: str, hashed: str, at: float) -> TokenView:
        """Keep the hash of a new token."""

        async def work(connection: AsyncConnection) -> TokenView:
            row = {"kind": str(kind), "name": name, "hash": hashed, "created": at}
            statement = insert(tables.tokens).values(row).returning(tables.tokens.c.id)
            return TokenView((await connection.execute(statement)).scalar_one(), kind, name, at)

        return await self.writer.work(work)

    async def token_used(self, token_id: int, at: float) -> None:
        """Remember when a token last opened something."""
        statement = update(tables.tokens).where(tables.tokens.c.id == token_id)
        await self.writer.work(lambda c: c.execute(statement.values(last_used=at)))

    async def delete_token(self, token_id: int) -> None:
        """Remove one token."""
        statement = delete(tables.tokens).where(tables.tokens.c.id == token_id)
        await self.writer.work(lambda c: c.execute(statement))

    async def add_audit(self, row: AuditRow) -> None:
        """Note who did what."""
        values = {
            "at": row.at, "actor": row.actor, "action": row.action,
            "object": row.object, "detail": row.detail,
        }  # fmt: skip
        await self.writer.rows(_ADD_AUDIT, [values])

    async def audit(self, limit: int) -> list[AuditRow]:
        """Who did what, newest first."""
        rows = await self._all(select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit))
        return [AuditRow(r.at, r.actor, r.action, r.object, r.detail) for r in rows]

    async def ping(self) -> None:
        """Read something small.

        Raises:
            StoreError: The file cannot be read.
        """
        try:
            await self._all(select(tables.scopes.c.id).limit(1))
        except SQLAlchemyError as error:
            raise StoreError(f"control.db cannot be read: {error}") from error

    async def size(self) -> int:
        """Bytes on disk, write-ahead log included."""
        names = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    async def _all(self, query: Any) -> Sequence[Row[Any]]:
        async with self._reading.connect() as connection:
            return (await connection.execute(query)).all()


def _selector(scope: Scope) -> str:
    return canonical(scope.selector).decode()


def _same_scope(scope: Scope) -> ColumnElement[bool]:
    return (tables.scopes.c.selector == _selector(scope)) & (
        tables.scopes.c.priority == scope.priority
    )


async def _scope_id(connection: AsyncConnection, scope: Scope) -> int:
    found = await connection.scalar(select(tables.scopes.c.id).where(_same_scope(scope)))
    if found is not None:
        return int(found)
    row = {"selector": _selector(scope), "priority": scope.priority}
    statement = insert(tables.scopes).values(row).returning(tables.scopes.c.id)
    return int((await connection.execute(statement)).scalar_one())


def _version_row(draft: Draft, scope_id: int) -> dict[str, Any]:
    return {
        "scope_id": scope_id,
        "document": canonical(draft.document).decode(),
        "hash": document_hash(draft.document).hex(),
        "at": draft.at,
        "author": draft.author,
        "comment": draft.comment,
        "undone_of": draft.undone_of,
    }


def _version_of(draft: Draft, number: int, hashed: str) -> Version:
    return Version(
        number, draft.scope, json.loads(canonical(draft.document)), hashed, draft.at,
        draft.author, draft.comment, draft.undone_of,
    )  # fmt: skip


def _version(row: Row[Any]) -> Version:
    scope = Scope(json.loads(row.selector), row.priority)
    return Version(
        row.version, scope, json.loads(row.document), row.hash, row.at,
        row.author, row.comment, row.undone_of,
    )  # fmt: skip


def _agent_row(record: AgentRecord) -> dict[str, Any]:
    return {
        "uid": record.uid,
        "service": record.service,
        "last_seen": record.last_seen,
        "record": _RECORD.dump_json(record),
    }


def _record(body: bytes) -> AgentRecord | None:
    try:
        return _RECORD.validate_json(body)
    except ValidationError:
        return None  # written by another release; the agent will tell us again


def _token(row: Row[Any]) -> TokenView:
    return TokenView(row.id, TokenKind(row.kind), row.name, row.created, row.last_used)
