"""Every key of the settings is set from the control plane, and its effect seen from outside.

One control plane for all; each test has a service of its own, which sends to sinks of its own.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from llm_observe import explore
from llm_observe.settings.keys import key_rows
from llm_observe.settings.schema import json_schema
from llm_observe.testing import Answer, OTLPGrpcSink, OTLPSink, Served, serve_grpc, serve_in_thread
from tests.e2e.harness import App, ControlPlane, eventually
from tests.tracing.export.certificates import Authority
from tests.tracing.export.proxying import proxying
from tests.tracing.export.sink import running_sink

pytestmark = pytest.mark.e2e
StartApp = Callable[..., App]
CANARY = "CANARY-51d0"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    control = ControlPlane(tmp_path_factory.mktemp("keys") / "data").start()
    yield control
    control.stop()


@dataclass
class Observed:
    """A program whose only destination is ``sink``, under the control plane."""

    app: App
    sink: OTLPSink
    at: Served
    plane: ControlPlane
    service: str
    folder: Path
    """Files of destinations may lie here."""

    def set(self, **changes: Any) -> None:
        """Set keys (``sink__timeout_s`` is the sink's), and wait for the acknowledgement."""
        paths = {path.replace("sink__", "destinations.sink."): v for path, v in changes.items()}
        version = self.plane.set(self.service, **paths)["version"]
        self.plane.progress(version, "acknowledged")

    def level(self) -> str:
        """The capture level in force, by the program's own word."""
        return str(self.app.status()["settings"]["capture"]["level"])

    def clear(self, path: str) -> None:
        """Have no opinion on a key any more."""
        body = {"service": self.service, "unset": [path]}
        version = self.plane.http.patch("/api/v1/settings", json=body).json()["version"]
        self.plane.progress(version, "acknowledged")

    def call(self) -> None:
        """One call, and all of it sent."""
        self.app.ask("call", CANARY)
        self.app.ask("flush")


@pytest.fixture
def observed(
    plane: ControlPlane, start_app: StartApp, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Observed]:
    sink, service = OTLPSink(), request.node.name[:60]
    limits = {"local_sinks": ["file", "console"], "file_folders": [str(tmp_path)]}
    with serve_in_thread(sink) as at:
        app = start_app(
            {"SINK_KEY": "s3cret", "OTEL_METRIC_EXPORT_INTERVAL": "500"},
            service_name=service,
            server=plane.url,
            settings={"destinations": {"sink": {"endpoint": at.url}}},
            limits=limits,
        )
        plane.agent(service)
        yield Observed(app, sink, at, plane, service, tmp_path)
        sink.release()


def attributes(sink: Any) -> dict[str, Any]:
    """Those of the newest span, as plain values."""
    span = sink.spans()[-1]
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def test_sampling_ratio(observed: Observed) -> None:
    observed.set(sampling__ratio=0)
    observed.call()
    assert observed.sink.spans() == []
    assert observed.sink.metrics() != []


def chosen(observed: Observed, match: dict[str, Any], *request: Any) -> int:
    """Spans exported of a request where all but what matches is off."""
    rules = {"chosen": {"match": match, "ratio": 1}}
    observed.set(sampling__ratio=0, sampling__rules=rules)
    observed.sink.clear()
    observed.app.ask(*request)
    observed.app.ask("flush")
    return len(observed.sink.spans())


CALL = ("call", CANARY)


def test_sampling_rules_match_service(observed: Observed) -> None:
    assert chosen(observed, {"service": observed.service}, *CALL) == 1
    assert chosen(observed, {"service": "another"}, *CALL) == 0


def test_sampling_rules_match_provider(observed: Observed) -> None:
    assert chosen(observed, {"provider": "replicate|ollama"}, *CALL) == 1
    assert chosen(observed, {"provider": "ollama"}, *CALL) == 0


def test_sampling_rules_match_model(observed: Observed) -> None:
    assert chosen(observed, {"model": "meta/*"}, *CALL) == 1
    assert chosen(observed, {"model": "mistralai/*"}, *CALL) == 0


def test_sampling_rules_match_session(observed: Observed) -> None:
    assert chosen(observed, {"session": "s-1*"}, "turn", "s-17", CANARY) == 2
    assert chosen(observed, {"session": "s-1*"}, "turn", "s-2", CANARY) == 0


def test_sampling_rules_match_user(observed: Observed) -> None:
    assert chosen(observed, {"user": "ann"}, "turn", "s-1", CANARY) == 2
    assert chosen(observed, {"user": "bob"}, "turn", "s-1", CANARY) == 0


def test_sampling_rules_match_route(observed: Observed) -> None:
    assert chosen(observed, {"route": "/chat/*"}, "request", "/chat/{id}", CANARY) == 2
    assert chosen(observed, {"route": "/chat/*"}, "request", "/healthz", CANARY) == 0


def test_sampling_rules_match_attributes(observed: Observed) -> None:
    found = {"attributes": {"gen_ai.operation.name": "ch?t"}}
    assert chosen(observed, found, *CALL) == 1
    assert chosen(observed, {"attributes": {"tenant": "*"}}, *CALL) == 0


def test_sampling_rules_ratio(observed: Observed) -> None:
    observed.set(sampling__rules={"half": {"match": {"model": "meta/*"}, "ratio": 0.5}})
    observed.app.ask("burst", 60, CANARY)
    observed.app.ask("flush")
    kept = observed.sink.spans()
    assert 10 < len(kept) < 50
    assert {span.trace_state for span in kept} == {"ot=th:8"}


def test_sampling_rules_order(observed: Observed) -> None:
    all_of, none_of = {"ratio": 1, "order": 5}, {"ratio": 0, "order": 6}
    for first, second, spans in ((all_of, none_of, 1), (none_of, {**all_of, "order": 7}, 0)):
        observed.set(sampling__rules={"a": second, "b": first})
        observed.sink.clear()
        observed.call()
        assert len(observed.sink.spans()) == spans


def test_sampling_by(observed: Observed) -> None:
    observed.set(sampling__by="session", sampling__ratio=0.5)
    for number in range(60):
        observed.app.ask("turn", f"s-{number % 12}", CANARY)
    observed.app.ask("flush")
    turns = Counter(
        text(span, "session.id") for span in observed.sink.spans() if span.name == "turn"
    )
    assert 0 < len(turns) < 12
    assert set(turns.values()) == {5}
    effective = observed.plane.agent(observed.service)["effective"]["document"]
    assert effective["sampling"]["by"] == "session"


def text(span: Any, key: str) -> str:
    return next(str(a.value.string_value) for a in span.attributes if a.key == key)


def test_sampling_per_second(observed: Observed) -> None:
    observed.set(sampling__per_second=0.001)
    for _ in range(5):
        observed.call()
    assert len(observed.sink.spans()) == 1
    eventually(lambda: sum(map(calls, observed.sink.metrics())) == 5, "metrics count every call")


RARE = 1e-9
"""A share that chooses nothing here, and is not off."""


def kept(observed: Observed, *request: Any, **rules: Any) -> set[str]:
    """Names of the spans that are exported of a request which its share drops."""
    observed.set(sampling__ratio=RARE, sampling__keep=rules)
    observed.sink.clear()
    observed.app.ask(*request)
    observed.app.ask("flush")
    return {span.name for span in observed.sink.spans()}


WHOLE = {"judged", "score", "chat meta/llama-2-7b-chat"}


def test_sampling_keep_errors(observed: Observed) -> None:
    assert kept(observed, "judged", CANARY, 1, 0, True, errors=True) == WHOLE
    assert kept(observed, "judged", CANARY, 1, 0, False, errors=True) == set()
    assert kept(observed, "judged", CANARY, 1, 0, True, errors=False) == set()


def test_sampling_keep_slower_than_s(observed: Observed) -> None:
    assert kept(observed, *CALL, slower_than_s=0.0001)
    assert not kept(observed, *CALL, slower_than_s=600)


def test_sampling_keep_first_chunk_over_s(observed: Observed) -> None:
    assert kept(observed, *CALL, first_chunk_over_s=0.0001)
    assert not kept(observed, *CALL, first_chunk_over_s=600)


def test_sampling_keep_tokens_over(observed: Observed) -> None:
    assert kept(observed, *CALL, tokens_over=1)
    assert not kept(observed, *CALL, tokens_over=100_000)


def test_sampling_keep_cost_over_usd(observed: Observed) -> None:
    assert kept(observed, "judged", CANARY, 1, 0.5, cost_over_usd=0.4) == WHOLE
    assert kept(observed, "judged", CANARY, 1, 0.5, cost_over_usd=0.6) == set()


def test_sampling_keep_score_under(observed: Observed) -> None:
    assert kept(observed, "judged", CANARY, 0.2, score_under=0.5) == WHOLE
    assert kept(observed, "judged", CANARY, 0.9, score_under=0.5) == set()


def test_sampling_keep_buffer_s(observed: Observed) -> None:
    """A call ends inside a step that goes on; after that time its trace is judged."""
    observed.set(sampling__ratio=RARE, sampling__keep={"tokens_over": 1, "buffer_s": 0.2})
    observed.app.ask("begin", CANARY)
    eventually(observed.sink.spans, "the call is exported before its step is over")
    assert observed.app.ask("finish")


def recording(observed: Observed) -> dict[str, Any]:
    """What the agent's health counts of recording."""
    health = observed.plane.agent(observed.service)["health"]
    found: dict[str, Any] = health["components"]["recording"]["attributes"]
    return found


def turn_is_dropped(observed: Observed, **bound: float) -> None:
    """The spans of a failed turn, because so many are not held; health counts them."""
    observed.set(sampling__ratio=RARE, sampling__keep={"errors": True, **bound})
    # Counts alone are told twice a minute; that something is not well is told at once, with them.
    observed.sink.answer_with(Answer(status=400))
    observed.app.ask("judged", CANARY, 1, 0, True)
    observed.app.ask("flush")
    assert observed.sink.requests("traces") == []
    eventually(lambda: recording(observed)["unjudged"] == 3, "health counts what was dropped")


def test_sampling_keep_buffer_spans(observed: Observed) -> None:
    turn_is_dropped(observed, buffer_spans=1)


def test_sampling_keep_buffer_mib(observed: Observed) -> None:
    turn_is_dropped(observed, buffer_mib=0.002)


def calls(metric: Any) -> int:
    """Calls counted in one export of a metric."""
    return sum(
        point.count
        for point in metric.histogram.data_points
        if metric.name == "gen_ai.client.operation.duration"
    )


def test_capture_level(observed: Observed) -> None:
    observed.set(capture__level="full")
    observed.call()
    assert observed.sink.holds(CANARY)
    observed.sink.clear()
    observed.set(capture__level="off")
    observed.call()
    assert observed.sink.spans()
    assert not observed.sink.holds(CANARY)


def test_capture_input(observed: Observed) -> None:
    observed.set(capture__input="full", capture__level="off")
    observed.call()
    assert observed.sink.holds(CANARY)
    assert "output.value" not in attributes(observed.sink)


def test_capture_output(observed: Observed) -> None:
    observed.set(capture__output="full")
    observed.call()
    assert attributes(observed.sink)["output.value"]
    assert not observed.sink.holds(CANARY)


PARTS = {
    "system": "gen_ai.system_instructions",
    "reasoning": "llm.output_messages.0.message.contents.0.message_content.signature",
    "tool_arguments": "gen_ai.tool.call.arguments",
    "tool_results": "gen_ai.tool.call.result",
    "documents": "retrieval.documents.0.document.content",
}


def shown(observed: Observed) -> set[str]:
    """The parts whose attribute leaves."""
    observed.sink.clear()
    observed.app.ask("said", dict.fromkeys(PARTS.values(), CANARY))
    observed.app.ask("flush")
    found = attributes(observed.sink)
    return {part for part, key in PARTS.items() if key in found}


def only_shows(observed: Observed, part: str) -> None:
    assert shown(observed) == set()
    observed.set(**{f"capture__{part}": "full"})
    assert shown(observed) == {part}
    observed.set(**{"capture__level": "full", f"capture__{part}": "off"})
    assert shown(observed) == set(PARTS) - {part}


def test_capture_system(observed: Observed) -> None:
    only_shows(observed, "system")


def test_capture_reasoning(observed: Observed) -> None:
    only_shows(observed, "reasoning")


def test_capture_tool_arguments(observed: Observed) -> None:
    only_shows(observed, "tool_arguments")


def test_capture_tool_results(observed: Observed) -> None:
    only_shows(observed, "tool_results")


def test_capture_documents(observed: Observed) -> None:
    only_shows(observed, "documents")


def recorded_when(observed: Observed, **match: Any) -> bool:
    """Whether a rule with this matcher raises the level of a turn of Ann's."""
    observed.set(capture__rules={"r": {"match": match, "level": "full"}})
    observed.sink.clear()
    observed.app.ask("turn", "s-1", CANARY)
    observed.app.ask("flush")
    return bool(observed.sink.holds(CANARY))


def test_capture_rules_match_service(observed: Observed) -> None:
    assert recorded_when(observed, service="test_capture_*")
    assert not recorded_when(observed, service="other")


def test_capture_rules_match_provider(observed: Observed) -> None:
    assert recorded_when(observed, provider="replicate")
    assert not recorded_when(observed, provider="ollama")


def test_capture_rules_match_model(observed: Observed) -> None:
    assert recorded_when(observed, model="meta/*")
    assert not recorded_when(observed, model="mistral*")


def test_capture_rules_match_session(observed: Observed) -> None:
    assert recorded_when(observed, session="s-?")
    assert not recorded_when(observed, session="t-*")


def test_capture_rules_match_user(observed: Observed) -> None:
    assert recorded_when(observed, user="ann")
    assert not recorded_when(observed, user="bob")


def test_capture_rules_match_route(observed: Observed) -> None:
    """Of the request, of the call inside and of a step between."""
    observed.set(capture__rules={"r": {"match": {"route": "/chat/*"}, "level": "full"}})
    for route, there in (("/chat/{id}", True), ("/healthz", False)):
        observed.sink.clear()
        observed.app.ask("request", route, CANARY)
        observed.app.ask("flush")
        assert observed.sink.holds(CANARY) is there
        levels = {text(span, "llm_observe.capture.level") for span in observed.sink.spans()}
        assert levels == {"full" if there else "metadata"}


def test_capture_rules_match_attributes(observed: Observed) -> None:
    for tenant in ("blue", "green"):
        match = {"attributes": {"tenant": "b*"}}
        observed.set(capture__rules={"r": {"match": match, "level": "full"}})
        observed.sink.clear()
        observed.app.ask("said", {"tenant": tenant, "tool.parameters": CANARY})
        observed.app.ask("flush")
        assert observed.sink.holds(CANARY) is (tenant == "blue")


def test_capture_rules_level(observed: Observed) -> None:
    observed.set(capture__level="full")
    for level, there in (("redacted", True), ("off", False)):
        observed.set(capture__rules={"r": {"level": level}})
        observed.sink.clear()
        observed.call()
        assert observed.sink.holds(CANARY) is there
        assert attributes(observed.sink)["llm_observe.capture.level"] == level


def test_capture_rules_order(observed: Observed) -> None:
    for order, level in ((5, "off"), (50, "full")):
        rules = {"a": {"level": "off", "order": order}, "b": {"level": "full", "order": 10}}
        observed.set(capture__rules=rules)
        observed.call()
        assert attributes(observed.sink)["llm_observe.capture.level"] == level


def granted(observed: Observed, *request: Any, **grant: Any) -> bool:
    """Whether a request of Ann's is recorded under a grant of a minute."""
    until = datetime.now(UTC) + timedelta(seconds=60)
    one = {"until": until.isoformat(), **grant}
    observed.set(capture__grants={f"g-{uuid4().hex[:8]}": one})
    observed.sink.clear()
    observed.app.ask(*(request or ("turn", "s-1", CANARY)))
    observed.app.ask("flush")
    assert observed.sink.spans()
    observed.clear("capture.grants")
    return bool(observed.sink.holds(CANARY))


def test_capture_grants_match_service(observed: Observed) -> None:
    assert granted(observed, match={"service": "test_capture_*"})
    assert not granted(observed, match={"service": "other"})


def test_capture_grants_match_provider(observed: Observed) -> None:
    assert granted(observed, match={"provider": "replicate"})
    assert not granted(observed, match={"provider": "ollama"})


def test_capture_grants_match_model(observed: Observed) -> None:
    assert granted(observed, match={"model": "meta/*"})
    assert not granted(observed, match={"model": "mistral*"})


def test_capture_grants_match_session(observed: Observed) -> None:
    assert granted(observed, match={"session": "s-?"})
    assert not granted(observed, match={"session": "t-*"})


def test_capture_grants_match_user(observed: Observed) -> None:
    assert granted(observed, match={"user": "ann"})
    assert not granted(observed, match={"user": "bob"})


def test_capture_grants_match_route(observed: Observed) -> None:
    asked = ("request", "/chat/{id}", CANARY)
    assert granted(observed, *asked, match={"route": "/chat/*"})
    assert not granted(observed, *asked, match={"route": "/chat"})


def test_capture_grants_match_attributes(observed: Observed) -> None:
    for tenant in ("blue", "green"):
        said = {"tenant": tenant, "tool.parameters": CANARY}
        match = {"attributes": {"tenant": "b*"}}
        assert granted(observed, "said", said, match=match) is (tenant == "blue")


def test_capture_grants_level(observed: Observed) -> None:
    observed.set(capture__level="off")
    for level, there in (("redacted", True), ("metadata", False)):
        assert granted(observed, level=level) is there
        assert attributes(observed.sink)["llm_observe.capture.level"] == level


def ends(observed: Observed, seconds: float, **grant: Any) -> None:
    """The grant is in force, and ends by itself after so many seconds."""
    observed.set(capture__grants={f"g-{uuid4().hex[:8]}": grant})
    begun = time.time()
    assert observed.level() == "full"
    eventually(lambda: observed.level() == "metadata", "the grant ends")
    assert time.time() >= begun + seconds - 1.5
    observed.call()
    assert not observed.sink.holds(CANARY)


def test_capture_grants_until(observed: Observed) -> None:
    ends(observed, 6, until=(datetime.now(UTC) + timedelta(seconds=7)).isoformat())


def test_capture_grants_longest_s(observed: Observed) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    ends(observed, 6, until=until.isoformat(), longest_s=6)


def test_capture_max_chars(observed: Observed) -> None:
    observed.set(capture__level="full", capture__max_chars=100)
    observed.app.ask("call", "x" * 1000 + CANARY)
    observed.app.ask("flush")
    assert len(attributes(observed.sink)["input.value"]) <= 100
    assert not observed.sink.holds(CANARY)


MAIL = "joe@example.com"


def redacted(observed: Observed, prompt: str, **redaction: Any) -> str:
    """What leaves of a prompt at level redacted, under these settings."""
    observed.set(capture__level="redacted", **{f"redaction__{k}": v for k, v in redaction.items()})
    observed.app.ask("call", prompt)
    observed.app.ask("flush")
    return str(attributes(observed.sink)["input.value"])


def test_redaction_detectors_enabled(observed: Observed) -> None:
    assert redacted(observed, f"to {MAIL}") == "to [email]"
    off = {"email": {"enabled": False}}
    assert redacted(observed, f"to {MAIL}", detectors=off) == f"to {MAIL}"


def test_redaction_detectors_action(observed: Observed) -> None:
    dropping = {"email": {"action": "drop"}}
    assert redacted(observed, f"to {MAIL}", detectors=dropping) == "[dropped:email]"


def test_redaction_patterns_pattern(observed: Observed) -> None:
    own = {"staff": {"pattern": "EMP-([0-9]+)"}}
    assert redacted(observed, "of EMP-77", patterns=own) == "of EMP-[staff]"


def test_redaction_patterns_enabled(observed: Observed) -> None:
    own = {"staff": {"pattern": "EMP-[0-9]+", "enabled": False}}
    assert redacted(observed, "of EMP-77", patterns=own) == "of EMP-77"


def test_redaction_patterns_action(observed: Observed) -> None:
    own = {"staff": {"pattern": "EMP-[0-9]+", "action": "drop"}}
    assert redacted(observed, "of EMP-77", patterns=own) == "[dropped:staff]"


def test_redaction_allow(observed: Observed) -> None:
    prompt = f"{MAIL} and ann@example.org"
    assert redacted(observed, prompt, allow=["*@example.org"]) == "[email] and ann@example.org"


def test_redaction_hash_key(observed: Observed) -> None:
    hashing = {"email": {"action": "hash"}}
    found = redacted(observed, f"to {MAIL}", detectors=hashing, hash_key="env:SINK_KEY")
    assert found.startswith("to [email:")
    assert redacted(observed, f"to {MAIL}", detectors=hashing, hash_key="env:NO_KEY") == (
        "[dropped:email]"
    )


def test_a_detector_that_is_not_there_is_refused(observed: Observed) -> None:
    asked = {"redaction.detectors": {"passport": {"action": "mask"}}}
    version = observed.plane.set(observed.service, **asked)["version"]
    (agent,) = observed.plane.progress(version, "refused")["agents"]
    assert "redaction.detectors.passport: found an unknown detector" in agent["error"]


def test_endpoint(observed: Observed) -> None:
    other = OTLPSink()
    with serve_in_thread(other) as at:
        observed.set(sink__endpoint=at.url)
        had = observed.sink.count
        observed.call()
        assert other.spans()
        assert observed.sink.count == had


def test_protocol(observed: Observed) -> None:
    receiver = OTLPGrpcSink()
    with serve_grpc(receiver) as at:
        observed.set(sink__endpoint=at.url, sink__protocol="grpc")
        observed.call()
        assert attributes(receiver)["gen_ai.operation.name"] == "chat"
        eventually(receiver.metrics, "metrics arrive over gRPC")
        observed.set(sink__endpoint=observed.at.url, sink__protocol="http/protobuf")
        had = receiver.count
        observed.call()
        assert observed.sink.spans()
        assert receiver.count == had


def test_protocol_console(
    capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """The program's standard error is that of this process."""
    observed: Observed = request.getfixturevalue("observed")
    observed.set(sink__protocol="console", sink__signals=["traces"])
    observed.call()
    lines = [x for x in capfd.readouterr().err.splitlines() if x.startswith('{"resourceSpans"')]
    (span,) = spans_in("\n".join(lines))
    assert span["name"] == "chat meta/llama-2-7b-chat"
    assert observed.sink.spans() == []


def spans_in(text: str) -> list[dict[str, Any]]:
    """The spans of lines of OTLP/JSON."""
    requests = [json.loads(line) for line in text.splitlines()]
    found = [r for request in requests for r in request.get("resourceSpans", ())]
    return [span for r in found for scope in r["scopeSpans"] for span in scope["spans"]]


def test_path(observed: Observed) -> None:
    one, two = observed.folder / "one.jsonl", observed.folder / "two.jsonl"
    observed.set(sink__protocol="file", sink__path=str(one))
    observed.call()
    assert len(spans_in(one.read_text())) == 1
    assert one.stat().st_mode & 0o777 == 0o600
    eventually(lambda: "resourceMetrics" in one.read_text(), "metrics are written too")
    observed.set(sink__path=str(two))
    observed.call()
    assert len(spans_in(two.read_text())) == 1
    assert len(spans_in(one.read_text())) == 1
    assert observed.sink.spans() == []
    with explore.open(two) as traces:
        assert [*traces.spans()["service"]] == [observed.service]


def test_a_path_outside_of_the_folders_is_refused(observed: Observed) -> None:
    outside = observed.folder.parent / "outside.jsonl"
    said = refused(observed, protocol="file", path=str(outside))
    assert said.startswith(f"destinations.sink.path: found {outside}")
    (observed.folder / "link").symlink_to(outside)
    said = refused(observed, protocol="file", path=str(observed.folder / "link"))
    assert said.endswith("a link, which is not followed, expected one that can be written")
    assert not outside.exists()
    observed.call()
    assert observed.sink.spans()


def rotated(observed: Observed, **keys: Any) -> list[str]:
    """Names of the files after some calls."""
    path = str(observed.folder / "spans.jsonl")
    observed.set(sink__protocol="file", sink__path=path, sink__signals=["traces"], **keys)
    for _ in range(4):
        observed.call()
    return sorted(file.name for file in observed.folder.glob("spans.jsonl*"))


def test_file_mib(observed: Observed) -> None:
    assert rotated(observed, sink__file_mib=1) == ["spans.jsonl"]
    names = rotated(observed, sink__file_mib=0.001)
    assert names == ["spans.jsonl", "spans.jsonl.1", "spans.jsonl.2", "spans.jsonl.3"]


def test_file_keep(observed: Observed) -> None:
    assert rotated(observed, sink__file_mib=0.001, sink__file_keep=1) == [
        "spans.jsonl",
        "spans.jsonl.1",
    ]
    assert rotated(observed, sink__file_keep=0) == ["spans.jsonl"]


def test_enabled(observed: Observed) -> None:
    observed.set(sink__enabled=False)
    had = observed.sink.count
    observed.call()
    assert observed.sink.count == had
    observed.set(sink__enabled=True)
    observed.call()
    assert observed.sink.spans()


def test_signals(observed: Observed) -> None:
    observed.set(sink__signals=["metrics"])
    observed.call()
    assert observed.sink.metrics() != []
    assert observed.sink.spans() == []
    observed.set(sink__signals=["traces"])
    observed.sink.clear()
    observed.call()
    assert observed.sink.spans()
    assert observed.sink.requests("metrics") == []


def test_headers(observed: Observed) -> None:
    observed.set(sink__headers={"x-key": "env:SINK_KEY"})
    observed.call()
    assert observed.sink.requests("traces")[-1].headers["x-key"] == "s3cret"
    agent = observed.plane.agent(observed.service)
    assert "s3cret" not in str(agent)


def test_compression(observed: Observed) -> None:
    for compression, encoding in (("none", None), ("gzip", "gzip")):
        observed.set(sink__compression=compression)
        observed.call()
        assert observed.sink.requests("traces")[-1].headers.get("content-encoding") == encoding


def test_timeout_s(observed: Observed) -> None:
    observed.set(sink__timeout_s=0.5, sink__signals=["traces"])
    observed.sink.answer_with(Answer(hang=True))
    observed.app.ask("call", CANARY)
    said = "last error: no answer within 0.5 s"
    eventually(lambda: said in observed.app.status()["text"], "the request is given up")


def dropped(observed: Observed, count: int) -> int:
    """Spans dropped of so many calls, while the sink holds every request and its answer back."""
    observed.sink.answer_with(Answer(hang=True))
    observed.app.ask("burst", count, CANARY)
    return int(eventually(lambda: observed.app.status()["dropped"], "spans are dropped"))


def test_queue_items(observed: Observed) -> None:
    observed.set(sink__queue_items=3, sink__timeout_s=60, sink__signals=["traces"])
    dropped(observed, 10)
    eventually(lambda: observed.app.status()["dropped"] == 7, "three of ten are kept")


def test_queue_mib(observed: Observed) -> None:
    observed.set(sink__queue_mib=0.01, sink__timeout_s=60, sink__signals=["traces"])
    assert 0 < dropped(observed, 30) < 30


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def secure(
    protocol: str, authority: Authority, *, ask_client: bool = False
) -> Iterator[tuple[str, Callable[[], Sequence[object]]]]:
    """A receiver under TLS: its URL, and the spans that arrived."""
    if protocol == "grpc":
        receiver = OTLPGrpcSink()
        credentials = authority.credentials(ask_client=ask_client)
        with serve_grpc(receiver, credentials=credentials) as at:
            yield at.url, receiver.spans
    else:
        with running_sink(authority.context(ask_client=ask_client)) as sink:
            yield sink.url, lambda: sink.spans


def refused(observed: Observed, **changes: Any) -> str:
    """What the program says of changes to its sink that it refuses."""
    paths = {f"destinations.sink.{key}": value for key, value in changes.items()}
    version = observed.plane.set(observed.service, **paths)["version"]
    (agent,) = observed.plane.progress(version, "refused")["agents"]
    return str(agent["error"])


BOTH = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])


@BOTH
def test_ca(observed: Observed, authority: Authority, protocol: str) -> None:
    with secure(protocol, authority) as (url, spans):
        said = refused(observed, endpoint=url, protocol=protocol)
        assert said.startswith(f"destinations.sink.endpoint: found {url}")
        assert "TLS failed" in said
        observed.set(sink__ca=authority.reference())
        observed.call()
        assert spans()


@BOTH
def test_client_certificate(observed: Observed, authority: Authority, protocol: str) -> None:
    certificate, key = authority.issued()
    with secure(protocol, authority, ask_client=True) as (url, spans):
        refused(observed, endpoint=url, protocol=protocol, ca=authority.reference())
        observed.set(sink__client_certificate=certificate, sink__client_key=key)
        observed.call()
        assert spans()


@BOTH
def test_client_key(observed: Observed, authority: Authority, protocol: str) -> None:
    certificate, key = authority.issued()
    _, another = authority.issued("another")
    keys = {"ca": authority.reference(), "client_certificate": certificate, "client_key": another}
    with secure(protocol, authority, ask_client=True) as (url, spans):
        said = refused(observed, endpoint=url, protocol=protocol, **keys)
        assert said.startswith("destinations.sink.client_key: found /")
        assert "the key of another certificate" in said
        observed.call()
        assert observed.sink.spans()
        observed.set(sink__client_key=key)
        observed.call()
        assert spans()


@BOTH
def test_proxy(observed: Observed, protocol: str) -> None:
    receiver = OTLPGrpcSink()
    with serve_grpc(receiver) as at, proxying() as proxy:
        if protocol == "grpc":
            observed.set(sink__endpoint=at.url, sink__protocol="grpc")
        sink = receiver if protocol == "grpc" else observed.sink
        observed.call()
        had = len(sink.spans())
        assert proxy.heads == []
        observed.set(sink__proxy=proxy.url)
        observed.call()
        assert len(sink.spans()) == had + 1
        assert proxy.heads
    said = refused(observed, proxy="http://127.0.0.1:1")
    assert said.startswith("destinations.sink.proxy: found http://127.0.0.1:1: ")


@BOTH
def test_proxy_authorization(observed: Observed, protocol: str) -> None:
    receiver = OTLPGrpcSink()
    with serve_grpc(receiver) as at, proxying("s3cret") as proxy:
        url = at.url if protocol == "grpc" else observed.at.url
        said = refused(observed, endpoint=url, protocol=protocol, proxy=proxy.url)
        assert "407" in said
        observed.set(sink__proxy_authorization="env:SINK_KEY")
        observed.call()
        assert (receiver if protocol == "grpc" else observed.sink).spans()
    assert "s3cret" not in str(observed.plane.agent(observed.service))


def test_conventions_genai(observed: Observed) -> None:
    for release, there, gone in (
        ("1.36", "gen_ai.system", "gen_ai.provider.name"),
        ("1.41", "gen_ai.provider.name", "gen_ai.system"),
    ):
        observed.set(conventions__genai=release)
        observed.call()
        found = attributes(observed.sink)
        assert found[there] == "replicate"
        assert gone not in found


def test_instrumentation_enabled(observed: Observed) -> None:
    observed.call()
    eventually(observed.sink.metrics, "metrics came")
    observed.set(instrumentation__enabled=False)
    observed.app.ask("flush")
    observed.sink.clear()
    observed.app.ask("turn", "s-1", CANARY)
    observed.app.ask("request", "/chat", CANARY)
    observed.app.ask("flush")
    assert observed.sink.spans() == []
    assert sum(map(calls, observed.sink.metrics())) == 0
    assert "records nothing (instrumentation.enabled is false)" in observed.app.status()["text"]
    agent = observed.plane.agent(observed.service)
    assert agent["effective"]["document"]["instrumentation"]["enabled"] is False
    eventually(lambda: said_of_replicate(observed)["state"] == "off", "the agent's page says so")
    observed.set(instrumentation__enabled=True)
    observed.call()
    assert observed.sink.spans()


def said_of_replicate(observed: Observed) -> dict[str, Any]:
    found = observed.plane.agent(observed.service)["instrumentors"]
    return next(item for item in found if item["name"] == "replicate")


def test_instrumentation_providers_enabled(observed: Observed) -> None:
    for _ in range(2):
        observed.set(instrumentation__providers__replicate__enabled=False)
        observed.sink.clear()
        observed.call()
        assert observed.sink.spans() == []
        eventually(
            lambda: said_of_replicate(observed)["state"] == "off", "the agent's page says so"
        )
        observed.set(instrumentation__providers__replicate__enabled=True)
        observed.call()
        assert observed.sink.spans()


def test_an_unknown_client_library_is_refused(observed: Observed) -> None:
    version = observed.plane.set(
        observed.service, instrumentation__providers__telepathy__enabled=False
    )["version"]
    observed.plane.progress(version, "refused")


def test_instrumentation_log_level(observed: Observed) -> None:
    said = "the settings in force are"
    for level, heard in (("info", True), ("error", False), ("debug", True)):
        observed.set(instrumentation__log_level=level)
        observed.app.ask("logged")
        observed.set(capture__max_chars=1000 + heard)
        assert any(said in line for line in observed.app.ask("logged")) is heard
        assert observed.app.ask("root level") == "WARNING"


def test_every_key_has_a_test_here() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {name_of(row.path) for row in key_rows(json_schema())} <= tests


def name_of(path: str) -> str:
    """`destinations.<name>.timeout_s` is tested by `test_timeout_s`, the rest by their whole path."""
    names = [name for name in path.split(".") if name != "<name>"]
    return "_".join(names[1:] if names[0] == "destinations" else names)
