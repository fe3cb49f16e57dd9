"""Spans into the tables and out of them again. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import zstandard

from llm_observe.spanstore.model import SpanRow
from llm_observe.spanstore.schema import SPAN_FIELDS
from llm_observe.spanstore.scoring import drop_scores, insert_scores
from llm_observe.spanstore.summary import Line, Part, summarise

_INSERT_SPAN = (
    f"INSERT INTO spans (id, received_ns, {', '.join(SPAN_FIELDS)})"  # noqa: S608  # our own names
    f" VALUES ({', '.join('?' * (len(SPAN_FIELDS) + 2))}) ON CONFLICT (trace_id, span_id) DO NOTHING"
)
_PARTS = f"SELECT {', '.join(Part._fields)} FROM spans WHERE trace_id = ?"  # noqa: S608  # ours
_LINE = (*Line._fields, "input_preview", "output_preview")
_UPSERT_TRACE = (
    f"INSERT INTO traces (trace_id, {', '.join(_LINE)})"  # noqa: S608  # our own names
    f" VALUES ({', '.join('?' * (len(_LINE) + 1))}) ON CONFLICT (trace_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _LINE)
)
_UPSERT_SESSION = """
INSERT INTO sessions (session, user, service, first_ns, last_ns) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (session) DO UPDATE SET
    user = CASE WHEN excluded.user <> '' THEN excluded.user ELSE user END,
    service = excluded.service,
    first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns)
"""


class SpanTables:
    """Writes spans; one per connection, used by one thread.

    After a rollback call `forget`: the numbers handed out were not used.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._compress = zstandard.ZstdCompressor(level=3).compress
        self._next_id = 0
        self.forget()

    def forget(self) -> None:
        """Read the next free number from the file again."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'spans'").fetchone()
        self._next_id = (row[0] if row else 0) + 1

    def insert(self, rows: Sequence[SpanRow], received_ns: int) -> int:
        """Store the spans that are not there yet and bring their traces up to date.

        Returns the number of new spans; the others were repetitions.
        """
        first = self._next_id
        numbered = dict(enumerate(rows, first))
        self._db.executemany(
            _INSERT_SPAN,
            (
                (number, received_ns, *(getattr(row, name) for name in SPAN_FIELDS))
                for number, row in numbered.items()
            ),
        )
        self._next_id += len(rows)
        fresh = [n for (n,) in self._db.execute("SELECT id FROM spans WHERE id >= ?", (first,))]
        self._insert_payloads((number, numbered[number]) for number in fresh)
        for number in fresh:
            insert_scores(self._db, number, numbered[number].scores)
        _count(self._db, "spans", len(fresh))
        for trace_id in {numbered[number].trace_id for number in fresh}:
            _retrace(self._db, trace_id)
        return len(fresh)

    def _insert_payloads(self, rows: Iterable[tuple[int, SpanRow]]) -> None:
        self._db.executemany(
            "INSERT INTO payloads VALUES (?, ?, ?, ?)",
            (
                (number, row.input_preview, row.output_preview, self._compress(row.payload))
                for number, row in rows
            ),
        )


def drop_traces(db: sqlite3.Connection, trace_ids: Iterable[bytes]) -> int:
    """Remove traces with all their spans, contents and traces of themselves; returns how many.

    Spans of other traces that only carry what was said about these ones go too.
    """
    sessions: set[str] = set()
    dropped = 0
    for trace_id in trace_ids:
        dropped += 1
        for other, carriers in drop_scores(db, trace_id).items():
            sessions |= _drop_spans(db, other, carriers)
        sessions |= _drop_trace(db, trace_id)
    for session in sessions:
        _refresh_session(db, session)
    return dropped


def session_traces(db: sqlite3.Connection, session: str, limit: int) -> list[bytes]:
    """Traces of which any span belongs to the session."""
    found = db.execute(
        "SELECT DISTINCT trace_id FROM spans WHERE session = ? AND session <> '' LIMIT ?",
        (session, limit),
    )
    return [trace_id for (trace_id,) in found]


def stale_traces(db: sqlite3.Connection, before_ns: int, limit: int) -> list[bytes]:
    """Traces to which nothing was added since, the longest untouched first."""
    found = db.execute(
        "SELECT trace_id FROM traces WHERE received_ns < ? ORDER BY received_ns LIMIT ?",
        (before_ns, limit),
    )
    return [trace_id for (trace_id,) in found]


def parts(db: sqlite3.Connection, trace_id: bytes) -> list[Part]:
    """The spans of a trace as its summary needs them."""
    return [Part._make(row) for row in db.execute(_PARTS, (trace_id,))]


def _retrace(db: sqlite3.Connection, trace_id: bytes) -> None:
    line, first, facets = summarise(parts(db, trace_id))
    before = db.execute("SELECT start_ns FROM traces WHERE trace_id = ?", (trace_id,)).fetchone()
    if before is None:
        _count(db, "traces", 1)
    elif before[0] != line.start_ns:
        _drop_facets(db, trace_id, before[0], facets)
    previews = db.execute(
        "SELECT input_preview, output_preview FROM payloads WHERE id = ?", (first.id,)
    ).fetchone()
    db.execute(_UPSERT_TRACE, (trace_id, *line, *previews))
    db.executemany(
        "INSERT OR IGNORE INTO trace_facets VALUES (?, ?, ?, ?)",
        [(*facet, line.start_ns, trace_id) for facet in facets],
    )
    if line.session and not line.feedback:
        last_ns = line.start_ns + line.duration_ns
        owner = (line.session, line.user, line.service, line.start_ns, last_ns)
        db.execute(_UPSERT_SESSION, owner)


def _drop_trace(db: sqlite3.Connection, trace_id: bytes) -> set[str]:
    return _drop_spans(db, trace_id, [part.id for part in parts(db, trace_id)])


def _drop_spans(db: sqlite3.Connection, trace_id: bytes, ids: Sequence[int]) -> set[str]:
    """Remove spans of one trace, and the trace itself where none is left; its session."""
    before = parts(db, trace_id)
    if not before:  # another trace of the same turn took it along
        return set()
    line, _, facets = summarise(before)
    _drop_facets(db, trace_id, line.start_ns, facets)
    numbers = [(number,) for number in ids]
    db.executemany("DELETE FROM payloads WHERE id = ?", numbers)
    db.executemany("DELETE FROM spans WHERE id = ?", numbers)
    db.executemany("DELETE FROM scores WHERE carrier = ?", numbers)
    _count(db, "spans", -len(ids))
    if len(ids) < len(before):
        _retrace(db, trace_id)
    else:
        db.execute("DELETE FROM traces WHERE trace_id = ?", (trace_id,))
        _count(db, "traces", -1)
    return {line.session} if line.session else set()


def _drop_facets(
    db: sqlite3.Connection, trace_id: bytes, start_ns: int, facets: Iterable[tuple[int, str]]
) -> None:
    db.executemany(
        "DELETE FROM trace_facets WHERE kind = ? AND value = ? AND start_ns = ? AND trace_id = ?",
        [(*facet, start_ns, trace_id) for facet in facets],
    )


def _refresh_session(db: sqlite3.Connection, session: str) -> None:
    first_ns, last_ns = db.execute(
        "SELECT min(start_ns), max(start_ns + duration_ns) FROM traces"
        " WHERE session = ? AND session <> ''",
        (session,),
    ).fetchone()
    if first_ns is None:
        db.execute("DELETE FROM sessions WHERE session = ?", (session,))
    else:
        db.execute(
            "UPDATE sessions SET first_ns = ?, last_ns = ? WHERE session = ?",
            (first_ns, last_ns, session),
        )


def _count(db: sqlite3.Connection, what: str, change: int) -> None:
    if change:
        db.execute("UPDATE meta SET value = value + ? WHERE key = ?", (change, what))
