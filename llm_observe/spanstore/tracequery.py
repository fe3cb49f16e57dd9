"""The traces list: lines by filter, and the search in what was said."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import zstandard

from llm_observe.spanstore import conditions, cursors, detail
from llm_observe.spanstore.model import Page, TraceFilter, TraceSummary
from llm_observe.spanstore.scores import ScoreMean
from llm_observe.spanstore.scoring import means

SEARCH_SPANS = 20_000
_SEARCH_TRACES = 500
Position = tuple[int, bytes]
_SUMMARY = (
    "trace_id",
    "name",
    "service",
    "model",
    "models",
    "session",
    "user",
    "start_ns",
    "duration_ns",
    "tokens_in",
    "tokens_out",
    "tokens_total",
    "cost",
    "ttft_ms",
    "queue_ms",
    "tokens_per_s",
    "finish_reason",
    "error",
    "error_type",
    "spans",
    "calls",
    "capture_level",
    "config_hash",
    "input_preview",
    "output_preview",
)
_TRACE_COLUMNS = ", ".join(f"t.{name}" for name in _SUMMARY)


def list_traces(
    db: sqlite3.Connection, where: TraceFilter, limit: int, after: Position | None
) -> Page[TraceSummary]:
    """One page, newest first; a text search looks at a bounded number of spans for it."""
    if where.text:
        return _search(db, where, limit, after)
    lines = _trace_lines(db, where, limit + 1, after)
    scores = means(db, [line[0] for line in lines[:limit]])
    return _page([_summary(line, scores) for line in lines[:limit]], lines, limit)


def _trace_lines(
    db: sqlite3.Connection, where: TraceFilter, limit: int, after: Position | None
) -> list[tuple[Any, ...]]:
    asked, position = conditions.trace_conditions(where), conditions.trace_position(where)
    more = [(f"({position}.start_ns, {position}.trace_id) < (?, ?)", after)] if after else []
    order = f"{position}.start_ns DESC, {position}.trace_id DESC"
    statement = asked.sql(_TRACE_COLUMNS, order, more)
    return db.execute(statement, asked.values(more, limit)).fetchall()


def _search(
    db: sqlite3.Connection, where: TraceFilter, limit: int, after: Position | None
) -> Page[TraceSummary]:
    """Walk the traces, newest first, until the page is full or enough spans were looked at."""
    match, found, looked_at = _Needle(where.text), [], 0
    while True:
        lines = _trace_lines(db, where, _SEARCH_TRACES, after)
        scores = means(db, [line[0] for line in lines])
        for line in lines:
            summary = _summary(line, scores)
            after = (summary.start_ns, line[0])
            looked_at += summary.spans
            if match.in_summary(summary) or match.in_payloads(db, line[0]):
                found.append(summary)
            if len(found) >= limit or looked_at >= SEARCH_SPANS:
                return Page(tuple(found), cursors.encode(*after), len(found) < limit)
        if len(lines) < _SEARCH_TRACES:
            return Page(tuple(found))


class _Needle:
    """A text that is looked for without regard to case."""

    def __init__(self, text: str) -> None:
        self._text = text.casefold()
        # Inside a JSON value the text is written with escapes; a payload without any of these
        # byte strings cannot match and is not decoded.
        self._ascii = text.isascii() and not any(char in text for char in '"\\\n\r\t')
        self._bytes = text.lower().encode("utf-8", "replace")

    def in_summary(self, summary: TraceSummary) -> bool:
        shown = (summary.name, summary.input_preview, summary.output_preview, summary.error_type)
        return any(self._text in text.casefold() for text in shown)

    def in_payloads(self, db: sqlite3.Connection, trace_id: bytes) -> bool:
        rows = db.execute(
            "SELECT p.body FROM spans s JOIN payloads p ON p.id = s.id WHERE s.trace_id = ? LIMIT ?",
            (trace_id, SEARCH_SPANS),
        )
        return any(self._in_payload(zstandard.decompress(body)) for (body,) in rows)

    def _in_payload(self, payload: bytes) -> bool:
        if self._ascii and self._bytes not in payload.lower():
            return False
        return any(self._text in text.casefold() for text in detail.search_texts(payload))


def _summary(line: tuple[Any, ...], scores: Mapping[bytes, tuple[ScoreMean, ...]]) -> TraceSummary:
    values = dict(zip(_SUMMARY, line, strict=True))
    values["scores"] = scores.get(values["trace_id"], ())
    values["trace_id"] = values["trace_id"].hex()
    values["duration_ms"] = values.pop("duration_ns") / 1e6
    values["error"] = bool(values["error"])
    return TraceSummary(start=values["start_ns"] / 1e9, **values)


def _page(
    items: list[TraceSummary], lines: list[tuple[Any, ...]], limit: int
) -> Page[TraceSummary]:
    if len(lines) <= limit:
        return Page(tuple(items))
    return Page(tuple(items), cursors.encode(items[-1].start_ns, lines[limit - 1][0]))
