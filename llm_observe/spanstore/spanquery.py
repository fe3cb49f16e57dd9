"""Span rows for data frames: the columns asked for, payloads only where one needs them."""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import zstandard

from llm_observe.spanstore import conditions, cursors, detail
from llm_observe.spanstore.columns import DEFAULT, PAYLOAD, SPAN_COLUMNS, payload_values
from llm_observe.spanstore.model import Page, Span, SpanFilter, UnknownColumn
from llm_observe.spanstore.scoring import with_scores

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
_READ: dict[str, Callable[[Any], Any]] = {"error": bool, "scores": json.loads}


def list_spans(
    db: sqlite3.Connection,
    where: SpanFilter,
    columns: Sequence[str] | None,
    limit: int,
    after: tuple[int, bytes] | None,
) -> Page[dict[str, Any]]:
    """One page, newest first; shorter than ``limit`` where its payloads are large.

    Raises:
        UnknownColumn: A name that is no column, with the nearest ones.
    """
    wanted = _columns(columns)
    rows = _span_rows(db, where, wanted, limit + 1, after)
    return _span_page(rows, wanted, limit)


def spans_of(db: sqlite3.Connection, key: bytes, limit: int) -> list[Span]:
    """The spans of one trace by start, payload decoded, with what was said about each."""
    rows = db.execute(
        "SELECT p.body FROM spans s JOIN payloads p ON p.id = s.id"
        " WHERE s.trace_id = ? ORDER BY s.start_ns, s.id LIMIT ?",
        (key, limit),
    )
    spans: list[Span] = []
    for payload in _unpack(rows):
        spans.append(detail.read_span(payload, spans[0].start_ns if spans else 0))
    return with_scores(db, key, spans)


def size_of(db: sqlite3.Connection, key: bytes) -> int:
    """How many spans one trace has."""
    return int(db.execute("SELECT count(*) FROM spans WHERE trace_id = ?", (key,)).fetchone()[0])


def _columns(names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return DEFAULT
    for name in names:
        if name not in SPAN_COLUMNS and name not in PAYLOAD:
            known = [*SPAN_COLUMNS, *PAYLOAD]
            near = difflib.get_close_matches(name, known, 3) or known
            raise UnknownColumn(f"there is no column {name[:80]!r}; there is {', '.join(near)}")
    return tuple(dict.fromkeys(names))


def _span_rows(
    db: sqlite3.Connection,
    where: SpanFilter,
    wanted: tuple[str, ...],
    limit: int,
    after: tuple[int, bytes] | None,
) -> list[tuple[Any, ...]]:
    """Position, then the plain columns, then the payload if any wanted column needs it."""
    asked = conditions.span_conditions(where)
    with_payload = any(name in PAYLOAD for name in wanted)
    selected = ["s.start_ns", "s.id", *(SPAN_COLUMNS[n] for n in wanted if n in SPAN_COLUMNS)]
    if with_payload:
        selected.append("(SELECT body FROM payloads p WHERE p.id = s.id)")
    place = (after[0], int.from_bytes(after[1][:8], "big")) if after else ()
    more = [("(s.start_ns, s.id) < (?, ?)", place)] if place else []
    statement = asked.sql(", ".join(selected), "s.start_ns DESC, s.id DESC", list(more))
    rows = db.execute(statement, asked.values(list(more), limit))
    return _within_bytes(rows) if with_payload else rows.fetchall()


def _within_bytes(rows: Iterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    kept, size = [], 0
    for row in rows:
        kept.append(row)
        size += len(row[-1])
        if size > MAX_PAYLOAD_BYTES:
            break
    return kept


def _span_page(
    rows: list[tuple[Any, ...]], wanted: tuple[str, ...], limit: int
) -> Page[dict[str, Any]]:
    plain = [name for name in wanted if name in SPAN_COLUMNS]
    late = [name for name in wanted if name in PAYLOAD]
    items = []
    for row in rows[:limit]:
        values = dict(zip(plain, row[2:], strict=False))
        for name in _READ.keys() & values.keys():
            values[name] = _READ[name](values[name])
        if late:
            values |= payload_values(zstandard.decompress(row[-1]), late)
        items.append({name: values[name] for name in wanted})
    return Page(tuple(items), _span_cursor(rows, limit))


def _span_cursor(rows: list[tuple[Any, ...]], limit: int) -> str | None:
    """More follow if there was one row more than asked for, or the bytes ran out before."""
    cut_short = 0 < len(rows) <= limit and isinstance(rows[-1][-1], bytes) and _full(rows)
    if len(rows) <= limit and not cut_short:
        return None
    last = rows[min(limit, len(rows)) - 1]
    return cursors.encode(last[0], last[1].to_bytes(8, "big"))


def _full(rows: list[tuple[Any, ...]]) -> bool:
    return sum(len(row[-1]) for row in rows) > MAX_PAYLOAD_BYTES


def _unpack(rows: Iterator[tuple[bytes]]) -> list[bytes]:
    payloads, size = [], 0
    for (body,) in rows:
        payloads.append(zstandard.decompress(body))
        size += len(payloads[-1])
        if size > MAX_PAYLOAD_BYTES:
            break
    return payloads
