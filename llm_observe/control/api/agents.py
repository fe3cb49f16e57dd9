"""REST: agents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from llm_observe.control.api.answers import Serving
from llm_observe.control.rules.model import AgentDetail, AgentSummary, Page

router = APIRouter(tags=["agents"])
Cursor = Annotated[str | None, Query(max_length=1024, description="`next` of an earlier page")]


@router.get("/agents")
async def list_agents(
    service: Serving,
    name: Annotated[str | None, Query(alias="service", max_length=255)] = None,
    state: Annotated[
        str | None,
        Query(
            max_length=40,
            description="connected, offline, stopped, in sync, pending, refused, not managed or "
            "unhealthy",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = None,
) -> Page[AgentSummary]:
    """Agents, connected ones first, then by service and newest first."""
    return await service.agents(service=name, state=state, limit=limit, cursor=cursor)


@router.get("/agents/{uid}")
async def get_agent(service: Serving, uid: str) -> AgentDetail:
    """All that is known of one agent: desired, acknowledged and effective settings apart."""
    return await service.agent(uid)


@router.delete("/agents/{uid}", status_code=204)
async def forget_agent(service: Serving, uid: str) -> None:
    """Remove an agent that is no longer connected from the list."""
    await service.forget_agent(uid)
