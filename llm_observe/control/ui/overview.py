"""The first page: is everything there, how do calls go, what changed last."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llm_observe.control.rules.model import AgentSummary
from llm_observe.control.ui import charts, filters
from llm_observe.control.ui.site import Site
from llm_observe.spanstore.model import Page, TraceFilter, TraceSummary

RANGES = ("15m", "1h", "6h", "24h", "7d")


class Overview:
    """Handlers of the overview."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """The overview, and the banner that every page carries."""
        return [self._site.route("/", self.show), self._site.route("/banner", self.banner)]

    async def show(self, request: Request) -> Response:
        """Everything at a glance, for a range of time."""
        service, chosen = self._site.service, request.query_params.get("range", "1h")
        chosen = chosen if chosen in RANGES else "1h"
        now = time.time()
        window = charts.Window(now - filters.RANGES[chosen], now)
        latest: Page[TraceSummary] = await service.traces(TraceFilter(), limit=5)
        versions = await service.versions(limit=5)
        return await self._site.page(
            request,
            "overview.html",
            chosen=chosen,
            ranges={name: filters.RANGE_NAMES[name] for name in RANGES},
            numbers=await charts.numbers(service, window),
            latest=latest.items,
            versions=versions.items,
            troubles=await self._troubles(),
            server=str(request.base_url).rstrip("/"),
        )

    async def banner(self, request: Request) -> Response:
        """The banner alone, kept true while the page is open."""
        return await self._site.part(request, "_banner.html")

    async def _troubles(self) -> list[AgentSummary]:
        """Agents that need a look: unhealthy, or refusing what they were sent."""
        pages = [await self._site.service.agents(state=state, limit=5) for state in _TROUBLES]
        return list({agent.uid: agent for page in pages for agent in page.items}.values())[:5]


_TROUBLES = ("refused", "unhealthy")
