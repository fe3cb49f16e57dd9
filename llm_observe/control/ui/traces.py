"""The calls: list with filters and charts, one trace as a waterfall, one conversation as a chat."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llm_observe.control.rules.model import VersionSummary
from llm_observe.control.ui import calls, charts, filters, waterfall
from llm_observe.control.ui.site import Site
from llm_observe.control.ui.templating import HEADERS
from llm_observe.spanstore.columns import finds_of
from llm_observe.spanstore.model import Page, Span, TraceSummary

PAGE = 50
SEARCHED = 200
"""Newest versions among which a span's config hash is looked up."""


class Traces:
    """Handlers of the traces pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """List, its rows alone, the data of the charts, and one trace."""
        return [
            self._site.route("/traces", self.index),
            self._site.route("/traces/rows", self.rows),
            self._site.route("/traces/charts.json", self.charts),
            self._site.route("/traces/{trace_id}", self.show),
        ]

    async def index(self, request: Request) -> Response:
        """The traces that the filters leave, newest first."""
        chosen, now = filters.read(request.query_params), time.time()
        window = _window(chosen, now)
        return await self._site.page(
            request,
            "traces.html",
            page=await self._page(request, chosen, now),
            chosen=chosen,
            cursor=request.query_params.get("cursor") or "",
            facets=await self._site.service.facets(),
            ranges=filters.RANGE_NAMES,
            numbers=await charts.numbers(self._site.service, window),
            in_force=await self._sampled(),
        )

    async def rows(self, request: Request) -> Response:
        """The rows alone, for a page that is open."""
        chosen = filters.read(request.query_params)
        page = await self._page(request, chosen, time.time())
        return await self._site.part(
            request,
            "_rows.html",
            page=page,
            chosen=chosen,
            cursor=request.query_params.get("cursor") or "",
            in_force=await self._sampled(),
        )

    async def charts(self, request: Request) -> Response:
        """The data of the charts, from metrics: every call counts, whatever is sampled."""
        window = _window(filters.read(request.query_params), time.time())
        window = await charts.fit(self._site.service, window)
        data = await charts.charts(self._site.service, window)
        return JSONResponse(data, headers=HEADERS)

    async def show(self, request: Request) -> Response:
        """One trace, and one of its spans in detail."""
        trace_id = request.path_params["trace_id"]
        spans: list[Span] = await self._site.service.trace(trace_id)
        steps = waterfall.steps(spans)
        span = _selected(spans, request.query_params.get("span", ""))
        total = waterfall.extent(spans)[1]
        return await self._site.page(
            request,
            "trace.html",
            bars=waterfall.rows(spans),
            in_all=await self._site.service.trace_size(trace_id),
            ticks=waterfall.ticks(total),
            total_ms=total,
            root=steps[0],
            scored=any(step.scores for step in steps),
            span=span,
            is_call=calls.is_call(span),
            slowness=calls.slowness(span) if calls.is_call(span) else None,
            hidden=calls.hidden(span) if calls.is_call(span) else None,
            answers=calls.answers(span),
            finds=finds_of(span.attributes),
            settings_version=await self._version_of(span),
        )

    async def _page(
        self, request: Request, chosen: filters.Chosen, now: float
    ) -> Page[TraceSummary]:
        page: Page[TraceSummary] = await self._site.service.traces(
            chosen.where(now), limit=PAGE, cursor=request.query_params.get("cursor") or None
        )
        return page

    async def _sampled(self) -> Sequence[float]:
        """The sampling ratios in force on the connected agents, each once."""
        agents = await self._site.service.connected()
        ratios = {a.sampling_ratio for a in agents if a.sampling_ratio is not None}
        return sorted(ratios)

    async def _version_of(self, span: Span) -> VersionSummary | None:
        """The newest version whose hash the span carries."""
        if not span.config_hash:
            return None
        page = await self._site.service.versions(limit=SEARCHED)
        found = (v for v in page.items if v.hash.startswith(span.config_hash))
        return next(found, None)


def _window(chosen: filters.Chosen, now: float) -> charts.Window:
    where = chosen.where(now)
    until = where.until if where.until is not None else now
    since = where.since if where.since is not None else until - 90 * 86400
    return charts.Window(min(since, until - 10), until, where.service, where.model)


def _selected(spans: Sequence[Span], span_id: str) -> Span:
    """The span that was asked for, else the first call, else the root."""
    asked = (span for span in spans if span.span_id == span_id)
    called = (span for span in spans if calls.is_call(span))
    return next(asked, None) or next(called, None) or waterfall.steps(spans)[0]
