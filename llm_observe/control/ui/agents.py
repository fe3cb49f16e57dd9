"""The fleet, and one agent: what is desired, what it acknowledged, what is in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from llm_observe.control.rules.model import (
    Acknowledged,
    AckState,
    AgentDetail,
    AgentSummary,
    KeyRow,
    Presence,
)
from llm_observe.control.ui.site import Site

PAGE = 50
STATES = {
    "": "Any state", "connected": "Connected", "offline": "Offline", "stopped": "Stopped",
    "unhealthy": "Unhealthy", "in sync": "In sync", "pending": "Pending", "refused": "Refused",
    "not managed": "Not managed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyView:
    """One key in the table: the three truths, and whether they agree.

    ``word``: what the agent said about it: ``acknowledged``, ``refused``, ``pending`` or empty.
    """

    row: KeyRow
    word: str
    reason: str

    @property
    def differs(self) -> bool:
        """Whether what is desired is not what is in force."""
        return self.row.desired is not None and self.row.desired != self.row.effective


class Agents:
    """Handlers of the agent pages."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """List, page, and taking a gone agent off the list."""
        return [
            self._site.route("/agents", self.index),
            self._site.route("/agents/{uid}", self.show),
            self._site.route("/agents/{uid}/forget", self.forget, "POST"),
        ]

    async def index(self, request: Request) -> Response:
        """All agents, narrowed by service and state."""
        query = request.query_params
        service, state = query.get("service") or None, query.get("state") or None
        page = await self._site.service.agents(
            service=service, state=state, limit=PAGE, cursor=query.get("cursor") or None
        )
        return await self._site.page(
            request,
            "agents.html",
            agents=page,
            services=await self._site.service.services(),
            states=STATES,
            service=service or "",
            state=state or "",
            paged=bool(query.get("cursor")),
            server=str(request.base_url).rstrip("/"),
        )

    async def show(self, request: Request) -> Response:
        """One agent."""
        detail = await self._site.service.agent(request.path_params["uid"])
        return await self._site.page(
            request,
            "agent.html",
            detail=detail,
            agent=detail,
            keys=list(key_views(detail)),
            gone=detail.state is not Presence.CONNECTED,
            title=name_of(detail),
        )

    async def forget(self, request: Request) -> Response:
        """Take an agent that is gone off the list."""
        await self._site.service.forget_agent(request.path_params["uid"])
        return RedirectResponse("/agents", status_code=303)


def name_of(agent: AgentSummary) -> str:
    """What an agent is called where it did not say its service."""
    return agent.service or f"Agent {agent.uid[:8]}"


def key_views(detail: AgentDetail) -> Iterator[KeyView]:
    """The rows of the key table."""
    refusals = {problem.path: problem for problem in detail.acknowledged.problems}
    answered = bool(detail.desired.hash) and detail.acknowledged.hash == detail.desired.hash
    for row in detail.keys:
        problem = refusals.get(row.path)
        if problem is not None:
            yield KeyView(row, "refused", f"found {problem.found}, expected {problem.expected}")
        else:
            yield KeyView(row, _word(row, detail.acknowledged, answered), "")


def _word(row: KeyRow, said: Acknowledged, answered: bool) -> str:
    if row.desired is None:
        return ""
    if not answered:
        return "pending"
    if said.state is AckState.FAILED and row.desired == row.effective:
        return "holds from before"
    words = {
        AckState.APPLIED: "acknowledged",
        AckState.FAILED: "not applied",
        AckState.APPLYING: "applying",
    }
    return words.get(said.state, "pending")
