"""Use cases of traces: the span store's questions, asked away from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread

from llm_observe.control.bus import Bus
from llm_observe.control.rules.model import Notice
from llm_observe.errors import NotFound
from llm_observe.spanstore.model import (
    Facets,
    Page,
    Reading,
    Series,
    SeriesQuery,
    SessionSummary,
    Span,
    SpanFilter,
    StoreStats,
    TraceFilter,
    TraceSummary,
    Writing,
)
from llm_observe.spanstore.scores import ScoreFilter, ScoreLine

T = TypeVar("T")


class TraceCases:
    """Part of `llm_observe.control.service.Service`; records of `llm_observe.spanstore.model`."""

    _reader: Reading
    _store: Writing
    _bus: Bus
    intakes: int = 0
    """How often something was committed to the span store."""

    async def traces(
        self, where: TraceFilter | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> Page[TraceSummary]:
        """Traces, newest first."""
        where = where or TraceFilter()
        return await _ask(partial(self._reader.traces, where, limit=limit, cursor=cursor))

    async def trace(self, trace_id: str, *, limit: int = 1000) -> list[Span]:
        """The first spans of one trace by start, payload decoded.

        Raises:
            NotFound: No such trace.
        """
        ask = partial(self._reader.trace, trace_id, limit)
        spans = await _ask(ask) if _is_hex(trace_id) else []
        if not spans:
            raise NotFound(f"there is no trace {trace_id[:64]}")
        return spans

    async def trace_size(self, trace_id: str) -> int:
        """How many spans a trace has, of which `trace` returns the first."""
        return await _ask(partial(self._reader.trace_size, trace_id)) if _is_hex(trace_id) else 0

    async def spans(
        self,
        where: SpanFilter | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int = 1000,
        cursor: str | None = None,
    ) -> Page[dict[str, Any]]:
        """Span rows for data frames, newest first.

        Raises:
            UnknownColumn: The store has no such column; the sentence says which it has.
        """
        where = where or SpanFilter()
        ask = partial(self._reader.spans, where, columns=columns, limit=limit, cursor=cursor)
        return await _ask(ask)

    async def scores(
        self, where: ScoreFilter | None = None, *, limit: int = 1000, cursor: str | None = None
    ) -> Page[ScoreLine]:
        """What was judged, newest first; of several scores by one judge on one thing the latest."""
        where = where or ScoreFilter()
        return await _ask(partial(self._reader.scores, where, limit=limit, cursor=cursor))

    async def series(self, query: SeriesQuery) -> list[Series]:
        """One metric over time; from metrics, so true whatever is sampled."""
        return await _ask(partial(self._reader.series, query))

    async def facets(self) -> Facets:
        """What filters can be set to."""
        return await _ask(self._reader.facets)

    async def sessions(
        self, *, service: str = "", limit: int = 50, cursor: str | None = None
    ) -> Page[SessionSummary]:
        """Sessions, last active first."""
        return await _ask(partial(self._reader.sessions, service, limit=limit, cursor=cursor))

    async def delete_session(self, session_id: str) -> int:
        """Delete all traces of one session, content and all; their number.

        Raises:
            NotFound: The session has no traces.
        """
        deleted = await asyncio.wrap_future(self._store.delete_session(session_id))
        if not deleted:
            raise NotFound(f"there is no session {session_id[:64]}")
        self.traces_changed()
        return deleted

    async def span_stats(self) -> StoreStats:
        """How much is stored."""
        return await _ask(self._reader.stats)

    def traces_changed(self) -> None:
        """Spans or metrics were committed; called on the event loop."""
        self.intakes += 1
        self._bus.publish(Notice("traces"))


async def _ask(question: Callable[[], T]) -> T:
    return await anyio.to_thread.run_sync(question)


def _is_hex(trace_id: str) -> bool:
    return len(trace_id) == 32 and all(char in "0123456789abcdefABCDEF" for char in trace_id)
