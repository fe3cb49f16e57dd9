"""Questions to the store, answered by read-only connections.

Any thread may ask; a reader works while another process writes and never holds the writer up.
Every answer is bounded: in rows, in payloads looked at, and in time.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llm_observe.errors import StoreError
from llm_observe.spanstore import cursors, schema
from llm_observe.spanstore.conditions import trace_key
from llm_observe.spanstore.model import (
    Facets,
    Page,
    Series,
    SeriesQuery,
    SessionSummary,
    Span,
    SpanFilter,
    StoreStats,
    TraceFilter,
    TraceSummary,
)
from llm_observe.spanstore.scores import ScoreFilter, ScoreLine
from llm_observe.spanstore.scoring import list_scores
from llm_observe.spanstore.series import read_series
from llm_observe.spanstore.spanquery import list_spans, size_of, spans_of
from llm_observe.spanstore.tracequery import list_traces

MAX_LIMIT = 10_000
_KEPT_CONNECTIONS = 8
_ALL_TRACES, _ALL_SPANS, _ALL_SCORES = TraceFilter(), SpanFilter(), ScoreFilter()
_FACET_VALUES = 200
_TICK = 2_000  # virtual machine instructions between two looks at the clock
_FACET_VALUES_SQL = """
WITH RECURSIVE found(value, number) AS (
    SELECT (SELECT min(value) FROM trace_facets WHERE kind = :kind), 1
    UNION ALL
    SELECT (SELECT min(value) FROM trace_facets WHERE kind = :kind AND value > found.value),
           number + 1
    FROM found WHERE found.value IS NOT NULL AND number < :limit
)
SELECT value FROM found WHERE value IS NOT NULL AND value <> ''
"""
_SCORE_NAMES_SQL = """
WITH RECURSIVE found(name, number) AS (
    SELECT (SELECT min(name) FROM scores WHERE latest = 1), 1
    UNION ALL
    SELECT (SELECT min(name) FROM scores WHERE latest = 1 AND name > found.name), number + 1
    FROM found WHERE found.name IS NOT NULL AND number < ?
)
SELECT name FROM found WHERE name IS NOT NULL
"""
_SESSIONS_SQL = """
SELECT s.session, s.user, s.service, s.first_ns, s.last_ns,
       count(t.id), total(t.error), sum(t.tokens_total)
FROM (
    SELECT * FROM sessions WHERE (:service = '' OR service = :service)
    AND (last_ns, session) < (:last_ns, :session) ORDER BY last_ns DESC, session DESC LIMIT :limit
) s LEFT JOIN traces t ON t.session = s.session AND t.session <> '' AND t.feedback = 0
GROUP BY s.session ORDER BY s.last_ns DESC, s.session DESC
"""


class SpanReader:
    """Reads one store file, also of another process. Close it when done.

    ``timeout_s`` bounds a single question.

    Raises:
        StoreError: There is no store at ``path``, or it is of another version. Every method
            raises it too: for an unreadable file, a foreign cursor, a question that takes too long.
    """

    def __init__(self, path: Path, *, timeout_s: float = 20.0) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(_KEPT_CONNECTIONS)
        self._idle.put(schema.open_reader(path))

    def traces(
        self, where: TraceFilter = _ALL_TRACES, limit: int = 50, cursor: str | None = None
    ) -> Page[TraceSummary]:
        """Newest first. A text search looks at a bounded number of spans for one page."""
        after = cursors.decode(cursor)
        with self._connection() as db:
            return list_traces(db, where, _limit(limit), after)

    def trace(self, trace_id: str, limit: int = 1000) -> list[Span]:
        """The spans of one trace by start, payload decoded; empty where there is none."""
        with self._connection() as db:
            return spans_of(db, trace_key(trace_id), _limit(limit))

    def trace_size(self, trace_id: str) -> int:
        """How many spans the trace has; 0 where there is none."""
        with self._connection() as db:
            return size_of(db, trace_key(trace_id))

    def spans(
        self,
        where: SpanFilter = _ALL_SPANS,
        columns: Sequence[str] | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Page[dict[str, Any]]:
        """Rows for data frames, newest first, with the ``columns`` asked for.

        The default is every column that needs no payload; ``input``, ``output``, ``attributes``
        and others of `columns.PAYLOAD` are read on demand, and a page of them may be shorter.

        Raises:
            UnknownColumn: A name that is no column, with the nearest ones.
        """
        after = cursors.decode(cursor)
        with self._connection() as db:
            return list_spans(db, where, columns, _limit(limit), after)

    def scores(
        self, where: ScoreFilter = _ALL_SCORES, limit: int = 1000, cursor: str | None = None
    ) -> Page[ScoreLine]:
        """What was judged, newest first; of several scores by one judge on one thing the latest."""
        after = cursors.decode(cursor)
        with self._connection() as db:
            return list_scores(db, where, _limit(limit), after)

    def series(self, query: SeriesQuery) -> list[Series]:
        """A chart's lines, from metrics: true whatever the sampling.

        Raises:
            UnknownColumn: No such metric or group.
        """
        with self._connection() as db:
            return read_series(db, query)

    def facets(self) -> Facets:
        """What the filters can offer, at most 200 values each."""
        with self._connection() as db:
            services, models = (_facet(db, kind) for kind in (schema.SERVICE, schema.MODEL))
            newest = db.execute(
                "SELECT session, user FROM sessions ORDER BY last_ns DESC, session DESC LIMIT ?",
                (_FACET_VALUES,),
            ).fetchall()
            scores = tuple(name for (name,) in db.execute(_SCORE_NAMES_SQL, (_FACET_VALUES,)))
        users = dict.fromkeys(user for _, user in newest if user)
        return Facets(
            services, models, tuple(session for session, _ in newest), tuple(users), scores
        )

    def sessions(
        self, service: str = "", limit: int = 50, cursor: str | None = None
    ) -> Page[SessionSummary]:
        """Conversations, last active first."""
        limit = _limit(limit)
        last_ns, session = cursors.decode(cursor) or (2**63 - 1, b"")
        values = {"service": service, "last_ns": last_ns, "limit": limit + 1}
        values["session"] = session.decode("utf-8", "replace")
        with self._connection() as db:
            rows = db.execute(_SESSIONS_SQL, values).fetchall()
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return Page(
            tuple(_session(row) for row in rows[:limit]),
            cursors.encode(last[4], last[0].encode()) if last else None,
        )

    def newest(self) -> int:
        """A number that grows with each commit."""
        with self._connection() as db:
            return _meta(db, "commits")

    def stats(self) -> StoreStats:
        """How much there is, and from when to when."""
        with self._connection() as db:
            oldest, newest = db.execute(
                "SELECT (SELECT min(start_ns) FROM spans), (SELECT max(start_ns) FROM spans)"
            ).fetchone()
            spans, traces = _meta(db, "spans"), _meta(db, "traces")
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        return StoreStats(spans, traces, size, _seconds(oldest), _seconds(newest))

    def close(self) -> None:
        """Close the connections; a later question opens a new one."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one question: one consistent view of the file, and a deadline."""
        db = self._take()
        deadline = time.monotonic() + self._timeout_s
        db.set_progress_handler(lambda: time.monotonic() > deadline, _TICK)
        try:
            db.execute("BEGIN")
            yield db
        except sqlite3.Error as error:
            raise StoreError(self._fault(error)) from error
        finally:
            db.set_progress_handler(None, 0)
            self._give_back(db)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return schema.open_reader(self.path)

    def _give_back(self, db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._idle.put_nowait(db)
        except (queue.Full, sqlite3.Error):
            db.close()

    def _fault(self, error: sqlite3.Error) -> str:
        if "interrupted" in str(error):
            return f"the question took longer than {self._timeout_s:g} s; narrow it down"
        return f"cannot read the span store {self.path}: {error}"


def _facet(db: sqlite3.Connection, kind: int) -> tuple[str, ...]:
    found = db.execute(_FACET_VALUES_SQL, {"kind": kind, "limit": _FACET_VALUES})
    return tuple(value for (value,) in found)


def _session(row: tuple[Any, ...]) -> SessionSummary:
    session, user, service, first_ns, last_ns, traces, errors, tokens = row
    return SessionSummary(
        session, user, service, first_ns / 1e9, last_ns / 1e9, traces, int(errors), tokens
    )


def _meta(db: sqlite3.Connection, key: str) -> int:
    return int(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])


def _seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else time_ns / 1e9


def _limit(limit: int) -> int:
    return max(1, min(limit, MAX_LIMIT))
