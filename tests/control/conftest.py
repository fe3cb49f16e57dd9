from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn

from llm_observe.control.assembly import ControlPlane, ServeOptions, assembled
from llm_observe.control.rules.record import AgentRecord
from llm_observe.opamp import events
from llm_observe.opamp.io.websocket import WebSocketClient
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
)
from llm_observe.settings.documents import merge
from llm_observe.settings.layers import as_document, build
from llm_observe.settings.schema import schema_hash

T = TypeVar("T")
DEADLINE_S = 20.0
LOCAL = "http://127.0.0.1:4320"

OURS = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS
    | AgentCapabilities.REPORTS_HEARTBEAT
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class SteppedClock:
    """Time that moves only when told to."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float = 1.0) -> float:
        self.now += seconds
        return self.now


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with assembled(ServeOptions(data_dir=tmp_path / "data")) as made:
        yield made


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(plane) as client:
        yield client


def client_of(plane: ControlPlane, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(plane.app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=LOCAL, **options)


async def eventually(look: Callable[[], T], what: str) -> T:
    """The first true value; tests of processes and sockets have nothing else to wait for."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if seen := look():
            return seen
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


@contextlib.asynccontextmanager
async def listening(plane: ControlPlane) -> AsyncIterator[str]:
    """The control plane on a free loopback port, on this event loop."""
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        plane.app, lifespan="off", log_config=None, ws="websockets-sansio",
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([sock]))
    try:
        await eventually(lambda: server.started, "the server listens")
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        plane.service.stopping()
        server.should_exit = True
        await task
        sock.close()


@dataclass
class App:
    """An application with our agent in it, as far as the wire can tell."""

    url: str
    service: str = "chat"
    token: str | None = None
    schema: str = field(default_factory=schema_hash)
    capabilities: AgentCapabilities = OURS
    refuses: str = ""
    silent: bool = False
    uid: uuid.UUID = field(default_factory=uuid.uuid4)
    offers: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        self.client = WebSocketClient(
            self.url + "/v1/opamp", self.uid.bytes, self.capabilities, self.on_event,
            headers=headers,
        )  # fmt: skip
        self.client.report(
            description=AgentDescription(
                {"service.name": self.service, "service.instance.id": str(self.uid)},
                {"host.name": "box", "process.pid": 7},
            ),
            health=Health(True, status="fine"),
            effective_config=self.effective({}),
            components=Components(b"c1", self.components()),
        )

    def components(self) -> Mapping[str, Component]:
        library = Component({"version": "1.0.7", "state": "on"})
        return {
            "settings": Component({"schema.hash": self.schema}),
            "instrumentors": Component({}, {"replicate": library}),
        }

    def effective(self, remote: Mapping[str, Any]) -> Mapping[str, ConfigFile]:
        document = as_document(build(merge({}, remote)))
        sources = {"capture.level": {"layer": "default", "since": 5.0}}
        return {
            "llm-observe": ConfigFile(json.dumps(document).encode(), "application/json"),
            "llm-observe.sources": ConfigFile(json.dumps(sources).encode(), "application/json"),
        }

    def on_event(self, event: events.ClientEvent) -> None:
        if not isinstance(event, events.ConfigOffered):
            return
        offer = json.loads(event.files["llm-observe"].body)
        self.offers.append(offer)
        if self.silent:
            return
        if self.refuses:
            status = ConfigStatus(event.config_hash, ConfigState.FAILED, self.refuses)
            self.client.report(config_status=status)
            return
        self.client.report(
            config_status=ConfigStatus(event.config_hash, ConfigState.APPLIED),
            effective_config=self.effective(offer),
        )

    async def __aenter__(self) -> App:
        self.client.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Say goodbye while the server's loop goes on."""
        await asyncio.to_thread(self.client.stop)


def record(**changes: Any) -> AgentRecord:
    """An agent of which little is known."""
    base: dict[str, Any] = {"uid": "u", "first_seen": 1.0, "last_seen": 1.0, "since": 1.0}
    return AgentRecord(**(base | changes))


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port
