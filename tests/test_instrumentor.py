"""OpenTelemetry's own doors: by hand, by ``opentelemetry-instrument``, by Phoenix's ``register``."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from openinference.instrumentation import TraceConfig
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]  # its module switches type checking off
    BaseInstrumentor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_observe.instrumentor import ReplicateInstrumentor
from llm_observe.settings.model import Settings
from llm_observe.testing import OTLPSink
from llm_observe.tracing.foreign.recorder import ForeignRecorder
from llm_observe.tracing.wrapping.instrument import installed
from llm_observe.tracing.wrapping.patch import connect, connected
from tests.programs import CALL, World, servers
from tests.tracing.doubles import MODEL, PROMPT, ReplicateAPI

SECRET = str(PROMPT["prompt"])
FOUND = ("opentelemetry_instrumentor", "openinference_instrumentor")


class App:
    """An app with providers of its own."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.api = ReplicateAPI()

    def instrument(self, **more: Any) -> ReplicateInstrumentor:
        door = ReplicateInstrumentor()
        door.instrument(tracer_provider=self.provider, meter_provider=self.meters, **more)
        return door

    def call(self) -> None:
        self.api.client().run(MODEL, input=PROMPT)

    @property
    def text(self) -> str:
        return "".join(span.to_json() for span in self.exporter.get_finished_spans())


@pytest.fixture
def app() -> Iterator[App]:
    made = App()
    yield made
    door = ReplicateInstrumentor()
    if door.is_instrumented_by_opentelemetry:
        door.uninstrument()
    made.provider.shutdown()
    made.meters.shutdown()


@pytest.mark.parametrize("group", FOUND)
def test_it_is_found_by_its_entry_point(group: str) -> None:
    (point,) = [item for item in entry_points(group=group) if item.value.startswith("llm_observe.")]
    assert point.name == "replicate"
    assert point.load() is ReplicateInstrumentor
    assert issubclass(ReplicateInstrumentor, BaseInstrumentor)


def test_calls_go_to_the_providers_given(app: App) -> None:
    app.instrument()
    with app.provider.get_tracer("app").start_as_current_span("request") as request:
        app.call()
    call, _ = app.exporter.get_finished_spans()
    assert call.parent == request.get_span_context()
    assert (call.attributes or {})["gen_ai.request.model"] == MODEL
    assert app.reader.get_metrics_data() is not None or _settled(app)


def _settled(app: App) -> bool:
    recorder: Any = connected()
    return (
        bool(recorder.settled(time.monotonic() + 30)) and app.reader.get_metrics_data() is not None
    )


def test_the_default_shows_no_word(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_OBSERVE_CAPTURE_LEVEL", raising=False)
    app.instrument()
    app.call()
    assert SECRET not in app.text


@pytest.mark.parametrize(
    ("environ", "arguments", "shown"),
    [
        ({"LLM_OBSERVE_CAPTURE_LEVEL": "full"}, {}, True),
        ({}, {"capture_level": "full"}, True),
        ({"LLM_OBSERVE_CAPTURE_LEVEL": "full"}, {"capture_level": "metadata"}, False),
        ({"LLM_OBSERVE_LIMIT_CAPTURE_LEVEL": "metadata"}, {"capture_level": "full"}, False),
        ({}, {"capture_level": "full", "config": TraceConfig()}, True),
        ({}, {"capture_level": "full", "config": TraceConfig(hide_inputs=True)}, False),
        ({"LLM_OBSERVE_CAPTURE_LEVEL": "full", "OPENINFERENCE_HIDE_INPUTS": "true"}, {}, False),
    ],
)
def test_more_is_recorded_only_where_it_is_asked_for_and_nothing_hides_it(
    app: App,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    arguments: dict[str, Any],
    shown: bool,
) -> None:
    for name in [name for name in os.environ if name.startswith("LLM_OBSERVE_")]:
        monkeypatch.delenv(name)
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    app.instrument(**arguments)
    app.call()
    assert (SECRET in app.text) is shown


def test_a_level_that_does_not_exist_is_an_error_of_the_caller(app: App) -> None:
    with pytest.raises(ValueError, match="loud"):
        app.instrument(capture_level="loud")
    assert connected() is None


def test_a_second_time_changes_nothing(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.instrument()
    first = connected()
    app.instrument()
    assert connected() is first
    assert "already instrumented" in caplog.text


def test_uninstrument_takes_it_off_and_it_can_be_put_on_again(app: App) -> None:
    door = app.instrument()
    door.uninstrument()
    app.call()
    assert not app.exporter.get_finished_spans()
    assert {info.state for info in installed()} == {"off"}
    app.instrument()
    app.call()
    assert len(app.exporter.get_finished_spans()) == 1


def test_what_observe_set_up_is_left_alone(app: App, caplog: pytest.LogCaptureFixture) -> None:
    theirs = ForeignRecorder(Settings(), TracerProvider(shutdown_on_exit=False))
    connect(theirs)
    try:
        door = app.instrument()
        assert connected() is theirs
        assert "call it after yours is in place" in caplog.text
        door.uninstrument()
        assert connected() is theirs
        caplog.clear()
        door.instrument(tracer_provider=theirs.tracer_provider)
        door.uninstrument()
        assert not caplog.text
    finally:
        connect(None)
        theirs.shutdown()


def test_it_names_the_versions_it_fits() -> None:
    (wanted,) = ReplicateInstrumentor().instrumentation_dependencies()
    assert wanted.startswith("replicate >= 1.0, < ")


def test_wrong_variables_are_said_and_ignored(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLM_OBSERVE_CAPTURE_LEVEL", "loud")
    with caplog.at_level(logging.WARNING, "llm_observe"):
        app.instrument()
    assert "LLM_OBSERVE_CAPTURE_LEVEL: found 'loud'" in caplog.text


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[str, OTLPSink, str]]:
    with servers() as made:
        yield made


@pytest.fixture
def place(both: tuple[str, OTLPSink, str], tmp_path: Path) -> World:
    replicate, sink, otlp = both
    sink.clear()
    return World(tmp_path, replicate, sink, otlp)


OTEL = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
}
INSTRUMENT = ("python", "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()")  # fmt: skip


class TestOpenTelemetryInstrument:
    """The real command, as its console script runs it."""

    def test_observes_an_unedited_program(self, place: World) -> None:
        place.write("shop.py", CALL)
        done = place.plain(*INSTRUMENT, "python", "shop.py", env=OTEL)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you.\n", "")
        assert place.services() == ["shop"]
        assert "gen_ai.client.operation.duration" in {m.name for m in place.sink.metrics()}
        assert not place.sink.holds("the-launch-code")

    def test_and_observe_record_a_call_once_in_one_trace(self, place: World) -> None:
        place.write("shop.py", f"""
import llm_observe
from opentelemetry import trace
handle = llm_observe.observe()
with trace.get_tracer("app").start_as_current_span("request"):
    {CALL.strip().replace(chr(10), chr(10) + "    ")}
""")  # fmt: skip
        done = place.plain(*INSTRUMENT, "python", "shop.py", env=OTEL)
        assert (done.returncode, done.stderr) == (0, "")
        assert place.services() == ["shop", "shop"]
        call, request = sorted(place.sink.spans(), key=lambda span: span.name)
        assert (call.name, request.name) == ("chat meta/llama-2-7b-chat", "request")
        assert call.parent_span_id == request.span_id

    def test_and_run_record_a_call_once(self, place: World) -> None:
        place.write("shop.py", CALL)
        done = place.run(*INSTRUMENT, "python", "shop.py", env=OTEL)
        assert (done.returncode, done.stderr) == (0, "")
        assert place.services() == ["shop"]


class TestPhoenix:
    """The real ``register``."""

    REGISTER = """
from phoenix.otel import register
provider = register(
    endpoint="{otlp}/v1/traces", protocol="http/protobuf", verbose=False, project_name="llamas",
    auto_instrument={auto}, batch={batch},
)
"""

    def program(self, place: World, *, auto: bool = True, batch: bool = True) -> str:
        return self.REGISTER.format(otlp=place.otlp, auto=auto, batch=batch)

    @pytest.mark.parametrize("batch", [True, False])
    def test_finds_our_instrumentor(self, place: World, batch: bool) -> None:
        place.write("shop.py", self.program(place, batch=batch) + CALL)
        done = place.plain("python", "-W", "error", "-W", "ignore::ResourceWarning", "shop.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you.\n", "")
        (span,) = place.sink.spans()
        kinds = {item.key: item.value.string_value for item in span.attributes}
        assert kinds["openinference.span.kind"] == "LLM"
        assert place.sink.holds("llamas")

    @pytest.mark.parametrize("is_global", [True, False])
    def test_and_run_record_a_call_once_on_its_provider(
        self, place: World, is_global: bool
    ) -> None:
        register = self.program(place).replace(
            "verbose=False", f"verbose=False, set_global_tracer_provider={is_global}"
        )
        place.write("shop.py", register + CALL)
        done = place.run("python", "shop.py", env={"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you.\n", "")
        assert len(place.sink.spans()) == 1
        assert place.sink.holds("llamas")

    def test_and_run_and_observe_record_a_call_once_on_its_provider(self, place: World) -> None:
        register = self.program(place).replace(
            "verbose=False", "verbose=False, set_global_tracer_provider=False"
        )
        observe = "import llm_observe\nllm_observe.observe('shop')\n"
        place.write("shop.py", register + observe + CALL)
        done = place.run("python", "shop.py", env={"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello you.\n", "")
        assert len(place.sink.spans()) == 1
        assert place.sink.holds("llamas")

    def test_and_a_stream_has_its_numbers(self, place: World) -> None:
        call = CALL.replace("replicate.run", "replicate.stream")
        place.write("shop.py", self.program(place) + call)
        assert place.plain("python", "shop.py").returncode == 0
        (span,) = place.sink.spans()
        numbers = {item.key: item.value.int_value for item in span.attributes}
        assert numbers["llm.token_count.completion"] == 2

    def test_and_observe_after_it_keep_traces_whole_and_content_to_the_level(
        self, place: World
    ) -> None:
        place.write("shop.py", f"""
import llm_observe
{self.program(place, auto=False)}
handle = llm_observe.observe("shop", settings={{"sampling": {{"ratio": 0.0}}}})
with provider.get_tracer("app").start_as_current_span("request"):
    {CALL.strip().replace(chr(10), chr(10) + "    ")}
print(handle.status())
""")  # fmt: skip
        done = place.plain("python", "shop.py")
        assert done.returncode == 0
        assert "sampling: found {'ratio': 0.0}" in done.stderr
        assert done.stderr.count("\n") == 1
        call, request = sorted(place.sink.spans(), key=lambda span: span.name)
        assert (call.name, request.name) == ("chat meta/llama-2-7b-chat", "request")
        assert call.trace_id == request.trace_id
        assert not place.sink.holds("the-launch-code")
        assert "not enforceable here" in done.stdout


def test_a_forked_child_records_for_itself(place: World) -> None:
    call = CALL.strip().replace("\n", "\n    ")
    place.write("forks.py", f"""
import os, sys
{CALL}
if pid := os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
else:
    {call}
""")  # fmt: skip
    done = place.plain(*INSTRUMENT, "python", "forks.py", env=OTEL)
    assert (done.returncode, done.stderr) == (0, "")
    assert place.services() == ["shop", "shop"]
