"""An HTTP server that answers as a test tells it to, and remembers what it was sent."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llm_observe.opamp._pb import opamp_pb2
from tests.opamp.io.peers import DEADLINE_S

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@dataclass
class Request:
    """What arrived."""

    number: int
    headers: Mapping[str, str]
    body: bytes
    message: opamp_pb2.AgentToServer


@dataclass
class Answer:
    """What goes back; ``raw`` closes the connection after those bytes instead."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: PROTOBUF)
    body: bytes = b""
    raw: bytes | None = None


def reply(request: Request, **content: Any) -> Answer:
    """A proper answer."""
    message = opamp_pb2.ServerToAgent(instance_uid=request.message.instance_uid, **content)
    return Answer(body=message.SerializeToString())


Script = Callable[[Request], Answer]


class HTTPPeer:
    """Requests, in order; answers come from ``script``."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    def take(self, headers: Mapping[str, str], body: bytes) -> Answer:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            data = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
            message = opamp_pb2.AgentToServer.FromString(data)
            request = Request(len(self.requests), headers, body, message)
            self.requests.append(request)
        try:
            return self.script(request)
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def http_peer(
    script: Script, context: ssl.SSLContext | None = None
) -> Iterator[tuple[HTTPPeer, str]]:
    peer = HTTPPeer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = peer.take(dict(self.headers), body)
            if answer.raw is not None:
                self.wfile.write(answer.raw)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that leaves in the middle is part of the play

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield peer, f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(DEADLINE_S)
