"""Scores into their table and out of it again. Every function runs inside a transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import zstandard

from llm_observe.spanstore import cursors, feedback
from llm_observe.spanstore.conditions import score_conditions
from llm_observe.spanstore.model import Page, Span
from llm_observe.spanstore.scores import Score, ScoreFilter, ScoreLine, ScoreMean, ScoreRow

_SCORES_OF_A_TRACE = 1000
_NAMES_OF_A_TRACE = 20
_SAME = "scope = ? AND subject = ? AND name = ? AND annotator = ? AND identifier = ?"
_FIELDS = (
    "carrier", "number", "trace_id", "span_id", "scope", "subject", "name", "annotator",
    "identifier", "value", "label", "session", "time_ns", "latest",
)  # fmt: skip
_INSERT = f"INSERT INTO scores ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))})"  # noqa: S608  # ours
_OF_TRACE = """
SELECT c.number, c.trace_id, c.span_id, c.scope, c.name, c.value, c.label, c.annotator,
       c.identifier, c.session, c.time_ns, c.latest, s.trace_id, s.span_id, p.body
FROM scores c JOIN spans s ON s.id = c.carrier JOIN payloads p ON p.id = c.carrier
WHERE c.trace_id = ? ORDER BY c.latest DESC, c.time_ns DESC, c.id DESC LIMIT ?
"""
_MEANS = """
SELECT trace_id, name, avg(value), count(*), label, max(time_ns) FROM scores
WHERE latest = 1 AND trace_id IN ({}) GROUP BY trace_id, name ORDER BY trace_id, name
"""
_LINE = {
    "time": "c.time_ns / 1e9",
    "name": "c.name",
    "value": "c.value",
    "label": "c.label",
    "annotator": "c.annotator",
    "identifier": "c.identifier",
    "scope": "c.scope",
    "trace_id": "lower(hex(c.trace_id))",
    "span_id": "lower(hex(c.span_id))",
    "session": "CASE WHEN c.session <> '' THEN c.session ELSE coalesce(t.session, '') END",
    "user": "coalesce(t.user, '')",
    "service": "coalesce(t.service, '')",
    "model": "coalesce(t.model, '')",
    "config_hash": "coalesce(t.config_hash, '')",
}


def insert_scores(db: sqlite3.Connection, carrier: int, rows: Iterable[ScoreRow]) -> None:
    """Store the scores of one span; of those with the same subject and judge the latest counts."""
    for row in rows:
        same = (row.scope, _subject(row), row.name, row.annotator, row.identifier)
        newer = db.execute(
            f"SELECT 1 FROM scores WHERE {_SAME} AND latest = 1 AND time_ns > ?",  # noqa: S608  # our own text
            (*same, row.time_ns),
        ).fetchone()
        if newer is None:
            db.execute(f"UPDATE scores SET latest = 0 WHERE {_SAME} AND latest = 1", same)  # noqa: S608  # our own text
        db.execute(_INSERT, (
            carrier, row.number, row.trace_id, row.span_id, *same,
            row.value, row.label, row.session, row.time_ns, int(newer is None),
        ))  # fmt: skip


def drop_scores(db: sqlite3.Connection, trace_id: bytes) -> dict[bytes, list[int]]:
    """Remove what a trace carries and what was said about it.

    Returns the spans of other traces that said it, by trace: they are for the caller to remove,
    since they may tell what the trace was about.
    """
    others: dict[bytes, list[int]] = defaultdict(list)
    for where, span in db.execute(
        "SELECT DISTINCT s.trace_id, s.id FROM scores c JOIN spans s ON s.id = c.carrier"
        " WHERE c.trace_id = ? AND s.trace_id <> ? AND s.feedback = 1",
        (trace_id, trace_id),
    ):
        others[where].append(span)
    db.execute(
        "DELETE FROM scores WHERE trace_id = ?"
        " OR carrier IN (SELECT id FROM spans WHERE trace_id = ?)",
        (trace_id, trace_id),
    )
    return dict(others)


def with_scores(db: sqlite3.Connection, key: bytes, spans: list[Span]) -> list[Span]:
    """The spans of a trace, each with what was said about it.

    What is about the whole trace, or about a span that is not here, stands at the first span.
    """
    found: dict[str, list[Score]] = defaultdict(list)
    known = {span.span_id for span in spans if not span.feedback}
    first = next((span.span_id for span in spans if not span.feedback), "")
    for score in _scores(db, key):
        own = score.scope == "span" and score.span_id in known
        found[score.span_id if own else first].append(score)
    return [
        replace(span, scores=tuple(found[span.span_id])) if span.span_id in found else span
        for span in spans
    ]


def means(db: sqlite3.Connection, trace_ids: Sequence[bytes]) -> dict[bytes, tuple[ScoreMean, ...]]:
    """For a list of traces: per name the mean of what counts, at most 20 names each."""
    found: dict[bytes, list[ScoreMean]] = defaultdict(list)
    if trace_ids:
        marks = ", ".join("?" * len(trace_ids))
        for trace_id, name, value, count, label, _ in db.execute(_MEANS.format(marks), trace_ids):
            if len(found[trace_id]) < _NAMES_OF_A_TRACE:
                found[trace_id].append(ScoreMean(name, value, label, count))
    return {trace_id: tuple(scores) for trace_id, scores in found.items()}


def list_scores(
    db: sqlite3.Connection, where: ScoreFilter, limit: int, after: tuple[int, bytes] | None
) -> Page[ScoreLine]:
    """One page of what counts, newest first."""
    asked = score_conditions(where)
    place = (after[0], int.from_bytes(after[1][:8], "big")) if after else ()
    more = [("(c.time_ns, c.id) < (?, ?)", place)] if place else []
    columns = ", ".join(("c.time_ns", "c.id", *_LINE.values()))
    statement = asked.sql(columns, "c.time_ns DESC, c.id DESC", list(more))
    rows = db.execute(statement, asked.values(list(more), limit + 1)).fetchall()
    items = tuple(ScoreLine(*row[2:]) for row in rows[:limit])
    if len(rows) <= limit:
        return Page(items)
    last = rows[limit - 1]
    return Page(items, cursors.encode(last[0], last[1].to_bytes(8, "big")))


def _subject(row: ScoreRow) -> bytes:
    """What two scores must have in common to be about the same."""
    if row.scope == "session":
        return row.session.encode("utf-8", "replace")
    return row.trace_id if row.scope == "trace" else row.trace_id + row.span_id


def _scores(db: sqlite3.Connection, key: bytes) -> Iterator[Score]:
    for row in db.execute(_OF_TRACE, (key, _SCORES_OF_A_TRACE)):
        yield _score(*row)


def _score(number: int, trace_id: bytes, span_id: bytes, *row: Any) -> Score:
    scope, name, value, label, annotator, identifier, session, time_ns, latest, *carrier = row
    return Score(
        name=name,
        value=value,
        label=label,
        explanation=feedback.explanation(zstandard.decompress(carrier[2]), number),
        annotator=annotator,
        identifier=identifier,
        scope=scope,
        session=session,
        time=time_ns / 1e9,
        latest=bool(latest),
        trace_id=trace_id.hex(),
        span_id=span_id.hex(),
        carrier_trace_id=carrier[0].hex(),
        carrier_span_id=carrier[1].hex(),
    )
