"""Running the control plane: `serve` as a process, `create_app` below another ASGI server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from llm_observe.control.assembly import (
    OTLP_PORT,
    PORT,
    ControlPlane,
    ServeOptions,
    assembled,
    default_data_dir,
)
from llm_observe.control.rules.model import TokenKind
from llm_observe.errors import ControlError, LLMObserveError
from llm_observe.opamp.wire import MAX_MESSAGE_BYTES

_new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):  # not on every platform
    import uvloop

    _new_loop = uvloop.new_event_loop

__all__ = ["OTLP_PORT", "PORT", "ServeOptions", "create_app", "default_data_dir", "serve"]

GRACE_S = 5
"""How long open requests may go on after the signal to stop."""


COLLECT = (20_000, 20, 50)
"""How seldom garbage is looked for: what is known of thousands of agents is none. See docs/opamp.md."""


class PortTaken(ControlError):
    """Another program listens where we are to listen."""


def create_app(options: ServeOptions | None = None) -> ASGIApp:
    """The whole control plane as one ASGI application with a lifespan."""
    return _Application(options or ServeOptions())


class _Application:
    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._router = Router(lifespan=self._lifespan)
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inner: ASGIApp | None = self._router if scope["type"] == "lifespan" else self._app
        if inner is None:
            raise RuntimeError("the control plane needs its ASGI lifespan to have started")
        await inner(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        async with assembled(self._options) as plane:
            self._app = plane.app
            yield


def serve(options: ServeOptions) -> int:
    """Run until SIGINT or SIGTERM; the exit code.

    A line on stdout tells when it is ready and where. A taken port or a folder that cannot be
    used is a sentence on stderr and exit code 1.
    """
    gc.set_threshold(*COLLECT)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        with (
            contextlib.closing(Listening.open(options)) as listening,
            asyncio.Runner(loop_factory=_new_loop) as runner,
        ):
            return runner.run(_run(options, listening))
    except LLMObserveError as error:
        sys.stderr.write(f"llm-observe: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


@dataclass(frozen=True, slots=True)
class Listening:
    """The sockets, bound before anything else is opened."""

    main: socket.socket
    otlp: socket.socket | None

    @classmethod
    def open(cls, options: ServeOptions) -> Listening:
        """Bind both.

        Raises:
            PortTaken: Another program listens there, or the address is not ours.
        """
        main = _bound(options.host, options.port, "--port")
        if options.otlp_port is None:
            return cls(main, None)
        try:
            return cls(main, _bound(options.host, options.otlp_port, "--otlp-port"))
        except PortTaken:
            main.close()
            raise

    def close(self) -> None:
        """Give the addresses back."""
        self.main.close()
        if self.otlp is not None:
            self.otlp.close()


def _bound(host: str, port: int, option: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise PortTaken(f"cannot listen on {host}: {error.strerror}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise PortTaken(_why(host, port, option, error)) from error
    return sock


def _why(host: str, port: int, option: str, error: OSError) -> str:
    if error.errno == 98 or "in use" in str(error).lower():
        return f"port {port} on {host} is taken by another program; choose another with {option}"
    return f"cannot listen on port {port} of {host}: {error.strerror}"


class _Server(uvicorn.Server):
    """Uvicorn, but signals are ours, and it tells when it is ready."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        super().__init__(_config(app))
        self._sock = sock
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def run_here(self) -> None:
        await self.serve([self._sock])


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MAX_MESSAGE_BYTES + 1024,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_S,
    )


async def _run(options: ServeOptions, listening: Listening) -> int:
    async with assembled(options) as plane:
        made = await _first_tokens(plane)
        servers = [_Server(plane.app, listening.main)]
        if listening.otlp is not None:
            servers.append(_Server(plane.otlp, listening.otlp))
        stop = _stop_on_signals(servers)
        tasks = [asyncio.create_task(server.run_here()) for server in servers]
        await asyncio.gather(*(server.ready.wait() for server in servers))
        _say(_ready_line(options, listening), *made)
        await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
        await _wind_down(plane, servers, tasks)
    return 0


async def _wind_down(
    plane: ControlPlane, servers: list[_Server], tasks: list[asyncio.Task[None]]
) -> None:
    """Watchers end, agents are told, requests finish; then the files are closed."""
    plane.service.stopping()
    await plane.endpoint.close()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)


def _stop_on_signals(servers: list[_Server]) -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def stopping() -> None:
        if stop.done():  # the second time somebody is in a hurry
            for server in servers:
                server.force_exit = True
        else:
            stop.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping)
    return stop


async def _first_tokens(plane: ControlPlane) -> list[str]:
    """Beyond loopback nothing works without a token, so the first ones are made and shown once."""
    service, lines = plane.service, []
    for kind in TokenKind if not service.loopback else ():
        if not service.keyring.has(kind):
            token = await service.create_token(kind, f"first {kind}", "llm-observe serve")
            lines.append(f"{kind} token, shown only now: {token.value}")
    return lines


def _ready_line(options: ServeOptions, listening: Listening) -> str:
    otlp = f", OTLP/HTTP also on {_url(options, listening.otlp)}" if listening.otlp else ""
    return (
        f"llm-observe is ready on {_url(options, listening.main)}{otlp}; data in {options.data_dir}"
    )


def _url(options: ServeOptions, sock: socket.socket) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)  # noqa: S104  # not bound here
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{shown}:{sock.getsockname()[1]}"


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
