"""What a worker needs to send: rendering, OTLP bytes, connections. Heavy: loaded through `late`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource

from llm_observe.conventions import NEWEST, GenAI
from llm_observe.settings.model import CaptureLevel, Destination
from llm_observe.tracing.export import otlp
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.present import present
from llm_observe.tracing.export.target import Signal, target_of
from llm_observe.tracing.export.transport import Transport
from llm_observe.tracing.export.verdict import Answer


class Backend:
    """Belongs to one thread."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._transport = Transport(environ)

    def pack(
        self,
        signal: Signal,
        batch: Sequence[Any],
        level: CaptureLevel,
        resource: Resource,
        genai: GenAI = NEWEST,
    ) -> bytes:
        """A batch as one OTLP request. Metric payloads are requests already.

        Requests may be joined end to end, because they have nothing but one repeated field
        (Protocol Buffers encoding, "Last One Wins").
        """
        if signal == "metrics":
            return b"".join(batch)
        return otlp.traces([present(entry, level, resource, genai) for entry in batch])

    def post(
        self,
        signal: Signal,
        destination: Destination,
        body: bytes,
        headers: Mapping[str, str],
        exchange: Exchange,
    ) -> Answer:
        """Send a request; its answer or the reason why there is none."""
        return self._transport.post(
            target_of(destination).url(signal),
            body,
            headers,
            compress=destination.compression == "gzip",
            timeout_s=destination.timeout_s,
            exchange=exchange,
        )

    def rejected(self, signal: Signal, answer: Answer) -> int:
        """What a successful answer refused all the same."""
        return otlp.rejected(signal, answer.body) if answer.body else 0

    def nothing(self) -> bytes:
        """An empty request."""
        return otlp.nothing()

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()
