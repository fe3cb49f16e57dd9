"""The embedded store: one SQLite file in WAL mode, one thread that writes it.

Appends from any thread are queued, bounded in bytes, and committed in groups. An append is
acknowledged after its COMMIT, and with ``synchronous=FULL`` a COMMIT is on the disk: neither
``kill -9`` nor a power loss takes an acknowledged span (as far as the disk honours fsync; do not
put the file on a network file system, WAL does not work there). What was not acknowledged may be
lost and is for its sender to repeat; a span that comes twice is stored once.

The standard library's sqlite3 is used as it is: the statements here are few and fixed, and the
layer between would cost more per span than the write.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_observe.errors import StoreError
from llm_observe.spanstore import schema
from llm_observe.spanstore.charting import MetricTables
from llm_observe.spanstore.keeping import Keeper
from llm_observe.spanstore.model import MetricRow, Receipt, Retention, SpanRow, StoreBusy
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.writing import SpanTables, drop_traces, session_traces

logger = logging.getLogger(__name__)

_GROUP_ROWS = 8192
_ROW_OVERHEAD = 1024
_POINT_BYTES = 512
_DROP_AT_ONCE = 100
_DEFAULT_RETENTION = Retention()


@dataclass(slots=True)
class _Append:
    spans: Sequence[SpanRow]
    points: Sequence[MetricRow]
    size: int
    future: Future[Receipt] = field(default_factory=Future)

    @property
    def rows(self) -> int:
        return len(self.spans) + len(self.points)


@dataclass(slots=True)
class _Task:
    """Work for the writer thread that commits by itself."""

    run: Callable[[], int]
    future: Future[int] = field(default_factory=Future)


class SpanStore:
    """The store's writer. Open one per file; `reader` gives any number of readers.

    ``max_pending_bytes`` bounds what waits for the writer; beyond it `append` raises StoreBusy.

    Raises:
        StoreError: The file is in use, unreadable, or written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        retention: Retention = _DEFAULT_RETENTION,
        *,
        max_pending_bytes: int = 64 * 1024 * 1024,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path
        self._limit = max_pending_bytes
        self._clock_ns = clock_ns
        self._lock_handle = _lock(path)
        try:
            self._db = schema.open_writer(path)
        except BaseException:
            os.close(self._lock_handle)
            raise
        self._spans, self._points = SpanTables(self._db), MetricTables(self._db)
        self._keeper = Keeper(self._db, retention, clock_ns, self._points.forget)
        self._wake = threading.Condition()
        self._jobs: deque[_Append | _Task] = deque()
        self._pending = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="llm-observe-spans", daemon=True)
        self._thread.start()

    def append(self, spans: Sequence[SpanRow], points: Sequence[MetricRow]) -> Future[Receipt]:
        """Queue rows to be written; never blocks. The future resolves after COMMIT.

        The future fails with StoreError where the rows could not be written (a full disk).

        Raises:
            StoreBusy: Too many bytes wait already.
            StoreError: The store is closed.
        """
        job = _Append(spans, points, _size(spans, points))
        with self._wake:
            self._check_open()
            if self._pending and self._pending + job.size > self._limit:
                raise StoreBusy(self._pending, self._limit)
            self._pending += job.size
            self._jobs.append(job)
            self._wake.notify()
        return job.future

    def delete_session(self, session: str) -> Future[int]:
        """Remove all traces with a span of this session; resolves to their number.

        Content is overwritten in the file, and the write-ahead log is emptied as soon as no
        reader holds it.

        Raises:
            StoreError: The store is closed.
        """
        return self._queue(_Task(lambda: self._delete_session(session)))

    def expire(self) -> Future[int]:
        """Apply the retention at once and whole; resolves to the number of traces dropped.

        It is applied by itself too, little by little between commits.

        Raises:
            StoreError: The store is closed.
        """
        return self._queue(_Task(self._keeper.run_all))

    def reader(self) -> SpanReader:
        """A reader of the same file, with connections of its own."""
        return SpanReader(self.path)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, then close. Safe to call twice."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _queue(self, task: _Task) -> Future[int]:
        with self._wake:
            self._check_open()
            self._jobs.append(task)
            self._wake.notify()
        return task.future

    def _check_open(self) -> None:
        if self._closing:
            raise StoreError(f"the span store {self.path} is closed")

    # ------------------------------------------------------------------- on the writer's thread

    def _run(self) -> None:
        try:
            while jobs := self._take():
                self._work(jobs)
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            os.close(self._lock_handle)

    def _take(self) -> list[_Append | _Task]:
        """The next group; waits for it, keeping house meanwhile. Empty: the store is closing."""
        while True:
            with self._wake:
                if not self._jobs and not self._closing:
                    self._wake.wait(self._keeper.patience_s())
                if self._jobs:
                    return self._group()
                if self._closing:
                    return []
            self._keep()

    def _group(self) -> list[_Append | _Task]:
        """A task alone, or as many appends as go into one transaction."""
        if isinstance(self._jobs[0], _Task):
            return [self._jobs.popleft()]
        group: list[_Append | _Task] = []
        rows = 0
        while self._jobs and rows < _GROUP_ROWS and isinstance(self._jobs[0], _Append):
            rows += self._jobs[0].rows
            group.append(self._jobs.popleft())
        return group

    def _work(self, jobs: list[_Append | _Task]) -> None:
        appends = [job for job in jobs if isinstance(job, _Append)]
        for task in jobs:
            if isinstance(task, _Task):
                _settle(task.future, task.run)
        if appends:
            self._write(appends)
            with self._wake:
                self._pending -= sum(job.size for job in appends)
        if self._keeper.patience_s() <= 0:
            self._keep()

    def _write(self, jobs: list[_Append]) -> None:
        """One transaction for all; if it fails, one for each, so that only the cause suffers."""
        try:
            receipts = self._commit(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it was, it must reach the waiting futures
            if len(jobs) > 1:
                for job in jobs:
                    self._write([job])
                return
            logger.warning("spans could not be written: %s", error)
            _fail(jobs[0].future, error)
            return
        for job, receipt in zip(jobs, receipts, strict=True):
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(receipt)

    def _commit(self, jobs: list[_Append]) -> list[Receipt]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            receipts = [self._store(job) for job in jobs]
            self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'commits'")
            self._db.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        return receipts

    def _store(self, job: _Append) -> Receipt:
        now_ns = self._clock_ns()
        new = self._spans.insert(job.spans, now_ns) if job.spans else 0
        refused, reason = self._points.insert(job.points, now_ns)
        points = len(job.points) - refused
        return Receipt(new, len(job.spans) - new, points, refused, reason)

    def _undo(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._spans.forget()
        self._points.forget()

    def _delete_session(self, session: str) -> int:
        dropped = 0
        self._db.execute("PRAGMA secure_delete = ON")
        try:
            while traces := session_traces(self._db, session, _DROP_AT_ONCE):
                dropped += self._drop(traces)
        finally:
            self._db.execute("PRAGMA secure_delete = OFF")
            self._keeper.empty_log()
        return dropped

    def _drop(self, traces: list[bytes]) -> int:
        return self._keeper.transact(lambda: drop_traces(self._db, traces))

    def _keep(self) -> None:
        try:
            self._keeper.step()
        except Exception as error:  # noqa: BLE001  # tidying must not end the thread that writes
            logger.warning("the span store could not be tidied: %s", error)


def _settle(future: Future[int], run: Callable[[], int]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(run())
    except Exception as error:  # noqa: BLE001  # the caller gets it from the future
        future.set_exception(StoreError(str(error)))


def _fail(future: Future[Any], error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(StoreError(f"the rows were not written: {error}"))


def _size(spans: Sequence[SpanRow], points: Sequence[MetricRow]) -> int:
    content = sum(len(row.payload) for row in spans) + len(spans) * _ROW_OVERHEAD
    return content + sum(_POINT_BYTES + 16 * len(row.counts) for row in points)


def _lock(path: Path) -> int:
    """Only one process may write: series and numbers are kept in its memory."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot use {path.parent}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StoreError(f"{path} is in use by another llm-observe") from error
    return handle
