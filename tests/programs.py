"""What the tests of doors need: Replicate's API and an OTLP sink on loopback, and programs to run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llm_observe.testing import FakeReplicate, OTLPSink, ScriptedEngine, serve_in_thread

LONG_S = 60.0
MODEL = "meta/llama-2-7b-chat"

CALL = f"""
import replicate
print("".join(map(str, replicate.run("{MODEL}", input={{"prompt": "the-launch-code"}}))))
"""
"""A program that makes one call, and was not written for us."""

_OURS = ("LLM_OBSERVE_", "OTEL_", "PYTHONPATH", "PHOENIX_")


@dataclass(frozen=True)
class World:
    """Where the programs live: what they call, and where their spans arrive."""

    folder: Path
    replicate: str
    sink: OTLPSink
    otlp: str

    def environ(self, **more: str) -> dict[str, str]:
        """A plain environment, in which the API and the sink are known."""
        plain = {key: text for key, text in os.environ.items() if not key.startswith(_OURS)}
        return {
            **plain,
            "REPLICATE_BASE_URL": self.replicate,
            "REPLICATE_API_TOKEN": "r8",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp,
            **more,
        }

    def write(self, name: str, text: str) -> Path:
        """A file beside the programs."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """``llm-observe run`` with these words."""
        return self.plain(*RUN, *argv, **more)

    def plain(
        self, *argv: str, env: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """A program by itself."""
        options = {"capture_output": True, "text": True, "timeout": LONG_S, "check": False}
        given = self.environ() | (env or {})
        return subprocess.run(argv, cwd=self.folder, env=given, **(options | more))

    def services(self) -> list[str]:
        """The service of every span that arrived, sorted."""
        return sorted(
            attribute.value.string_value
            for request in self.sink.requests("traces")
            if isinstance(request.message, ExportTraceServiceRequest)
            for resource in request.message.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
            for scope in resource.scope_spans
            for _ in scope.spans
        )


RUN: Sequence[str] = (
    sys.executable, "-c", "from llm_observe.cli.start import main; main()", "run"
)  # fmt: skip
"""The command, whatever an installer wrote into the environment."""


@contextmanager
def servers() -> Iterator[tuple[str, OTLPSink, str]]:
    """Replicate's API and the sink, for as long as the block."""
    sink = OTLPSink()
    api = FakeReplicate(ScriptedEngine(["Hello you."]))
    with serve_in_thread(api) as replicate, serve_in_thread(sink) as otlp:
        yield replicate.url, sink, otlp.url
