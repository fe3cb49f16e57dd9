"""What a worker needs to send: rendering, OTLP bytes, connections. Heavy: loaded through `late`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from opentelemetry.sdk.resources import Resource

from llm_observe.conventions import NEWEST, GenAI
from llm_observe.settings.model import Destination
from llm_observe.tracing.export import late, otlp
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.present import present_all
from llm_observe.tracing.export.target import Signal
from llm_observe.tracing.export.transport import Transport
from llm_observe.tracing.export.verdict import Answer
from llm_observe.tracing.rendering.privacy import Privacy

_GRPC = "llm_observe.tracing.export.grpc_transport"
_LOCAL = "llm_observe.tracing.export.local_sinks"
_VERBOSITY = "GRPC_VERBOSITY"


class Sender(Protocol):
    """A transport of OTLP requests."""

    def post(
        self,
        destination: Destination,
        signal: Signal,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Send a request; its answer or the reason why there is none. Never raises for the network.

        Raises:
            KeyFault: A key of the destination cannot be used. Nothing was sent.
        """

    def close(self) -> None:
        """Close idle connections."""


class Backend:
    """Belongs to one thread. Loads a transport when a destination wants it first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._senders: dict[str, Sender] = {}

    def pack(
        self,
        signal: Signal,
        batch: Sequence[Any],
        privacy: Privacy,
        resource: Resource,
        genai: GenAI = NEWEST,
    ) -> bytes:
        """A batch as one OTLP request. Metric payloads are requests already.

        Requests may be joined end to end, because they have nothing but one repeated field
        (Protocol Buffers encoding, "Last One Wins").
        """
        if signal == "metrics":
            return b"".join(batch)
        return otlp.traces(present_all(batch, privacy, resource, genai))

    def post(
        self,
        signal: Signal,
        destination: Destination,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Send a request; its answer or the reason why there is none."""
        try:
            sender = self._sender(destination.protocol)
            return sender.post(destination, signal, body, headers, exchange)
        except KeyFault as fault:
            return Answer(0, str(fault), fault=fault)

    def rejected(self, signal: Signal, answer: Answer) -> int:
        """What a successful answer refused all the same."""
        return otlp.rejected(signal, answer.body) if answer.body else 0

    def nothing(self) -> bytes:
        """An empty request."""
        return otlp.nothing()

    def close(self) -> None:
        """Close idle connections."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()

    def _sender(self, protocol: str) -> Sender:
        if protocol not in self._senders:
            self.close()  # the destination has changed its protocol
            self._senders[protocol] = _MAKERS[protocol](self._environ)
        return self._senders[protocol]


def _grpc(environ: Mapping[str, str]) -> Sender:
    with _silently():
        sender: Sender = late.load(_GRPC).GrpcTransport(environ)
    return sender


@contextmanager
def _silently() -> Iterator[None]:
    """gRPC writes notes to the application's standard error, unless told not to when it is loaded."""
    if "grpc" in sys.modules or _VERBOSITY in os.environ:
        yield
        return
    os.environ[_VERBOSITY] = "ERROR"
    try:
        yield
    finally:
        os.environ.pop(_VERBOSITY, None)


def _local(name: str) -> Callable[[Mapping[str, str]], Sender]:
    def make(_: Mapping[str, str]) -> Sender:
        sender: Sender = getattr(late.load(_LOCAL), name)()
        return sender

    return make


_MAKERS: dict[str, Callable[[Mapping[str, str]], Sender]] = {
    "http/protobuf": Transport,
    "grpc": _grpc,
    "file": _local("FileSink"),
    "console": _local("Console"),
}
