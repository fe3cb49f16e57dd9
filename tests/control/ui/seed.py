"""A control plane with something in it: real service, real files, events as from the wire."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from llm_observe.control.rules.model import OUR_ENTRY, SOURCES_ENTRY, Edit
from llm_observe.control.service import Service
from llm_observe.opamp.events import AgentConnected, AgentDisconnected, StatusReported
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    AgentState,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
)
from llm_observe.settings.documents import flatten, merge
from llm_observe.settings.schema import schema_hash
from llm_observe.spanstore.model import MetricRow, Writing
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import MS, START, point, rows, span

CHATBOT = str(UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0001))
WORKER = str(UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0002))
COLLECTOR = str(UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0003))
BATCH = str(UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0004))
SCRIPT = "<script>alert('from a prompt')</script>"
DEFAULTS: dict[str, Any] = {
    "sampling": {"ratio": 1.0},
    "capture": {"level": "metadata"},
    "destinations": {
        "control-plane": {
            "enabled": True, "endpoint": "http://127.0.0.1:4320", "protocol": "http/protobuf",
            "signals": ["traces", "metrics"], "compression": "gzip", "timeout_s": 10.0,
        }
    },
}  # fmt: skip
OURS = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.REPORTS_HEARTBEAT
    | AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS
)
COLLECTOR_YAML = """receivers:
  otlp:
    protocols:
      grpc: {}
exporters:
  otlphttp:
    endpoint: https://collector.example.com
    headers:
      authorization: Bearer very-secret-token
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlphttp]
"""


class World:
    """A service with its store, and what agents and apps do to it."""

    def __init__(self, service: Service, store: Writing) -> None:
        self.service, self.store = service, store
        self._states: dict[str, AgentState] = {}
        self._spans = 0
        self._scores = itertools.count(1)

    async def connect(self, uid: str, state: AgentState, transport: str = "websocket") -> None:
        """An agent connects and reports everything."""
        self._states[uid] = state
        await self.service.agent_event(uid, AgentConnected(), transport)
        names = frozenset(AgentState.__slots__) - {"sequence_num"}
        await self.service.agent_event(uid, StatusReported(state, names), transport)

    async def report(self, uid: str, transport: str = "websocket", **parts: Any) -> None:
        """An agent reports some parts anew."""
        old = self._states[uid]
        values = {name: getattr(old, name) for name in AgentState.__slots__} | parts
        self._states[uid] = AgentState(**values)
        event = StatusReported(self._states[uid], frozenset(parts))
        await self.service.agent_event(uid, event, transport)

    async def app(
        self, uid: str, name: str, version: str = "1.4.0", settings: Mapping[str, Any] = {}
    ) -> None:
        """An app with llm-observe connects."""
        await self.connect(uid, app_state(uid, name, version, merge(DEFAULTS, settings)))

    async def leave(self, uid: str, reason: str = "the line broke") -> None:
        """An agent's line ends."""
        await self.service.agent_event(uid, AgentDisconnected(reason), "websocket")

    async def take(self, uid: str) -> None:
        """An agent applies what is wanted of it, and says so."""
        desired = (await self.service.agent(uid)).desired
        await self.report(
            uid,
            config_status=ConfigStatus(bytes.fromhex(desired.hash), ConfigState.APPLIED),
            effective_config=effective(merge(DEFAULTS, desired.document), desired.document),
        )

    async def refuse(self, uid: str, *problems: str) -> None:
        """An agent refuses what is wanted of it, one line per key."""
        desired = (await self.service.agent(uid)).desired
        status = ConfigStatus(
            bytes.fromhex(desired.hash), ConfigState.FAILED, "\n".join(problems)
        )  # fmt: skip
        await self.report(uid, config_status=status)

    async def equip(self, uid: str, **groups: tuple[str, ...]) -> None:
        """An agent reports which detectors and instrumentors it has."""
        tree = {"settings": Component({"schema.hash": schema_hash()})}
        for group, names in groups.items():
            tree[group] = Component({}, {name: Component({}) for name in names})
        await self.report(uid, components=Components(hash=b"equipped", components=tree))

    async def change(self, service: str | None = None, /, **edit: Any) -> int:
        """A new version of the settings; its number."""
        result = await self.service.change(Edit(service, **edit))
        assert result.version is not None
        return result.version

    def call(self, *texts: str, **values: Any) -> str:
        """One call arrives; see `store_call`. On the event loop only."""
        trace = self.store_call(*texts, **values)
        self.service.traces_changed()
        return trace

    def store_call(
        self,
        prompt: str = "Why is the sky blue?",
        answer: str = "Because air scatters blue light more than red light.",
        *,
        ago_s: float = 30,
        level: str = "full",
        error: str | None = None,
        duration_ms: float = 2400,
        nested: bool = False,
        **attributes: Any,
    ) -> str:
        """One call, stored as it arrives over OTLP; the id of its trace."""
        self._spans += 10
        trace, start = 0xABC000 + self._spans, _start_ms(ago_s)
        values = {**call_attributes(prompt, answer, level), **attributes}
        spans = [
            span(
                values, number=self._spans, name="replicate.run", duration_ms=duration_ms,
                error=error, parent=self._spans + 1 if nested else None, trace=trace,
                start_ms=start + (40 if nested else 0),
            )
        ]  # fmt: skip
        if nested:
            spans += _around(trace, self._spans, start, duration_ms)
        self.store.append(rows(*spans), []).result(60)
        return f"{trace:032x}"

    def judge(
        self, trace: str, *, elsewhere: bool = False, late_s: float = 86400, **fields: Any
    ) -> None:
        """A score about the first span of a trace arrives; see `store_score`."""
        self.store_score(trace, elsewhere=elsewhere, late_s=late_s, **fields)
        self.service.traces_changed()

    def store_score(
        self, trace: str, *, elsewhere: bool = False, late_s: float = 5, **fields: Any
    ) -> None:
        """A score, in the trace that it is about or in one of its own."""
        about = self.service._reader.trace(trace)[0]
        fields = {"name": "helpful", "annotator_kind": "HUMAN", **fields}
        carrier = span(
            {"openinference.span.kind": "EVALUATOR"}
            | {f"annotations.0.annotation.{key}": value for key, value in fields.items()},
            trace=0xFEED if elsewhere else int(trace, 16),
            number=0x5C0000 + next(self._scores),
            name="score",
            start_ms=(about.start_ns - START) / MS + late_s * 1000,
            duration_ms=0,
        )
        carrier.links.add(trace_id=bytes.fromhex(trace), span_id=bytes.fromhex(about.span_id))
        self.store.append(rows(carrier), []).result(60)

    def measure(self, calls: int = 60, *, every_s: float = 30, errors: int = 3) -> None:
        """Metrics of calls in the past, whatever was sampled."""
        points: list[MetricRow] = []
        for number in range(calls):
            points += _points(number, ago_s=number * every_s + 5, error=number < errors)
        self.store.append([], points).result(60)
        self.service.traces_changed()


def app_state(uid: str, name: str, version: str, document: Mapping[str, Any]) -> AgentState:
    """What an app of ours reports."""
    now = int(time.time() * 1e9)
    parts = {
        "replicate": Component({"version": "1.0.7", "state": "installed"}),
        "openai": Component({"version": "", "state": "absent", "reason": "not installed"}),
    }
    return AgentState(
        AgentDescription(
            {"service.name": name, "service.instance.id": uid, "service.version": version},
            {"os.type": "linux", "host.name": "node-1", "process.pid": 4242,
             "llm_observe.version": "0.1.0", "telemetry.sdk.language": "python"},
        ),
        Health(True, now, "", "ok", now, {
            "destination:control-plane": Health(True, now, "", "ok", now, {
                "traces": Health(True, now, "", "ok", now, {}, {"sent": 1280, "queued": 2}),
                "metrics": Health(True, now, "", "ok", now, {}, {"sent": 12})})}),
        effective(document, {}),
        None,
        Components(b"1", {
            "settings": Component({"schema.hash": schema_hash()}),
            "instrumentors": Component({}, parts),
        }),
        capabilities=OURS,
        sequence_num=1,
    )  # fmt: skip


def collector_state() -> AgentState:
    """What an OpenTelemetry Collector with the opamp extension reports."""
    now = int(time.time() * 1e9)
    return AgentState(
        AgentDescription(
            {"service.name": "otelcol-contrib", "service.version": "0.140.0",
             "service.instance.id": COLLECTOR},
            {"os.type": "linux", "host.name": "gateway-2"},
        ),
        Health(True, now, "", "StatusOK", now, {
            "pipeline:traces": Health(False, now, "exporter otlphttp: connection refused",
                                      "StatusRecoverableError", now)}),
        {"": ConfigFile(COLLECTOR_YAML.encode(), "text/yaml")},
        capabilities=AgentCapabilities.REPORTS_STATUS
        | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG | AgentCapabilities.REPORTS_HEALTH,
        sequence_num=1,
    )  # fmt: skip


def effective(document: Mapping[str, Any], remote: Mapping[str, Any]) -> dict[str, ConfigFile]:
    """The two entries of an effective config of ours."""
    mine, now = flatten(remote), time.time()
    sources = {
        path: {"layer": "remote" if path in mine else "code" if path == "capture.level" else "default",
               "since": now - 3600}
        for path in flatten(document)
    }  # fmt: skip
    return {
        OUR_ENTRY: ConfigFile(json.dumps(document).encode(), "application/json"),
        SOURCES_ENTRY: ConfigFile(json.dumps(sources).encode(), "application/json"),
    }


def call_attributes(prompt: str, answer: str, level: str) -> dict[str, Any]:
    """The attributes of one call, with content as the level allows."""
    attributes: dict[str, Any] = {
        "openinference.span.kind": "LLM", "llm.model_name": "meta/llama-2-7b-chat",
        "gen_ai.request.model": "meta/llama-2-7b-chat", "gen_ai.provider.name": "replicate",
        "gen_ai.operation.name": "chat", "llm.token_count.prompt": 41,
        "llm.token_count.completion": 64, "llm.token_count.total": 105,
        "llm.finish_reason": "stop", "llm_observe.capture.level": level,
        "llm_observe.queue_ms": 420.0, "gen_ai.response.time_to_first_chunk": 0.71,
        "llm_observe.output.tokens_per_second": 38.2, "llm_observe.config.hash": "ab12cd34ef56ab78",
    }  # fmt: skip
    if level != "off":
        attributes |= {
            "session.id": "session-42", "user.id": "ada",
            "llm.invocation_parameters": '{"temperature": 0.22, "top_p": 0.9, "max_length": 120}',
        }  # fmt: skip
    if level in ("full", "redacted"):
        attributes |= {
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.0.message.content": "You are a helpful assistant.",
            "llm.input_messages.1.message.role": "user",
            "llm.input_messages.1.message.content": prompt,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": answer,
            "input.value": prompt, "output.value": answer,
        }  # fmt: skip
    return attributes


def _around(trace: int, call: int, start: float, duration_ms: float) -> list[Any]:
    """A chain around the call and a tool beside it."""
    chain = {"openinference.span.kind": "CHAIN", "session.id": "session-42"}
    tool = {"openinference.span.kind": "TOOL", "tool.name": "search"}
    return [
        span(chain, trace=trace, number=call + 1, name="answer the user", start_ms=start,
             duration_ms=duration_ms + 400),
        span(tool, trace=trace, number=call + 2, parent=call + 1, name="search the docs",
             start_ms=start + duration_ms + 60, duration_ms=290),
    ]  # fmt: skip


def _start_ms(ago_s: float) -> float:
    return (time.time() - ago_s) * 1000 - START / MS


def _points(number: int, *, ago_s: float, error: bool) -> list[MetricRow]:
    """One call's points: how long, until the first token, how many tokens."""
    at = _start_ms(ago_s) / 1000
    slow = (number * 7) % 5
    common: dict[str, Any] = {"time_s": at, "start_s": at - 5, "model": "meta/llama-2-7b-chat"}
    histogram: dict[str, Any] = {"bounds": (0.5, 1.0, 2.0, 4.0, 8.0), **common}
    failed: dict[str, Any] = {"error_type": "ReplicateError"} if error else {}
    made = [
        point({slow: 1}, stream=b"duration", **histogram, **failed),
        point({min(slow, 1): 1}, stream=b"ttft", **histogram,
              metric="gen_ai.client.operation.time_to_first_chunk"),
    ]  # fmt: skip
    for kind, bucket, tokens in (("input", 1, 41.0), ("output", 2, 60.0 + 9 * slow)):
        usage = point({bucket: 1}, stream=kind.encode(), bounds=(16, 64, 256), token_type=kind,
                      metric="gen_ai.client.token.usage", **common)  # fmt: skip
        made.append(replace(usage, sum=tokens))
    return made


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """An empty control plane in a folder."""
    store = SpanStore(folder / "spans.db")
    service = await Service.open(folder, store)
    try:
        yield World(service, store)
    finally:
        service.stopping()
        await service.close()
        store.close()


async def fill(here: World) -> None:
    """The full picture: apps, a Collector, versions, calls, an app that is gone, one that refuses."""
    code = {"capture": {"level": "full"}}
    await here.app(CHATBOT, "llama-chatbot", settings=code)
    await here.app(WORKER, "batch-summaries", "0.9.2")
    await here.app(BATCH, "nightly-eval", "2.0.0")
    await here.connect(COLLECTOR, collector_state(), "http")
    await here.change(set={"sampling.ratio": 0.5}, author="Ada", comment="Half is enough by day")
    for uid in (CHATBOT, WORKER, BATCH):
        await here.take(uid)
    await here.change("llama-chatbot", set={"capture.level": "full"}, author="Grace",
                      comment="Debug the slow answers")  # fmt: skip
    await here.take(CHATBOT)
    await here.change("batch-summaries", set={
        "destinations.phoenix.endpoint": "http://127.0.0.1:6006",
        "destinations.phoenix.headers": {"authorization": "env:PHOENIX_API_KEY"},
    }, author="Ada")  # fmt: skip
    await here.refuse(
        WORKER,
        "destinations.phoenix.endpoint: found no answer (connection refused), expected an OTLP endpoint",
    )
    await here.leave(BATCH)
    for number in range(24):
        here.call(f"Question {number}: why is the sky blue?", ago_s=20 + number * 170,
                  nested=number % 4 == 0, duration_ms=900 + (number * 631) % 5200)  # fmt: skip
    judged = here.call(SCRIPT, "That is text, not a script.", ago_s=12, nested=True)
    here.store_score(judged, score=1, label="thumb up", identifier="ada", late_s=3)
    here.store_score(judged, score=0, label="thumb down", identifier="ada",
                     explanation="It says nothing about the sky.", late_s=6)  # fmt: skip
    here.store_score(judged, name="correctness", score=0.35, annotator_kind="LLM",
                     explanation="Half of the claims are not in the documents.", elsewhere=True)  # fmt: skip
    here.call(ago_s=8, level="metadata")
    failed: dict[str, Any] = {"error.type": "ModelError", "llm.finish_reason": "error"}
    here.call("Tell me a joke", "", ago_s=5, error="Prediction failed: out of memory", **failed)
    here.measure()
