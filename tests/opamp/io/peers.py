"""A handler that records, an agent by hand, and the ASGI server's other end in memory."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.events import ServerEvent
from llm_observe.opamp.io.asgi import AgentLink, OpAMPServer
from llm_observe.opamp.values import AgentCapabilities, ServerCapabilities

DEADLINE_S = float(os.environ.get("OPAMP_TEST_DEADLINE_S", "30"))
CAPABILITIES = ServerCapabilities.OFFERS_REMOTE_CONFIG | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
MANAGED = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
)


class Recorder:
    """Takes in everything, from any thread, and lets a test wait for it."""

    def __init__(self) -> None:
        self.refuse: int | None = None
        self.fail: Exception | None = None
        self.seen: list[tuple[bytes, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.clients: list[tuple[str, int] | None] = []
        self.then: Callable[[AgentLink, Any], Any] | None = None
        self._changed = threading.Condition()

    async def authenticate(
        self, headers: Mapping[str, str], client: tuple[str, int] | None
    ) -> int | None:
        self.headers.append(headers)
        self.clients.append(client)
        return self.refuse

    async def on_event(self, agent: AgentLink, event: ServerEvent) -> None:
        if self.fail is not None:
            raise self.fail
        if self.then is not None:
            await self.then(agent, event)
        self.take(agent.uid, event)

    def take(self, uid: bytes, event: Any) -> None:
        with self._changed:
            self.seen.append((uid, event))
            self._changed.notify_all()

    def of(self, kind: type[Any], uid: bytes | None = None) -> list[Any]:
        return [e for u, e in self.seen if isinstance(e, kind) and uid in (None, u)]

    def wait_until(self, true: Callable[[], Any], what: str) -> None:
        """Wait for something that an event brings about."""
        with self._changed:
            assert self._changed.wait_for(true, DEADLINE_S), f"never: {what}; saw {self.seen}"


def make_server(recorder: Recorder, **options: Any) -> OpAMPServer:
    return OpAMPServer(recorder, capabilities=CAPABILITIES, **options)


class Hand:
    """An agent's messages, made by hand."""

    def __init__(self, uid: bytes, capabilities: int = int(MANAGED)) -> None:
        self.uid, self.capabilities, self.number = uid, capabilities, -1

    def says(self, **content: Any) -> opamp_pb2.AgentToServer:
        self.number += 1
        return opamp_pb2.AgentToServer(
            instance_uid=self.uid,
            sequence_num=self.number,
            capabilities=self.capabilities,
            **content,
        )

    def hello(self, **content: Any) -> opamp_pb2.AgentToServer:
        message = self.says(**content)
        message.agent_description.SetInParent()
        return message


class Socket:
    """A WebSocket as an ASGI application sees it: both ends in memory."""

    def __init__(self, app: OpAMPServer, extensions: Mapping[str, Any] | None = None) -> None:
        self._app = app
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "headers": [(b"Authorization", b"Bearer t")],
            "client": ("127.0.0.1", 5),
            "extensions": extensions,
        }
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive: Callable[[], Awaitable[Any]] = self.to_app.get
        self._from_app: asyncio.Queue[Any] = asyncio.Queue()
        # While not set, the peer does not read.
        self.reading = asyncio.Event()
        self.reading.set()
        self.left = False
        self.to_app.put_nowait({"type": "websocket.connect"})

    async def _send(self, message: Any) -> None:
        await self.reading.wait()
        if self.left:
            raise OSError("the peer is gone")
        self._from_app.put_nowait(message)

    async def _run(self) -> None:
        await self._app(self.scope, self.receive, self._send)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Socket]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
            self.reading.set()
            await asyncio.wait_for(task, DEADLINE_S)

    async def got(self) -> Any:
        return await asyncio.wait_for(self._from_app.get(), DEADLINE_S)

    async def reply(self) -> opamp_pb2.ServerToAgent:
        message = await self.got()
        assert message["type"] == "websocket.send", message
        return wire.decode_server(message["bytes"], framed=True)

    def put(self, data: bytes | str) -> None:
        key = "bytes" if isinstance(data, bytes) else "text"
        self.to_app.put_nowait({"type": "websocket.receive", key: data})

    def say(self, message: opamp_pb2.AgentToServer) -> None:
        self.put(wire.encode(message, framed=True))

    async def exchange(self, message: opamp_pb2.AgentToServer) -> opamp_pb2.ServerToAgent:
        self.say(message)
        return await self.reply()

    @property
    def silent(self) -> bool:
        return self._from_app.empty()
