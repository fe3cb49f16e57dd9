from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llm_observe.control.rules.model import (
    Acknowledged,
    AckState,
    AuditRow,
    Description,
    Presence,
    Scope,
    TokenKind,
)
from llm_observe.control.rules.record import AgentRecord, File
from llm_observe.control.store.storage import Draft, Storage
from llm_observe.errors import StoreError

pytestmark = pytest.mark.anyio


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = await Storage.open(tmp_path / "control.db")
    yield opened
    await opened.close()


def draft(ratio: float, service: str | None = None, at: float = 1.0) -> Draft:
    return Draft(Scope.of(service), {"sampling": {"ratio": ratio}}, at, "ada", "why")


async def test_versions_are_numbered_in_order_over_all_scopes(storage: Storage) -> None:
    first = await storage.add_version(draft(0.5))
    second = await storage.add_version(draft(0.2, "chat"))
    assert (first.version, second.version) == (1, 2)
    assert await storage.version(2) == second
    assert second.scope == Scope.of("chat")
    assert await storage.version(3) is None


async def test_heads_are_the_newest_of_each_scope_now_and_at_an_earlier_version(
    storage: Storage,
) -> None:
    for ratio, service in ((0.1, None), (0.2, "chat"), (0.3, None)):
        await storage.add_version(draft(ratio, service))
    assert {v.version for v in await storage.heads()} == {2, 3}
    assert {v.version for v in await storage.heads(2)} == {1, 2}


async def test_the_version_before_is_of_the_same_scope(storage: Storage) -> None:
    made = [
        await storage.add_version(draft(r, s)) for r, s in ((0.1, None), (0.2, "a"), (0.3, None))
    ]
    assert await storage.before(made[2]) == made[0]
    assert await storage.before(made[1]) is None


async def test_history_is_newest_first_and_goes_on_below_a_number(storage: Storage) -> None:
    for number in range(5):
        await storage.add_version(draft(number / 10, "a" if number % 2 else None))
    assert [v.version for v in await storage.history(None, limit=2)] == [5, 4]
    assert [v.version for v in await storage.history(None, below=4, limit=9)] == [3, 2, 1]
    assert [v.version for v in await storage.history(Scope.of("a"))] == [4, 2]


async def test_everything_is_there_after_opening_the_file_again(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    record = AgentRecord(
        uid="u", first_seen=1, last_seen=2, since=1, presence=Presence.STOPPED,
        description=Description({"service.name": "chat"}, {"n": [1, {"a": True}]}, 1.5),
        files={"llm-observe": File(b"\x00\xff", "x/y")}, files_at=3.0,
    )  # fmt: skip
    storage = await Storage.open(path)
    await storage.save_agents([record])
    version = await storage.add_version(draft(0.5))
    await storage.add_acknowledgement("u", Acknowledged("ab", AckState.FAILED, "no", (), 7.0))
    await storage.add_audit(AuditRow(1.0, "ada", "change settings", "version 1"))
    token = await storage.add_token(TokenKind.INGEST, "app", "hash", 1.0)
    await storage.close()

    again = await Storage.open(path)
    assert await again.agents(10) == [record]
    assert await again.heads() == [version]
    assert (await again.acknowledgements(["ab"], 0))["u", "ab"].error == "no"
    assert await again.acknowledgements(["ab"], 8.0) == {}
    assert [row.actor for row in await again.audit(5)] == ["ada"]
    assert [t.view for t in await again.tokens()] == [token]
    await again.close()


async def test_many_acknowledgements_share_a_transaction(storage: Storage) -> None:
    said = Acknowledged("ab", AckState.APPLIED, "", (), 1.0)
    before = storage.writer.commits
    await asyncio.gather(*(storage.add_acknowledgement(str(n), said) for n in range(2000)))
    assert storage.writer.commits - before <= 2
    assert len(await storage.acknowledgements(["ab"], 0)) == 2000


async def test_a_failed_piece_of_work_takes_back_only_itself(storage: Storage) -> None:
    async def fails(_: object) -> None:
        raise ValueError("mine")

    results = await asyncio.gather(
        storage.add_version(draft(0.1)), storage.writer.work(fails), storage.add_version(draft(0.2)),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(results[1], ValueError)
    assert len(await storage.history(None)) == 2


async def test_nothing_is_written_after_closing(tmp_path: Path) -> None:
    storage = await Storage.open(tmp_path / "control.db")
    await storage.close()
    with pytest.raises(StoreError, match="stopping"):
        await storage.add_version(draft(0.1))


async def test_the_file_is_readable_by_its_owner_only(storage: Storage) -> None:
    assert storage.path.stat().st_mode & 0o077 == 0


async def test_a_file_of_a_newer_release_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    await (await Storage.open(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match="newer release"):
        await Storage.open(path)


async def test_a_file_that_is_no_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    path.write_bytes(b"hello, this is not a database at all" * 50)
    with pytest.raises(StoreError, match="cannot open"):
        await Storage.open(path)


async def test_the_tables_in_code_are_those_that_the_migrations_make(storage: Storage) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from sqlalchemy import create_engine

    from llm_observe.control.store import tables

    engine = create_engine(f"sqlite:///{storage.path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()
