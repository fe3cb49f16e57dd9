"""One unary call at a time over gRPC channels that can be ended from another thread.

OpenTelemetry's own exporter class retries by itself, keeps its results to itself and cannot be
interrupted; so the channel is used directly, with the services of OpenTelemetry's generated
descriptors. A request is bytes already, so nothing is encoded twice.

After a call that brought no answer its channel is closed. Its successor connects at once, where
the old one would keep failing for as long as gRPC's own back-off lasts: the worker alone decides
when to try again. Heavy (gRPC): loaded through `llm_observe.tracing.export.late`, and only where a
destination has this protocol.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from llm_observe.settings.model import Destination
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.forked import grpc_is_broken
from llm_observe.tracing.export.grpc_answers import NO_ANSWER, refusal
from llm_observe.tracing.export.grpc_channels import Channels, ChannelWire
from llm_observe.tracing.export.proxies import blame_proxy
from llm_observe.tracing.export.route import route_to
from llm_observe.tracing.export.target import Signal, target_of
from llm_observe.tracing.export.verdict import OK, Answer

METHODS: dict[Signal, str] = {
    "traces": f"/{trace_service_pb2.DESCRIPTOR.services_by_name['TraceService'].full_name}/Export",
    "metrics": f"/{metrics_service_pb2.DESCRIPTOR.services_by_name['MetricsService'].full_name}/Export",
}
"""Full method name per signal."""

_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
_BROKEN = "gRPC does not survive a fork while GRPC_ENABLE_FORK_SUPPORT is off"


class GrpcTransport:
    """The calls of one worker. Not for use by two threads at once."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._channels = Channels()

    def post(
        self,
        destination: Destination,
        signal: Signal,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Send one OTLP request and read its answer; never raises for what the network does.

        The destination's time limit bounds the whole, connecting included.

        Raises:
            KeyFault: A key of the destination cannot be used. Nothing was sent.
        """
        url = target_of(destination).url(signal)
        problem = self._unusable(url)
        if problem:
            return Answer(0, problem)
        channel = self._channels.to(route_to(url, destination, self._environ))
        try:
            answer = _call(channel, destination, METHODS[signal], body, headers, exchange)
        except grpc.RpcError as error:
            refused = refusal(cast("Any", error), destination.timeout_s)
            answer = blame_proxy(refused, destination)
        except (OSError, ValueError) as error:
            answer = Answer(0, _local(error))
        finally:
            exchange.close()
        return self._after(answer, exchange)

    def close(self) -> None:
        """Close all channels."""
        self._channels.close()

    def _unusable(self, url: str) -> str:
        if grpc_is_broken(self._environ):
            return _BROKEN
        return "an endpoint for gRPC has no path" if urlsplit(url).path else ""

    def _after(self, answer: Answer, exchange: Exchange) -> Answer:
        """A connection is kept only while the other side answers on it."""
        if exchange.aborted or answer.code in NO_ANSWER:
            self._channels.close()
        return Answer(0, "aborted") if exchange.aborted and not answer.succeeded else answer


def _call(
    channel: tuple[grpc.Channel, ChannelWire],
    destination: Destination,
    method: str,
    body: bytes,
    headers: Mapping[str, str],
    exchange: Exchange,
) -> Answer:
    exchange.opened(channel[1])
    method_of: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel[0].unary_unary(method)
    answer, _ = method_of.with_call(
        body,
        timeout=destination.timeout_s,
        metadata=tuple(headers.items()),
        compression=_COMPRESSION[destination.compression],
    )
    return Answer(0, code=OK, body=answer)


def _local(error: Exception) -> str:
    """What went wrong on this side, without the words of gRPC, which may quote metadata."""
    if isinstance(error, OSError):
        file = f" ({error.filename})" if error.filename else ""
        return f"{(error.strerror or type(error).__name__).lower()}{file}"
    return "a call that gRPC refuses to make"
