"""An agent's surroundings without threads, sockets and clocks: a pair in memory, a stepped time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from opentelemetry.sdk.resources import Resource

from llm_observe.agent import link, standing
from llm_observe.agent.options import Options, read_options
from llm_observe.agent.runtime import Runtime, Start
from llm_observe.errors import Problem
from llm_observe.opamp import (
    AgentCapabilities,
    ConfigFile,
    ConnectionOffer,
    ServerCapabilities,
    candidate,
    events,
)
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.io.memory import MemoryPair
from llm_observe.opamp.server import ServerProtocol
from llm_observe.policy.capture import Clocks
from llm_observe.settings.documents import document_hash
from llm_observe.settings.model import Settings
from llm_observe.tracing.applying import Applied, Grants
from llm_observe.tracing.export.status import PipelineStatus

CAPABILITIES = ServerCapabilities.OFFERS_REMOTE_CONFIG | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG

FIRST = Clocks(boot=500.0, wall=1000.0)


@dataclass
class Steered:
    """A pipeline that does as it is told, and remembers."""

    settings: Settings
    config_hash: str = ""
    problems: tuple[Problem, ...] = ()
    held: Callable[[Settings, Settings], Settings] = lambda before, wanted: before
    """What is in force after a refusal, from what was and what was wanted."""
    fault: Exception | None = None
    resources: list[Resource] = field(default_factory=list)
    now: PipelineStatus = field(default_factory=PipelineStatus)
    applied: list[Settings] = field(default_factory=list)
    grants: Grants = ()
    metrics: list[tuple[str, bytes]] = field(default_factory=list)

    def send_metrics(self, destination: str, payload: bytes) -> None:
        self.metrics.append((destination, payload))

    def apply(
        self,
        settings: Settings,
        config_hash: str,
        *,
        grants: Grants = (),
        timeout_s: float = 10.0,
    ) -> Applied:
        if self.fault is not None:
            raise self.fault
        self.applied.append(settings)
        if self.problems:
            self.settings = self.held(self.settings, settings)
            return Applied(self.settings, self.problems)
        self.settings, self.config_hash, self.grants = settings, config_hash, grants
        return Applied(settings)

    def begin_again(
        self, resource: Resource, settings: Settings, config_hash: str, *, grants: Grants = ()
    ) -> None:
        self.rename(resource)
        self.settings, self.config_hash, self.grants = settings, config_hash, grants

    def rename(self, resource: Resource) -> None:
        self.resources.append(resource)

    def status(self) -> PipelineStatus:
        return self.now


@dataclass
class LinkState:
    connected: bool = False
    last_error: str = ""


class MemoryLink:
    """An OpAMP client whose server is in the same memory; `Bench.deliver` moves the messages."""

    def __init__(self, uid: bytes, hear: Callable[[events.ClientEvent], None]) -> None:
        own = AgentCapabilities.REPORTS_OWN_TRACES | AgentCapabilities.REPORTS_OWN_METRICS
        client = ClientProtocol(uid, link.CAPABILITIES | own)
        self.pair = MemoryPair(client, ServerProtocol(uid, CAPABILITIES))
        self.state, self.let, self._hear = LinkState(), False, hear
        self.record = candidate.Record()

    def start(self) -> None:
        self.pair.connect()
        self.state.connected = True

    def report(self, **parts: Any) -> None:
        self.pair.client.report(**{k: v for k, v in parts.items() if v is not None})

    def hear(self, event: events.ClientEvent) -> None:
        """Hand an event on, as a client that keeps account of offered connections does."""
        if isinstance(event, events.ConnectionSettingsOffered):
            args = (event.offer, "ws://in-memory", candidate.Rules(), event.left_out)
            self._keep(candidate.offered(self.record, *args))
            if not candidate.has_rest(event.offer):
                return
        self._hear(event)

    def settle(self, settings_hash: bytes, errors: Mapping[str, str] | None = None) -> None:
        lines = [f"{name}: {text}" for name, text in (errors or {}).items()]
        self._keep(candidate.rest_settled(self.record, settings_hash, lines))

    def _keep(self, record: candidate.Record) -> None:
        self.record = record
        self.report(connection_status=record.status)

    def stop(self, timeout_s: float = 2.0) -> None:
        self.pair.client.say_goodbye()

    def let_go(self) -> None:
        self.let = True


class Bench:
    """A runtime on the bench. `serve` lets everything happen that is under way."""

    def __init__(self, folder: Path, at: Clocks = FIRST, /, **environ: str) -> None:
        self.boot, self.now = at
        self.folder = folder
        self.environ = {
            "OTEL_SERVICE_NAME": "bench",
            "LLM_OBSERVE_OPAMP_ENDPOINT": "ws://in-memory",
            "LLM_OBSERVE_STATE_DIR": str(folder),
            **environ,
        }
        self.options: Options = read_options(self.environ, self.now)
        first = standing.first(self.options, self.clocks())
        self.pipeline = Steered(first.resolved.settings, first.config_hash)
        self.pipeline.grants = first.grants(self.options.limits)
        start = Start(options=self.options, standing=first, pipeline=self.pipeline)
        self.runtime = Runtime(start, self._make_link, clock=lambda: self.now, clocks=self.clocks)
        self.runtime.introduce()
        self.link.start()
        self.serve()

    def _make_link(self, uid: bytes, hear: Callable[[events.ClientEvent], None]) -> MemoryLink:
        self.link = MemoryLink(uid, hear)
        return self.link

    def serve(self) -> None:
        """Deliver, let the agent work, deliver what comes of it."""
        for _ in range(3):
            heard, _ = self.link.pair.exchange(self.now)
            for event in heard:
                self.link.hear(event)
            for _ in range(len(heard) + 1):
                assert self.runtime.step()

    def wait(self, seconds: float) -> None:
        self.step_clocks(seconds)
        self.serve()

    def clocks(self) -> Clocks:
        return Clocks(self.boot, self.now)

    def step_clocks(self, boot: float, wall: float | None = None) -> None:
        """Time passes; the wall clock may be turned at the same time."""
        self.boot, self.now = self.boot + boot, self.now + (boot if wall is None else wall)

    def offer(self, fragment: Mapping[str, Any], name: str = "llm-observe") -> bytes:
        digest = document_hash(fragment)
        file = ConfigFile(json.dumps(fragment).encode(), "application/json")
        self.link.pair.server.offer_config({name: file}, digest)
        self.serve()
        return digest

    def offer_connections(self, offer: ConnectionOffer) -> None:
        self.link.pair.server.offer_connections(offer)
        self.serve()

    @property
    def seen(self) -> Any:
        """What the server knows."""
        return self.link.pair.server.state

    def effective(self, name: str = "llm-observe") -> Any:
        return json.loads(self.seen.effective_config[name].body)


def with_faults(status: PipelineStatus, faults: int) -> PipelineStatus:
    return replace(status, faults=faults)
