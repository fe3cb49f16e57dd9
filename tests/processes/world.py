"""Everything that an observed program talks to, real: Replicate, an OTLP sink, an OpAMP server.

What was asked of Replicate is what must have become spans: each question once, under the name of
the process that asked it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llm_observe.opamp import ConfigFile, ConfigState, ServerCapabilities, events
from llm_observe.opamp.io.asgi import AgentLink, OpAMPServer
from llm_observe.settings.documents import document_hash
from llm_observe.testing import (
    FakeReplicate,
    GenerationRequest,
    OTLPSink,
    ScriptedEngine,
    serve_in_thread,
)
from tests.e2e.harness import DEADLINE_S
from tests.opamp.io.serving import serving

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).with_name("programs")
UNOBSERVED = "unobserved"
"""A word of questions that must not become spans."""

PATIENT = "600000"
"""Milliseconds that a span waits for company: only a flush sends it within a test."""


class Fleet:
    """An OpAMP server's host: offers one fragment to everybody, and remembers what was said."""

    def __init__(self, heartbeat_s: float) -> None:
        capabilities = (
            ServerCapabilities.OFFERS_REMOTE_CONFIG | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
        )
        self.server = OpAMPServer(self, capabilities=capabilities, heartbeat_s=heartbeat_s)
        self.gone: set[str] = set()
        self._links: dict[str, AgentLink] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offer: tuple[dict[str, ConfigFile], bytes] | None = None

    async def authenticate(
        self, headers: Mapping[str, str], client: tuple[str, int] | None
    ) -> int | None:
        return None

    async def on_event(self, agent: AgentLink, event: events.ServerEvent) -> None:
        self._loop = asyncio.get_running_loop()
        name = str(uuid.UUID(bytes=agent.uid))
        self._links[name] = agent
        if isinstance(event, events.AgentDisconnected):
            self.gone.add(name)
        elif self._offer is not None:
            await agent.offer_config(*self._offer)

    def offer(self, fragment: Mapping[str, Any]) -> bytes:
        """From now on everybody gets this; its hash."""
        body = json.dumps(fragment).encode()
        digest = document_hash(fragment)
        self._offer = ({"llm-observe": ConfigFile(body, "application/json")}, digest)
        for link in tuple(self._links.values()):
            if self._loop is not None and link.connected:
                asyncio.run_coroutine_threadsafe(link.offer_config(*self._offer), self._loop)
        return digest

    @property
    def present(self) -> dict[str, AgentLink]:
        """Connected agents by instance uid."""
        return {name: link for name, link in tuple(self._links.items()) if link.connected}

    @property
    def seen(self) -> dict[str, AgentLink]:
        """All agents that ever were, by instance uid."""
        return dict(self._links)

    def acknowledged(self, digest: bytes) -> set[str]:
        """Instance uids that said, each for itself, that this is in force."""
        return {
            name
            for name, link in self.present.items()
            if (status := link.state.config_status) is not None
            and status.hash == digest
            and status.state is ConfigState.APPLIED
        }

    def described(self, name: str) -> Mapping[str, Any]:
        """The identifying attributes that an instance reported."""
        description = self._links[name].state.description
        return description.identifying if description else {}


@dataclass(frozen=True)
class Seen:
    """One exported span of a call."""

    question: str
    instance: str
    pid: int
    span_id: bytes
    config_hash: str


@dataclass
class Program:
    """A process under test and what it printed so far."""

    process: subprocess.Popen[str]
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)

    def line(self) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"ended with {self.process.poll()}: {''.join(self.errors)}"
        return line.strip()

    def json(self) -> Any:
        return json.loads(self.line())

    def tell(self, line: str) -> None:
        """One line into its input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, word: str) -> Any:
        """One line in, one line out."""
        self.tell(word)
        return self.json()

    def finish(self) -> int:
        """End of its input; how it ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.end()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for its end; how it ended."""
        code = self.process.wait(deadline_s)
        self._reader.join(DEADLINE_S)
        return code

    def rest(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()


class World:
    """One test's surroundings."""

    def __init__(self, folder: Path, heartbeat_s: float) -> None:
        self.folder, self.fleet = folder, Fleet(heartbeat_s)
        self.sink, self._prompts = OTLPSink(), list[str]()
        self.replicate = FakeReplicate(ScriptedEngine(self._answer))
        self.replicate_url = self.sink_url = self.opamp = ""
        self._programs: list[Program] = []

    def environ(self, **extra: str) -> dict[str, str]:
        """The environment of an observed program; empty values are left out."""
        ours = {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default,ignore::DeprecationWarning",
            "REPLICATE_BASE_URL": self.replicate_url,
            "REPLICATE_API_TOKEN": "r8_test",
            "REPLICATE_POLL_INTERVAL": "0.01",
            "OTEL_SERVICE_NAME": "tested",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink_url,
            "OTEL_BSP_SCHEDULE_DELAY": PATIENT,
            "OTEL_METRIC_EXPORT_INTERVAL": PATIENT,
            "LLM_OBSERVE_OPAMP_ENDPOINT": f"ws://{self.opamp}/v1/opamp",
            "LLM_OBSERVE_CAPTURE_LEVEL": "full",
            "LLM_OBSERVE_STATE_DIR": str(self.folder / "state"),
        }
        return {k: v for k, v in {**os.environ, **ours, **extra}.items() if v}

    def run(self, *command: str, **environ: str) -> Program:
        """Start Python with these arguments."""
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environ(**environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        program = Program(process)
        self._programs.append(program)
        return program

    def script(self, name: str, *arguments: str, **environ: str) -> Program:
        """Start one of the programs next to this file."""
        return self.run(str(PROGRAMS / f"{name}.py"), *arguments, **environ)

    def close(self) -> None:
        for program in self._programs:
            if program.process.poll() is None:
                program.process.kill()
            program.end()
            print("".join(program.errors))  # shown where the test failed
            process = program.process
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()

    # -- what came of it ----------------------------------------------------------------------

    @property
    def asked(self) -> Counter[str]:
        """Every question that Replicate was asked by an observed program."""
        return Counter(prompt for prompt in self._prompts if UNOBSERVED not in prompt)

    def _answer(self, request: GenerationRequest) -> str:
        self._prompts.append(request.prompt)  # all of them; the engine itself forgets
        return "Well."

    def spans(self) -> list[Seen]:
        """Every span of a call that the sink accepted."""
        return [
            seen
            for request in self.sink.requests()
            if isinstance(request.message, ExportTraceServiceRequest) and request.answer.accepts
            for seen in _seen(request.message)
        ]

    def exact(self, count: int) -> list[Seen]:
        """Every question became one span, and there is no other; the spans."""
        spans = self.spans()
        assert Counter(span.question for span in spans) == self.asked
        assert len(spans) == count
        assert len({span.span_id for span in spans}) == count
        for span in spans:  # a question begins with the pid of the process that asked it
            assert span.question.split()[0] == str(span.pid)
        by_pid = {(span.pid, span.instance) for span in spans}
        assert len(by_pid) == len({pid for pid, _ in by_pid}), "a process has one name"
        assert len(by_pid) == len({name for _, name in by_pid}), "a name is one process's"
        return spans


def _seen(message: ExportTraceServiceRequest) -> Iterator[Seen]:
    for resource in message.resource_spans:
        about = {a.key: a.value for a in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            attributes = {a.key: a.value.string_value for a in span.attributes}
            yield Seen(
                question=attributes.get("llm.input_messages.0.message.content", span.name),
                instance=about["service.instance.id"].string_value,
                pid=about["process.pid"].int_value,
                span_id=span.span_id,
                config_hash=attributes.get("llm_observe.config.hash", ""),
            )


@contextmanager
def a_world(folder: Path, heartbeat_s: float = 1.0) -> Iterator[World]:
    """Servers on free loopback ports for the length of a test.

    An agent that is silent for three heartbeats is taken for gone.
    """
    with ExitStack() as stack:
        world = World(folder, heartbeat_s)
        replicate = stack.enter_context(serve_in_thread(world.replicate))
        sink = stack.enter_context(serve_in_thread(world.sink))
        world.opamp = stack.enter_context(serving(world.fleet.server))
        world.replicate_url, world.sink_url = replicate.url, sink.url
        stack.callback(world.close)
        yield world
