"""A real OTLP/HTTP receiver on loopback that can also misbehave in every way we care about."""

from __future__ import annotations

import gzip
import select
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Reply:
    """How one request is answered."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    """Read the request, then answer only once the sink is released."""
    close: bool = False
    """Close the connection without an answer."""


@dataclass(frozen=True)
class Request:
    """What arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None

    @property
    def spans(self) -> list[Span]:
        if not self.path.endswith("/v1/traces"):
            return []
        request = ExportTraceServiceRequest.FromString(self.body)
        return [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]


class Sink:
    """Counts what arrives. ``plan(path)`` decides each answer; by default all is well."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.replies: dict[str, Reply] = {}
        self.script: list[Reply] = []
        self.requests: list[Request] = []
        self.limit = 0
        """Bodies above this size are answered with 413."""
        self.poison = b""
        """Bodies that hold this are answered with 500."""
        self.drip = False
        """Send one byte of the answer every now and then."""
        self.connections: set[object] = set()
        self.arrived = threading.Condition()
        self.released = threading.Event()
        self.hung_up = threading.Event()
        """A client gave up a request that was left hanging."""
        self.url = ""

    def next_reply(self, path: str, body: bytes) -> Reply:
        if 0 < self.limit < len(body):
            return Reply(413)
        if self.poison and self.poison in body:
            return Reply(500)
        with self.arrived:
            if self.script:
                return self.script.pop(0)
        return self.replies.get(path, self.reply)

    def record(self, request: Request) -> None:
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()

    def wait(self, count: int, path: str = "/v1/traces") -> list[Request]:
        """The first ``count`` requests to a path, once they are there."""
        with self.arrived:
            enough = self.arrived.wait_for(lambda: len(self.to(path)) >= count, PATIENCE_S)
            assert enough, f"{len(self.to(path))} of {count} requests to {path} arrived"
            return self.to(path)

    def to(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    @property
    def spans(self) -> list[Span]:
        return [span for request in [*self.requests] for span in request.spans]

    @property
    def accepted(self) -> Counter[bytes]:
        """Span ids of requests that were answered with success, with how often they came."""
        good = [r for r in [*self.requests] if r.status is not None and r.status < 300]
        return Counter(span.span_id for request in good for span in request.spans)

    @property
    def metrics(self) -> list[Any]:
        """All metric data points, as (name, point)."""
        points = []
        for request in self.to("/v1/metrics"):
            for resource in ExportMetricsServiceRequest.FromString(request.body).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        points += [(metric.name, p) for p in metric.histogram.data_points]
        return points

    @property
    def bytes(self) -> bytes:
        """Everything that ever arrived, decompressed."""
        return b"".join(request.body for request in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sink: Sink

    def do_POST(self) -> None:
        try:
            self._post()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _post(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        reply = self.sink.next_reply(self.path, body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.sink.connections.add(self.client_address)
        status = None if reply.hang or reply.close else reply.status
        self.sink.record(Request(self.path, headers, body, status))
        if reply.hang:
            self._hang()
        if self.sink.drip:
            self._drip()
        if reply.close:
            self.close_connection = True
            return
        self._answer(reply)

    def _hang(self) -> None:
        deadline = time.monotonic() + 5 * PATIENCE_S
        while not self.sink.released.wait(0.01) and time.monotonic() < deadline:
            if select.select([self.connection], [], [], 0)[
                0
            ]:  # nothing more was due: it is the end
                self.sink.hung_up.set()
                raise ConnectionError

    def _drip(self) -> None:
        answer = b"HTTP/1.1" + b" " * 2000
        try:
            for number in range(len(answer)):
                self.wfile.write(answer[number : number + 1])
                if self.sink.released.wait(0.02):
                    break
        finally:
            self.sink.hung_up.set()

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that goes away is what some tests are about."""


@contextmanager
def running_sink(tls: ssl.SSLContext | None = None) -> Iterator[Sink]:
    sink = Sink()
    handler = type("Handler", (_Handler,), {"sink": sink})
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    sink.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.released.set()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)
