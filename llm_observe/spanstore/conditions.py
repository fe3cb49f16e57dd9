"""Filters as SQL: fixed texts, the values always as parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_observe.spanstore.model import SpanFilter, TraceFilter
from llm_observe.spanstore.schema import MODEL, SERVICE

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


_HAS_FACET = (
    "EXISTS (SELECT 1 FROM trace_facets f WHERE f.kind = ? AND f.value = ?"
    " AND f.start_ns = t.start_ns AND f.trace_id = t.trace_id)"
)


def _trace_terms(where: TraceFilter, position: str) -> Iterator[_Term]:
    yield from _equal(where, "t", ("session", "user", "config_hash"))
    if where.error is not None:
        yield f"t.error = {int(where.error)}", ()
    if where.min_duration_ms is not None:
        yield "t.duration_ns >= ?", (_ns(where.min_duration_ms, 1e6),)
    yield from _between(where, position)


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
