"""A real small Llama behind Replicate's API, on this machine.

``python -m chatbot_app.local_llama --port 5320``

It listens on loopback only. A token is not asked for; requests that a web page of another origin
makes are refused.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chatbot_app.engine import (
    API_KEY_VARIABLE,
    Chosen,
    LlamaUnavailable,
    Wishes,
    choose,
    default_threads,
)
from llm_observe.testing.replicate import FakeReplicate, ServerLimits

HOST = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class LoopbackOnly:
    """Refuses requests that did not come for this address, or that a web page sent.

    A browser may be led to loopback by a name of somebody else's (its ``Host`` gives it away), or
    by a page that posts across origins (its ``Origin`` does).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through, or answer 403."""
        if scope["type"] == "http" and not _allowed(dict(scope["headers"])):
            refusal = PlainTextResponse("This server answers programs on this machine only.", 403)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _allowed(headers: dict[bytes, bytes]) -> bool:
    try:
        host = urlsplit("//" + headers.get(b"host", b"").decode("latin-1")).hostname
    except ValueError:
        return False
    return host in _LOOPBACK_NAMES and b"origin" not in headers


def parse(arguments: list[str] | None = None) -> tuple[int, Wishes]:
    """Read the command line: the port, and what should answer."""
    parser = argparse.ArgumentParser(
        prog="python -m chatbot_app.local_llama",
        description="A small Llama behind Replicate's API, on loopback. Use it with "
        "REPLICATE_BASE_URL=http://127.0.0.1:5320.",
    )
    parser.add_argument("--port", type=int, default=5320, help="default: %(default)s; 0: any free")
    parser.add_argument(
        "--threads", type=int, default=default_threads(), help="default: %(default)s"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--scripted", action="store_true", help="no model: scripted text")
    what.add_argument("--model", type=Path, metavar="PATH.gguf", help="another model's GGUF file")
    what.add_argument(
        "--openai-url",
        metavar="URL",
        help=f"an OpenAI-compatible server answers (its key: {API_KEY_VARIABLE})",
    )
    parser.add_argument("--openai-model", metavar="NAME", default="default")
    given = parser.parse_args(arguments)
    _check(parser, given)
    wishes = Wishes(
        threads=given.threads,
        scripted=given.scripted,
        model=given.model,
        openai_url=given.openai_url,
        openai_model=given.openai_model,
    )
    return given.port, wishes


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    if not 0 <= given.port <= 65535:
        parser.error(f"--port: found {given.port}, expected 0 to 65535")
    if not 1 <= given.threads <= 256:
        parser.error(f"--threads: found {given.threads}, expected 1 to 256")
    if given.openai_url and urlsplit(given.openai_url).scheme not in ("http", "https"):
        parser.error("--openai-url: expected a URL with http or https")


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM. The exit code: 0 after those, 1 where it cannot start."""
    port, wishes = parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        with _bound(port) as listener:
            return _run(listener, choose(wishes, _say), wishes)
    except LlamaUnavailable as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"port {port} on {HOST} cannot be used: {error.strerror or error}")


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Before the server runs: end at once."""
    raise SystemExit(0)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a program that speaks to its user


def _fail(sentence: str) -> int:
    print(f"The local Llama cannot start: {sentence}.", file=sys.stderr, flush=True)  # noqa: T201  # as above
    return 1


def _bound(port: int) -> socket.socket:
    """Take the port now, so that a taken one is known before anything is fetched."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


def _run(listener: socket.socket, chosen: Chosen, wishes: Wishes) -> int:
    try:
        listener.listen(256)
        server = _server(chosen)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        _say(_ready(listener.getsockname()[1], chosen, wishes))
        server.run(sockets=[listener])
    finally:
        chosen.close()
    return 0


def _server(chosen: Chosen) -> uvicorn.Server:
    limits = ServerLimits(predictions=500, running=32)
    app = LoopbackOnly(FakeReplicate(chosen.engine, limits=limits, cancel_on_disconnect=True))
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
            limit_concurrency=256,
        )
    )


def _ready(port: int, chosen: Chosen, wishes: Wishes) -> str:
    engine = chosen.engine
    what = engine.name if engine.real else "scripted text, no model"
    how = f"{engine.reason}" if engine.reason else f"{wishes.threads} thread(s)"
    return f"Local Llama ready at http://{HOST}:{port} ({what}: {how}). Ctrl-C stops it."


if __name__ == "__main__":
    sys.exit(main())
