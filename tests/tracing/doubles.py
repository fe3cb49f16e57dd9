"""A recorder that keeps what it is given, and Replicate's API in a function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import Span
from replicate.client import Client

from llm_observe.tracing.call import Call
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import instrument, patch

WORDS = ["Llamas ", "live ", "in ", "Peru", "."]
METRICS = {"input_token_count": 7, "output_token_count": 5, "predict_time": 0.5}


class KeepingRecorder:
    """Implements `patch.Recorder` on a real SDK provider; ``started`` counts starts."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.started = 0
        self.calls: list[Call] = []

    def start(self, call: Call, context: Context | None = None) -> Span:
        self.started += 1
        tracer = self.tracer_provider.get_tracer("test")
        return tracer.start_span(call.name, context, start_time=call.start_ns)

    def finish(self, span: Span, call: Call) -> None:
        span.end(call.end_ns)
        self.calls.append(call)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def call(self) -> Call:
        """The only call, whose span was started and ended once."""
        assert (self.started, len(self.calls)) == (1, 1)
        self.calls[0].settle()
        return self.calls[0]


@dataclass
class ReplicateAPI:
    """Answers the requests of the real client. ``requests`` holds what it asked."""

    words: list[str] = field(default_factory=lambda: list(WORDS))
    status: str = "succeeded"
    create_status: int = 201
    iterator: bool = True
    polls: int = 0
    """Polls that are answered ``processing`` before the end."""
    stream_error_after: int | None = None
    done: dict[str, Any] = field(default_factory=dict)
    reload_status: int = 200
    output: Any = None
    """Overrides the words."""
    metrics: dict[str, Any] = field(default_factory=lambda: dict(METRICS))
    error_logs: str = "loading\nCUDA error while reading: Where do llamas live?"
    create_fault: Exception | None = None
    version: str = "v1"
    early: bool = False
    """A blocking request is answered with the whole output while it still says ``processing``."""
    requests: list[httpx.Request] = field(default_factory=list)
    created: int = 0

    def client(self, **options: Any) -> Client:
        transport = httpx.MockTransport(self.answer)
        client = Client("token", transport=transport, **options)
        client.poll_interval = 0.0
        return client

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        if path.endswith("/predictions") and request.method == "POST":
            return self._create(request)
        if path.endswith("/cancel"):
            self.status, self.polls = "canceled", 0
            return self._poll(path.split("/")[-2])
        if "/versions/" in path:
            return httpx.Response(200, json=self._version())
        if path.startswith("/stream/"):
            return httpx.Response(
                200, headers={"content-type": "text/event-stream"}, content=b"".join(self.events())
            )
        return self._poll(path.rpartition("/")[2])

    def paths(self, method: str) -> list[str]:
        return [r.url.path for r in self.requests if r.method == method]

    def events(self) -> Iterator[bytes]:
        for number, word in enumerate(self.words):
            if number == self.stream_error_after:
                yield b"event: error\nid: e\ndata: the machine is gone\n\n"
                return
            yield f"event: output\nid: {number}\ndata: {word}\n\n".encode()
        yield b"event: logs\nid: l\ndata: some log\n\n"
        yield f"event: done\nid: d\ndata: {json.dumps(self.done)}\n\n".encode()

    def _create(self, request: httpx.Request) -> httpx.Response:
        if self.create_status != 201:
            problem = {"title": "Unauthenticated", "detail": "no token", "status": 401}
            return httpx.Response(self.create_status, json=problem)
        if self.create_fault is not None:
            raise self.create_fault
        self.created += 1
        waits = "prefer" in request.headers and not self.polls
        status = self.status if waits else "starting"
        made = self._prediction(status, f"pred-{self.created}")
        if self.early:
            made |= {"status": "processing", "metrics": None, "started_at": None}
        return httpx.Response(201, json=made)

    def _poll(self, name: str) -> httpx.Response:
        if self.reload_status != 200:
            return httpx.Response(self.reload_status, json={})
        self.polls -= 1
        status = self.status if self.polls < 0 else "processing"
        return httpx.Response(200, json=self._prediction(status, name))

    def _prediction(self, status: str, name: str) -> dict[str, Any]:
        ended = status in ("succeeded", "failed", "canceled")
        output = self.words if self.output is None else self.output
        half = self.words[: len(self.words) // 2]
        return {
            "id": name,
            "model": "meta/llama-2-7b-chat",
            "version": self.version,
            "status": status,
            "input": {},
            "output": output if ended else (half if status == "processing" else None),
            "error": "out of memory" if status == "failed" else None,
            "metrics": self.metrics if ended else None,
            "created_at": "2026-01-01T00:00:00.000Z",
            "started_at": "2026-01-01T00:00:01.500Z" if ended else None,
            "logs": self.error_logs if status == "failed" else "",
            "urls": {"stream": f"https://stream.test/stream/{name}", "get": "https://x.test/"},
        }

    def _version(self) -> dict[str, Any]:
        output: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
        if self.iterator:
            output["x-cog-array-type"] = "iterator"
        return {
            "id": "v1",
            "created_at": "2026-01-01T00:00:00.000Z",
            "cog_version": "0.9.0",
            "openapi_schema": {"components": {"schemas": {"Output": output}}},
        }


MODEL = "meta/llama-2-7b-chat"
PROMPT = {"prompt": "Where do llamas live?", "temperature": 0.7, "max_new_tokens": 64}


class instrumented:
    """The wrappers on, this recorder behind them, and no fault of ours hidden."""

    def __init__(self, recorder: KeepingRecorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        gate.reraise = True
        patch.connect(self.recorder)
        instrument.install()

    def __exit__(self, *_: object) -> None:
        instrument.uninstall()
        patch.connect(None)
        gate.reraise = False
