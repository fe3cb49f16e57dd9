"""Filters as SQL: fixed texts, the values always as parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_observe.spanstore.model import SpanFilter, TraceFilter
from llm_observe.spanstore.schema import MODEL, SERVICE
from llm_observe.spanstore.scores import ScoreFilter

_Term = tuple[str, tuple[Any, ...]]
_TIMES = (-(2**63), 2**63 - 1)


class Conditions:
    """``where`` joined by AND with its ``values``, and where to read from."""

    def __init__(self, source: str, source_values: tuple[Any, ...], terms: list[_Term]) -> None:
        self.source = source
        self._source_values = source_values
        self._terms = terms

    def sql(self, columns: str, order: str, more: list[_Term]) -> str:
        """The whole SELECT, newest first, with ``LIMIT ?`` at its end."""
        where = " AND ".join(term for term, _ in (*self._terms, *more)) or "1"
        return f"SELECT {columns} FROM {self.source} WHERE {where} ORDER BY {order} LIMIT ?"  # noqa: S608  # our own texts

    def values(self, more: list[_Term], limit: int) -> tuple[Any, ...]:
        """The parameters of `sql`."""
        flat = (value for _, values in (*self._terms, *more) for value in values)
        return (*self._source_values, *flat, limit)


def trace_conditions(where: TraceFilter) -> Conditions:
    """Which traces. The most telling filter is read first, by its own index.

    Every source is called ``t`` for the columns and ``p`` for the position in the order.
    """
    facets = [(MODEL, where.model), (SERVICE, where.service)]
    facets = [(kind, value) for kind, value in facets if value]
    leading = facets[:1] if not (where.session or where.user) else []
    terms = list(_trace_terms(where, "p" if leading else "t"))
    terms += [(_HAS_FACET, facet) for facet in facets if facet not in leading]
    if leading:
        terms = [("p.kind = ? AND p.value = ?", leading[0]), *terms]
        return Conditions(
            "trace_facets p CROSS JOIN traces t ON t.trace_id = p.trace_id", (), terms
        )
    return Conditions("traces t", (), terms)


def trace_position(where: TraceFilter) -> str:
    """The alias whose ``start_ns, trace_id`` order the answer of `trace_conditions`."""
    by_facet = (where.model or where.service) and not (where.session or where.user)
    return "p" if by_facet else "t"


def span_conditions(where: SpanFilter) -> Conditions:
    """Which spans; session and user are those of the span's trace."""
    return Conditions("spans s", (), list(_span_terms(where)))


def score_conditions(where: ScoreFilter) -> Conditions:
    """Which scores, of those that count; ``t`` is the trace that was judged, where it is here."""
    source = "scores c LEFT JOIN traces t ON t.trace_id = c.trace_id"
    return Conditions(source, (), list(_score_terms(where)))


_HAS_FACET = (
    "EXISTS (SELECT 1 FROM trace_facets f WHERE f.kind = ? AND f.value = ?"
    " AND f.start_ns = t.start_ns AND f.trace_id = t.trace_id)"
)


def _trace_terms(where: TraceFilter, position: str) -> Iterator[_Term]:
    yield "t.feedback = 0", ()
    scored = list(_scored(where))
    if scored:
        terms = " AND ".join(["latest = 1", *(term for term, _ in scored)])
        values = tuple(value for _, given in scored for value in given)
        yield f"t.trace_id IN (SELECT trace_id FROM scores WHERE {terms})", values  # noqa: S608  # ours
    yield from _equal(where, "t", ("session", "user", "config_hash"))
    if where.error is not None:
        yield f"t.error = {int(where.error)}", ()
    if where.min_duration_ms is not None:
        yield "t.duration_ns >= ?", (_ns(where.min_duration_ms, 1e6),)
    yield from _between(where, position)


def _scored(where: TraceFilter) -> Iterator[_Term]:
    if where.score:
        yield "name = ?", (where.score,)
    if where.score_label:
        yield "label = ?", (where.score_label,)
    yield from _range("value", where.score_min, where.score_max)


def _score_terms(where: ScoreFilter) -> Iterator[_Term]:
    yield "c.latest = 1", ()
    for column in ("name", "annotator", "label"):
        if getattr(where, column):
            yield f"c.{column} = ?", (getattr(where, column),)
    for column in ("service", "model", "user", "config_hash"):
        if getattr(where, column):
            yield f"t.{column} = ?", (getattr(where, column),)
    if where.session:
        yield "(c.session = ? OR t.session = ?)", (where.session, where.session)
    if where.trace_id:
        yield "c.trace_id = ?", (trace_key(where.trace_id),)
    yield from _range("c.value", where.value_min, where.value_max)
    since, until = where.since, where.until
    yield from _range("c.time_ns", *(None if x is None else _ns(x, 1e9) for x in (since, until)))


def _range(column: str, least: float | None, most: float | None) -> Iterator[_Term]:
    if least is not None:
        yield f"{column} >= ?", (least,)
    if most is not None:
        yield f"{column} <= ?", (most,)


def _span_terms(where: SpanFilter) -> Iterator[_Term]:
    yield from _equal(where, "s", ("service", "model", "kind", "name", "config_hash"))
    if where.trace_id:
        yield "s.trace_id = ?", (trace_key(where.trace_id),)
    for column in ("session", "user"):
        if getattr(where, column):
            yield (
                f"s.trace_id IN (SELECT trace_id FROM traces WHERE {column} = ?"  # noqa: S608  # ours
                f" AND {column} <> '')",
                (getattr(where, column),),
            )
    if where.error is not None:
        yield f"s.error = {int(where.error)}", ()
    if where.min_duration_ms is not None:
        yield "s.end_ns - s.start_ns >= ?", (_ns(where.min_duration_ms, 1e6),)
    yield from _between(where, "s")


def trace_key(trace_id: str) -> bytes:
    """A trace id as stored; empty, so that nothing is found, where it is no hex of 16 bytes."""
    try:
        key = bytes.fromhex(trace_id)
    except ValueError:
        return b""
    return key if len(key) == 16 else b""


def _equal(
    where: TraceFilter | SpanFilter, alias: str, columns: tuple[str, ...]
) -> Iterator[_Term]:
    for column in columns:
        if getattr(where, column):
            # The second half is the condition of the partial index.
            yield f"{alias}.{column} = ? AND {alias}.{column} <> ''", (getattr(where, column),)


def _between(where: TraceFilter | SpanFilter, alias: str) -> Iterator[_Term]:
    if where.since is not None:
        yield f"{alias}.start_ns >= ?", (_ns(where.since, 1e9),)
    if where.until is not None:
        yield f"{alias}.start_ns < ?", (_ns(where.until, 1e9),)


def _ns(value: float, scale: float) -> int:
    """In nanoseconds, kept within what the file can hold; NaN is the earliest time."""
    scaled = value * scale
    if scaled != scaled or scaled <= _TIMES[0]:
        return _TIMES[0]
    return int(scaled) if scaled < _TIMES[1] else _TIMES[1]
