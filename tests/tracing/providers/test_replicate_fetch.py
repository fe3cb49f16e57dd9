"""Numbers that only the server knows, fetched after the call in every state of the app's client."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from replicate.client import Client

from llm_observe.tracing.providers import replicate_fetch
from llm_observe.tracing.providers.replicate_fetch import Unreachable, fetch
from tests.tracing.doubles import MODEL, PROMPT, KeepingRecorder, ReplicateAPI


class Server:
    """Answers every GET with a body, and remembers who asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b'{"id": "p", "status": "succeeded"}'
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers["authorization"]))
            self.send_response(made.status)
            self.send_header("content-length", str(len(made.body)))
            self.send_header("location", "/elsewhere")
            self.end_headers()
            self.wfile.write(made.body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the test reads ``asked``."""

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield made
    listening.shutdown()
    thread.join(30)
    listening.server_close()


ASKED = [("/v1/predictions/p", "Bearer secret")]


@contextmanager
def synchronous(url: str, **options: Any) -> Iterator[Client]:
    client = Client("secret", base_url=url, **options)
    with client._client:
        yield client


def test_it_goes_through_the_apps_own_client(server: Server) -> None:
    with synchronous(server.url) as client:
        assert fetch(client, "p")["status"] == "succeeded"
    assert server.asked == ASKED


def test_after_the_app_closed_its_client_it_goes_alone(server: Server) -> None:
    with synchronous(server.url) as client:
        client._client.close()
        assert fetch(client, "p")["status"] == "succeeded"
        assert client._client.is_closed
    assert server.asked == ASKED


def test_of_an_asynchronous_client_it_touches_nothing(server: Server) -> None:
    client = Client("secret", base_url=server.url)
    http = client._async_client
    assert fetch(client, "p")["status"] == "succeeded"
    assert server.asked == ASKED
    assert vars(client).get("_Client__client") is None
    asyncio.run(http.aclose())


@pytest.mark.parametrize(
    "options", [{"verify": ssl.create_default_context()}, {"auth": ("a", "b")}]
)
def test_around_a_special_client_it_never_goes(server: Server, options: dict[str, Any]) -> None:
    with synchronous(server.url, **options) as client:
        client._client.close()
        with pytest.raises(Unreachable, match=next(iter(options))):
            fetch(client, "p")
    assert server.asked == []


def test_around_a_transport_of_the_apps_own_it_never_goes(server: Server) -> None:
    class Own(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise AssertionError

    client = Client("secret", base_url=server.url, transport=Own())
    asyncio.run(client._async_client.aclose())
    with pytest.raises(Unreachable, match="transport"):
        fetch(client, "p")
    assert server.asked == []


def test_a_client_that_never_connected_is_left_alone() -> None:
    with pytest.raises(Unreachable, match="no connection"):
        fetch(Client("secret"), "p")


@pytest.mark.parametrize("status", [302, 404, 429, 503])
def test_another_answer_than_200_is_an_error_after_one_request(server: Server, status: int) -> None:
    server.status = status
    with synchronous(server.url) as client, pytest.raises(OSError, match=str(status)):
        fetch(client, "p")
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]"])
def test_nonsense_is_an_error(server: Server, body: bytes) -> None:
    server.body = body
    with synchronous(server.url) as client, pytest.raises((ValueError, TypeError)):
        fetch(client, "p")


def test_an_endless_answer_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate_fetch, "MAX_BYTES", 1000)
    server.body = json.dumps({"output": "x" * 2000}).encode()
    with synchronous(server.url) as client, pytest.raises(OSError, match="too large"):
        fetch(client, "p")


def test_a_slow_answer_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicate_fetch, "TIMEOUT_S", -1.0)
    with synchronous(server.url) as client, pytest.raises(OSError, match="too slow"):
        replicate_fetch._bounded_body(client._client.get("/x"))


def test_an_asynchronous_stream_gets_its_numbers_too(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI()

    async def read(client: Client) -> None:
        _ = [event async for event in await client.async_stream(MODEL, input=PROMPT)]

    asyncio.run(read(api.client()))
    call = recorder.call
    assert call.completion is not None
    call.completion()
    assert (call.input_tokens, call.output_tokens, call.tokens_estimated) == (7, 5, False)


def test_an_answer_that_came_before_its_numbers_gets_them(recorder: KeepingRecorder) -> None:
    """The server may answer a blocking request while it still says ``processing``."""
    api = ReplicateAPI(early=True)
    assert api.client().run(MODEL, input=PROMPT, wait=True) == api.words
    call = recorder.call
    assert (call.output_tokens, call.tokens_estimated) == (5, True)
    assert call.completion is not None
    call.completion()
    assert (call.output_tokens, call.tokens_estimated, call.finish_reason) == (5, False, "stop")
