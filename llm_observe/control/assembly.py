"""The control plane as applications, assembled from its parts, all of them data.

`assembled` opens the data folder and gives the ASGI applications; `llm_observe.control.app` runs
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from llm_observe.control import probes
from llm_observe.control.access.auth import Border, is_local
from llm_observe.control.access.door import Door
from llm_observe.control.access.sessions import Sessions
from llm_observe.control.api.app import rest
from llm_observe.control.endpoint import Endpoint
from llm_observe.control.intake import IntakeApp
from llm_observe.control.service import Service
from llm_observe.control.ui import routes as pages
from llm_observe.errors import LLMObserveError, StoreError
from llm_observe.spanstore.model import Retention
from llm_observe.spanstore.sqlite import SpanStore
from llm_observe.statedir import default_root

PORT, OTLP_PORT = 4320, 4318
TIDY_S = 60.0

logger = logging.getLogger(__name__)


def default_data_dir() -> Path:
    """Where state is kept when nobody says otherwise."""
    return default_root() / "control-plane"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How the control plane is run.

    ``port`` and ``otlp_port`` 0 mean a free one; ``otlp_port`` None means none of its own.
    ``hosts``: further names that the server is reached by, as behind a proxy.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    otlp_port: int | None = OTLP_PORT
    data_dir: Path = field(default_factory=default_data_dir)
    hosts: tuple[str, ...] = ()
    retention: Retention = field(default_factory=Retention)
    heartbeat_s: float = 30.0
    log_level: str = "warning"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.host)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The parts of a running control plane. ``app``: everything; ``otlp``: OTLP/HTTP alone."""

    app: ASGIApp
    otlp: ASGIApp
    service: Service
    endpoint: Endpoint


@contextlib.asynccontextmanager
async def assembled(options: ServeOptions) -> AsyncIterator[ControlPlane]:
    """Open the data folder, and close it afterwards.

    Raises:
        StoreError: The folder cannot be used, or another control plane uses it.
    """
    prepare(options.data_dir)
    async with contextlib.AsyncExitStack() as stack:
        store = await asyncio.to_thread(SpanStore, options.data_dir / "spans.db", options.retention)
        stack.push_async_callback(asyncio.to_thread, store.close)
        service = await Service.open(options.data_dir, store, loopback=options.loopback)
        stack.push_async_callback(service.close)
        plane = _plane(options, service, store)
        plane.endpoint.start()
        stack.push_async_callback(plane.endpoint.close)
        stack.callback(service.stopping)
        tidying = asyncio.create_task(_tidy(service), name="control-tidy")
        stack.callback(tidying.cancel)
        yield plane


def prepare(data_dir: Path) -> None:
    """Make the data folder, for its owner only; one that is there keeps its mode, our files have theirs.

    Raises:
        StoreError: It cannot be made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"cannot use the folder {data_dir}: {error.strerror}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StoreError(f"cannot use the folder {data_dir}: not writable")


def _plane(options: ServeOptions, service: Service, store: SpanStore) -> ControlPlane:
    sessions = Sessions(service.keyring, service.clock)
    border = Border(service, sessions, _hosts(options))
    endpoint = Endpoint(service, border, heartbeat_s=options.heartbeat_s)
    probing, otlp = probes.routes(service), _otlp(service, store, border)
    everything: list[BaseRoute] = [
        *probing,
        Route("/v1/opamp", endpoint.server),
        WebSocketRoute("/v1/opamp", endpoint.server),
        *otlp,
        Mount("/api/v1", rest(service)),
        *pages(service, sessions=sessions),
    ]
    narrow = [*probing[:2], *otlp]
    return ControlPlane(_guarded(everything, border), _guarded(narrow, border), service, endpoint)


def _otlp(service: Service, store: SpanStore, border: Border) -> list[BaseRoute]:
    async def authorize(headers: Mapping[str, str]) -> int | None:
        return border.judge_ingest(headers)

    intake = IntakeApp(store, authorize, service.traces_changed)
    return [Route(path, intake) for path in ("/v1/traces", "/v1/metrics")]


def _guarded(routes: list[BaseRoute], border: Border) -> ASGIApp:
    return Door(Starlette(routes=routes), border)


def _hosts(options: ServeOptions) -> frozenset[str]:
    own = () if options.loopback else (options.host, socket.gethostname())
    return frozenset(name.lower() for name in (*options.hosts, *own))


async def _tidy(service: Service) -> None:
    while True:
        await asyncio.sleep(TIDY_S)
        try:
            await service.tidy()
        except LLMObserveError as error:
            logger.warning("ages were not written down: %s", error)
