"""REST: the server itself — status, events, tokens, audit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from llm_observe.control.api.answers import Actor, Serving
from llm_observe.control.bus import Watcher
from llm_observe.control.rules.model import (
    AuditRow,
    NewToken,
    Notice,
    Page,
    StatusView,
    TokenKind,
    TokenView,
)

router = APIRouter(tags=["server"])
KEEP_ALIVE_S = 15.0
GAP_S = 0.05
"""Between two events to one watcher, so that a busy server does not make its browsers busy."""


class TokenBody(BaseModel):
    """What a token is for."""

    model_config = ConfigDict(extra="forbid")

    kind: TokenKind
    name: str = Field(default="", max_length=100)


@router.get("/status")
async def get_status(service: Serving) -> StatusView:
    """The control plane's own state: counts, sizes, who is let in."""
    return await service.status()


@router.get("/audit")
async def get_audit(
    service: Serving, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Page[AuditRow]:
    """Who did what, newest first."""
    return Page(await service.audit(limit=limit))


@router.get("/tokens")
async def list_tokens(service: Serving) -> Page[TokenView]:
    """The tokens that exist, without their values."""
    return Page(await service.tokens())


@router.post("/tokens", status_code=201)
async def create_token(service: Serving, actor: Actor, body: TokenBody) -> NewToken:
    """Make a token; its value is in this answer and nowhere else.

    From the first token of a kind on, what that kind opens is closed without one.
    """
    return await service.create_token(body.kind, body.name or str(body.kind), actor)


@router.delete("/tokens/{token_id}", status_code=204)
async def delete_token(
    service: Serving, actor: Actor, token_id: Annotated[int, Path(ge=1, le=2**53)]
) -> None:
    """Withdraw a token; it opens nothing from now on."""
    await service.delete_token(token_id, actor)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def watch_events(service: Serving) -> StreamingResponse:
    """Server-sent events: ``agents``, ``settings``, ``traces``, each with ``{"key": …}``.

    An empty key means that anything of the topic may have changed.
    """
    headers = {"x-accel-buffering": "no"}
    events = _events(service.changes())
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _events(watcher: Watcher) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                notice = await anext(watcher)
        except TimeoutError:
            yield ": still here\n\n"
        except StopAsyncIteration:
            return
        else:
            yield _event(notice)
            await asyncio.sleep(GAP_S)


def _event(notice: Notice) -> str:
    return f"event: {notice.topic}\ndata: {json.dumps({'key': notice.key})}\n\n"
