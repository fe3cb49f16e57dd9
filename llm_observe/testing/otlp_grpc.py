"""A sink for OTLP over gRPC: a real server that records what it gets, and misbehaves when told to.

::

    sink = OTLPGrpcSink()
    with serve_grpc(sink) as server:
        ...  # export to server.url, protocol grpc
        sink.wait_for(lambda: len(sink.spans()) == 3)

The same face as `llm_observe.testing.OTLPSink`: ``Answer(code="UNAVAILABLE")`` refuses, ``hang``
hangs, ``retry_after_s`` adds a RetryInfo, ``rejected`` is a partial success.

Source: OTLP specification 1.x, "OTLP/gRPC".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from llm_observe.testing.otlp_ledger import Answer, Ledger, ReceivedRequest, decoded, response
from llm_observe.testing.serving import Served

_SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
}
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_THREADS = 16
_GRACE_S = 1.0

Context = grpc.ServicerContext


class OTLPGrpcSink(Ledger):
    """Takes OTLP/gRPC traces and metrics and keeps them.

    Args:
        limit: Most requests kept; the oldest go first. Counts go on.
        most_bytes: Largest request; beyond it gRPC itself answers RESOURCE_EXHAUSTED. The default
            is that of most servers.

    At most 16 requests at a time are in hand, hanging ones included.
    """

    def __init__(self, *, limit: int = 10_000, most_bytes: int = 4 * 1024 * 1024) -> None:
        super().__init__(limit)
        self.most_bytes = most_bytes

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The services, for a `grpc.Server` of your own."""
        return tuple(self._handler(service) for service in _SERVICES)

    def _handler(self, service: str) -> grpc.GenericRpcHandler:
        def export(body: bytes, context: Context) -> bytes:
            return self._export(f"/{service}/Export", _SERVICES[service], body, context)

        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(service, {"Export": method})

    def _export(self, path: str, signal: str, body: bytes, context: Context) -> bytes:
        free = threading.Event()
        context.add_callback(free.set)
        received = ReceivedRequest(
            signal=signal,
            path=path,
            headers={key: _text(value) for key, value in context.invocation_metadata()},
            raw=body,
            body=body,
            message=decoded(signal, body),
            answer=self._next_answer(),
            peer=context.peer(),
        )
        with self._received(received, free.set):
            _wait(received.answer, free)
            if not context.is_active():
                self._left(received)
            return _answered(received, context)


@contextmanager
def serve_grpc(
    sink: OTLPGrpcSink, *, port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> Iterator[Served]:
    """Serve the sink by a real gRPC server on loopback, for the length of a ``with`` block.

    Args:
        sink: What takes the requests.
        port: 0 takes a free one.
        credentials: For TLS (`grpc.ssl_server_credentials`); the URL is then ``https``.

    Raises:
        RuntimeError: The port is taken.
    """
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="llm-observe-testing-grpc")
    server = grpc.server(
        threads,
        handlers=[*sink.handlers()],
        options=(("grpc.max_receive_message_length", sink.most_bytes), ("grpc.so_reuseport", 0)),
    )
    try:
        address = f"127.0.0.1:{port}"
        plain = credentials is None
        taken = (
            server.add_insecure_port(address)
            if credentials is None
            else server.add_secure_port(address, credentials)
        )
        server.start()
        yield Served(url=f"{'http' if plain else 'https'}://127.0.0.1:{taken}", port=taken)
    finally:
        sink.release()
        server.stop(_GRACE_S).wait()
        threads.shutdown()


def _wait(answer: Answer, free: threading.Event) -> None:
    if answer.delay_s:
        free.wait(answer.delay_s)
    if answer.hang:
        free.wait()


def _answered(received: ReceivedRequest, context: Context) -> bytes:
    answer = received.answer
    if answer.cut:
        context.cancel()
        return b""
    code = answer.code or ("OK" if answer.accepts else _CODES.get(answer.status, "UNKNOWN"))
    if code != "OK":
        _refuse(grpc.StatusCode[code], answer, context)
    if received.message is None:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an OTLP request")
    return response(received.signal, answer)


def _refuse(code: grpc.StatusCode, answer: Answer, context: Context) -> NoReturn:
    if answer.retry_after_s is not None:
        context.set_trailing_metadata((("grpc-status-details-bin", _details(code, answer)),))
    context.abort(code, "told to refuse")


def _details(code: grpc.StatusCode, answer: Answer) -> bytes:
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=answer.retry_after_s)))
    number: int = code.value[0]
    status = Status(code=number, message="told to refuse", details=[detail])
    return bytes(status.SerializeToString())


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
