"""All writes to ``control.db``: one task, and everything that waits goes into one transaction.

So ten thousand acknowledgements are a handful of commits. Whoever awaits a write goes on only
after its commit: what was answered survives ``kill -9`` and, with ``synchronous=FULL``, a power
cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from llm_observe.errors import StoreError

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[Any]]

MAX_BATCH = 10_000
"""Most jobs of one transaction, so that none waits long."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """Either rows for one statement, or work on the connection; ``done`` gets the work's result."""

    done: asyncio.Future[Any]
    statement: Executable | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    work: Work | None = None


class Writer:
    """Order of calls: `start`, then `rows` and `work` from any task, then `close`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._jobs: list[_Job] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.commits = 0
        self.jobs = 0

    def start(self) -> None:
        """Begin to write, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="control-db-writer")

    async def close(self) -> None:
        """Write what waits, then end; later writes are refused."""
        self._closing = True
        self._wake.set()
        if self._task:
            await self._task

    @property
    def waiting(self) -> int:
        """Jobs that are not yet part of a transaction."""
        return len(self._jobs)

    async def rows(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one statement for each row. Those that wait for the same one become one call.

        Raises:
            StoreError: The disk is full or broken, or the server is stopping; nothing was written.
        """
        await self._submit(_Job(self._future(), statement=statement, rows=rows))

    async def work(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do something on the connection that reads and writes; its result after the commit.

        An exception of ``work`` takes back only its own writes and is raised here.
        """
        result: T = await self._submit(_Job(self._future(), work=work))
        return result

    async def _submit(self, job: _Job) -> Any:
        if self._closing:
            raise StoreError("the control plane is stopping; nothing more is written")
        self._jobs.append(job)
        self._wake.set()
        return await job.done

    @staticmethod
    def _future() -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    async def _run(self) -> None:
        while self._jobs or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._jobs:
                batch, self._jobs = self._jobs[:MAX_BATCH], self._jobs[MAX_BATCH:]
                await self._write(batch)

    async def _write(self, batch: Sequence[_Job]) -> None:
        outcomes: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            async with self._engine.begin() as connection:
                for group in _grouped(batch):
                    outcomes += await _execute(connection, group)
        except Exception as error:  # noqa: BLE001  # every waiter must hear of it, whatever it is
            failure = StoreError(f"control.db cannot be written: {error}")
            outcomes = [(job, None, failure) for job in batch]
        self.commits += 1
        self.jobs += len(batch)
        for job, result, failed in outcomes:
            _resolve(job.done, result, failed)


def _grouped(batch: Sequence[_Job]) -> list[list[_Job]]:
    """Rows of one statement together; work stands alone, and nothing moves across it.

    The order of one statement's rows stays. Between statements it does not matter: each writes a
    table of its own.
    """
    groups: list[list[_Job]] = []
    by_statement: dict[int, list[_Job]] = {}
    for job in batch:
        if job.statement is None:
            by_statement = {}
            groups.append([job])
        elif (group := by_statement.get(id(job.statement))) is not None:
            group.append(job)
        else:
            groups.append([job])
            by_statement[id(job.statement)] = groups[-1]
    return groups


async def _execute(
    connection: AsyncConnection, group: Sequence[_Job]
) -> list[tuple[_Job, Any, BaseException | None]]:
    head = group[0]
    if head.statement is not None:
        rows = [dict(row) for job in group for row in job.rows]
        if rows:
            await connection.execute(head.statement, rows)
        return [(job, None, None) for job in group]
    return [(head, *await _attempt(connection, head.work))]


async def _attempt(
    connection: AsyncConnection, work: Work | None
) -> tuple[Any, BaseException | None]:
    try:
        async with connection.begin_nested():
            return (await work(connection) if work else None), None
    except Exception as error:  # noqa: BLE001  # belongs to whoever asked for this work
        return None, error


def _resolve(done: asyncio.Future[Any], result: Any, failed: BaseException | None) -> None:
    if done.done():
        return  # whoever waited has gone
    if failed is None:
        done.set_result(result)
    else:
        done.set_exception(failed)
