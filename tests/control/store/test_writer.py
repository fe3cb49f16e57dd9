from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from llm_observe.control.store import database, tables
from llm_observe.control.store.writer import Writer

pytestmark = pytest.mark.anyio
AUDIT = insert(tables.audit)
SCOPE = insert(tables.scopes)


def row(number: int) -> dict[str, Any]:
    return {"at": float(number), "actor": "", "action": "", "object": "", "detail": ""}


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    path = tmp_path / "control.db"
    database.migrate(path)
    engine = database.writing_engine(path)
    made = Writer(engine)
    yield made
    await made.close()
    await engine.dispose()


async def numbers(writer: Writer) -> list[float]:
    async def read(connection: Any) -> list[float]:
        query = select(tables.audit.c.at).order_by(tables.audit.c.id)
        return list((await connection.execute(query)).scalars())

    return await writer.work(read)


async def test_rows_of_two_statements_that_take_turns_become_one_call_each(
    writer: Writer,
) -> None:
    calls: list[str] = []
    event.listen(
        writer._engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, *_: calls.append(str(statement).split()[0]),
    )
    waiting = []
    for number in range(50):
        waiting.append(writer.rows(AUDIT, [row(number)]))
        waiting.append(writer.rows(SCOPE, [{"selector": str(number), "priority": 0}]))
    together = asyncio.gather(*waiting)
    await asyncio.sleep(0)
    writer.start()
    await together
    assert calls.count("INSERT") == 2
    assert writer.commits == 1
    assert await numbers(writer) == [float(n) for n in range(50)]


async def test_nothing_moves_across_work(writer: Writer) -> None:
    async def add(connection: Any) -> None:
        await connection.execute(AUDIT, [row(2)])

    together = asyncio.gather(
        writer.rows(AUDIT, [row(1)]), writer.work(add), writer.rows(AUDIT, [row(3)])
    )
    await asyncio.sleep(0)
    writer.start()
    await together
    assert await numbers(writer) == [1.0, 2.0, 3.0]


async def test_whoever_waits_no_longer_harms_nobody(writer: Writer) -> None:
    gone = asyncio.ensure_future(writer.rows(AUDIT, [row(1)]))
    await asyncio.sleep(0)
    gone.cancel()
    writer.start()
    await writer.rows(AUDIT, [row(2)])
    assert 2.0 in await numbers(writer)
