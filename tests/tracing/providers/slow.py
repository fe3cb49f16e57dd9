"""Replicate's API on the event loop, so that awaiting is real."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from replicate.client import Client

from tests.tracing.doubles import MODEL, PROMPT, ReplicateAPI


class Slow(ReplicateAPI):
    """Answers on the event loop, after a turn of it, so that awaiting is real."""

    async def later(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        if request.url.path.startswith("/stream/"):
            self.requests.append(request)
            head = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=head, content=self.pieces())
        return self.answer(request)

    async def pieces(self) -> Any:
        for event in self.events():
            await asyncio.sleep(0)
            yield event

    def client(self, **options: Any) -> Client:
        client = Client("token", transport=httpx.MockTransport(self.later), **options)
        client.poll_interval = 0.0
        return client


async def stream(client: Client) -> Any:
    return await client.async_stream(MODEL, input=PROMPT)
