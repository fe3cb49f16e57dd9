"""What both sides of the benchmark talk to, in a process of its own.

    python benchmarks/backend.py

Replicate's API (`llm_observe.testing.FakeReplicate`), an OpenAI-compatible API, and an OTLP/HTTP
sink that counts. Prints its URL, then serves until its standard input ends. ``GET /exported`` says
what arrived since it was last asked.
"""

from __future__ import annotations

import gzip
import sys
from typing import Any

import answers
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from llm_observe.testing import FakeReplicate, OTLPSink, ScriptedEngine, serve_in_thread


class Sink:
    """An `OTLPSink` with a sum of what came."""

    def __init__(self) -> None:
        self._otlp = OTLPSink(limit=100_000)
        self._seen = 0
        self._logs = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == "/v1/logs":  # where some keep content
            await self._take_logs(scope, receive, send)
        else:
            await self._otlp({**scope, "path": path, "root_path": ""}, receive, send)

    async def _take_logs(self, scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        gzipped = Request(scope).headers.get("content-encoding") == "gzip"
        self._logs += gzip.decompress(body) if gzipped else body
        await Response(b"")(scope, receive, send)

    def exported(self) -> dict[str, Any]:
        """Counts of the trace requests since the last time."""
        requests = self._otlp.requests("traces")
        new, self._seen = requests[self._seen :], len(requests)
        spans = [
            span
            for request in new
            for resource in ExportTraceServiceRequest.FromString(request.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        body, logs = b"".join(request.body for request in new), self._logs
        self._logs = b""
        return {
            "spans": len(spans),
            "attributes": sum(map(_attributes, spans)),
            "bytes": len(body),
            "wire_bytes": sum(len(request.raw) for request in new),
            "log_bytes": len(logs),
            "prompts": (body + logs).count(b"canary-prompt"),
            "answers": (body + logs).count(b"canary-answer"),
        }


def _attributes(span: Any) -> int:
    return len(span.attributes) + sum(len(event.attributes) for event in span.events)


async def chat(request: Request) -> Response:
    """POST /openai/v1/chat/completions, whole or in pieces."""
    asked = await request.json()
    if asked.get("stream"):
        return StreamingResponse(iter([answers.openai_events()]), media_type="text/event-stream")
    return JSONResponse(answers.openai_answer())


def app() -> Starlette:
    """All of it."""
    sink = Sink()
    replicate = FakeReplicate(ScriptedEngine(["".join(answers.words())]))

    async def exported(request: Request) -> Response:
        return JSONResponse(sink.exported())

    return Starlette(
        routes=[
            Route("/openai/v1/chat/completions", chat, methods=["POST"]),
            Route("/exported", exported),
            Mount("/otlp", sink),
            Mount("/", replicate),
        ]
    )


def main() -> None:
    """Serve."""
    with serve_in_thread(app()) as served:
        print(served.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
