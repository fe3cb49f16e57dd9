"""Calls on a tracer provider that is not ours."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openinference.instrumentation import TracerProvider as OpenInferenceProvider
from openinference.instrumentation import using_attributes
from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import NoOpTracerProvider, StatusCode
from replicate.exceptions import ReplicateError

from llm_observe.settings.model import Capture, CaptureLevel, Conventions, Settings
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.call import SCOPE, Call, Message
from llm_observe.tracing.foreign.recorder import ForeignRecorder
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping.instrument import install, uninstall
from llm_observe.tracing.wrapping.patch import connect
from tests.tracing.doubles import METRICS, MODEL, PROMPT, ReplicateAPI

SECRET = "the-launch-code"
LONG_S = 30.0


def settings(level: str = "full", genai: Any = "1.41") -> Settings:
    return Settings(
        capture=Capture(level=CaptureLevel(level)), conventions=Conventions(genai=genai)
    )


class Place:
    """A provider of an app, with what it exported, and a recorder on it."""

    def __init__(
        self,
        level: str = "full",
        *,
        sampler: Sampler = ALWAYS_ON,
        limits: SpanLimits | None = None,
        make: type[TracerProvider] = TracerProvider,
    ) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = make(sampler=sampler, span_limits=limits, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.ended: list[Call] = []
        self.recorder = ForeignRecorder(
            settings(level),
            self.provider,
            self.meters,
            "abc",
            ended=lambda span, call: self.ended.append(call),
        )

    def call(self, **fields: Any) -> Call:
        given = {"provider": "replicate", "request_model": "meta/llama-2-7b-chat"} | fields
        return Call(input=[Message("user", SECRET)], output=[Message("assistant", "Yes.")], **given)

    def record(self, call: Call | None = None) -> Call:
        made = call or self.call()
        span = self.recorder.start(made)
        made.end_ns = made.now()
        self.recorder.finish(span, made)
        return made

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    @property
    def only(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def metrics(self) -> dict[str, Any]:
        assert self.recorder.settled(time.monotonic() + LONG_S)
        data = self.reader.get_metrics_data()
        found = (
            [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
            if data
            else []
        )
        return {metric.name: metric for metric in found}


@pytest.fixture
def place() -> Iterator[Callable[..., Place]]:
    made: list[Place] = []

    def make(*args: Any, **kwargs: Any) -> Place:
        made.append(Place(*args, **kwargs))
        return made[-1]

    yield make
    for item in made:
        item.recorder.shutdown()
        item.provider.shutdown()
        item.meters.shutdown()


def test_a_call_is_there_as_soon_as_it_is_over_with_both_conventions(
    place: Callable[..., Place],
) -> None:
    here = place()
    call = here.record(here.call(input_tokens=3, output_tokens=1))
    attributes = here.only.attributes or {}
    assert here.only.name == "chat meta/llama-2-7b-chat"
    assert (here.only.start_time, here.only.end_time) == (call.start_ns, call.end_ns)
    assert attributes["openinference.span.kind"] == "LLM"
    assert attributes["gen_ai.usage.input_tokens"] == attributes["llm.token_count.prompt"] == 3
    assert attributes["input.value"] == SECRET
    assert attributes["llm_observe.config.hash"] == "abc"
    assert attributes["llm_observe.capture.level"] == "full"
    assert here.only.instrumentation_scope is not None
    assert here.only.instrumentation_scope.name == SCOPE


def test_it_is_a_child_of_the_apps_span_and_the_trace_is_whole(place: Callable[..., Place]) -> None:
    here = place()
    with here.provider.get_tracer("app").start_as_current_span("request") as request:
        here.record()
    child, parent = here.spans
    assert child.parent is not None
    assert child.parent.span_id == request.get_span_context().span_id
    assert child.context is not None
    assert parent.context is not None
    assert child.context.trace_id == parent.context.trace_id


@pytest.mark.parametrize("level", ["off", "metadata"])
def test_below_content_levels_no_word_leaves(place: Callable[..., Place], level: str) -> None:
    here = place(level)
    failed = here.call(error_type="ModelError", error_message=f"cannot answer {SECRET}")
    here.record(failed)
    assert SECRET not in here.only.to_json()
    assert here.only.status.status_code is StatusCode.ERROR
    assert here.only.status.description == "ModelError"


def test_the_level_is_that_of_the_moment_at_which_the_call_ends(
    place: Callable[..., Place],
) -> None:
    here = place("full")
    call = here.call()
    span = here.recorder.start(call)
    here.recorder.settings = settings("metadata")
    here.recorder.finish(span, call)
    assert SECRET not in here.only.to_json()


def test_the_names_are_those_of_the_generation_in_force(place: Callable[..., Place]) -> None:
    here = place()
    here.recorder.settings = settings(genai="1.36")
    here.record()
    assert (here.only.attributes or {})["gen_ai.system"] == "replicate"
    assert "gen_ai.provider.name" not in (here.only.attributes or {})


def test_a_long_chat_on_a_stock_provider_keeps_its_essentials(place: Callable[..., Place]) -> None:
    here = place(limits=SpanLimits(max_span_attributes=128))
    call = here.call(input_tokens=900, output_tokens=2)
    call.input = [Message("user", f"turn {number}") for number in range(200)]
    here.record(call)
    attributes = here.only.attributes or {}
    assert here.only.dropped_attributes == 0
    assert attributes["openinference.span.kind"] == "LLM"
    assert attributes["llm.token_count.prompt"] == 900
    assert "turn 0" in str(attributes["gen_ai.input.messages"])


def test_values_that_otlp_cannot_hold_harm_nothing(place: Callable[..., Place]) -> None:
    here = place()
    here.record(here.call(parameters={"seed": 2**80, "odd": {"a": [1, None]}}, user="\ud800"))
    assert (here.only.attributes or {})["user.id"] == "?"


class TestLateNumbers:
    def test_are_waited_for_on_a_worker_and_the_end_is_the_calls_own(
        self, place: Callable[..., Place]
    ) -> None:
        here, threads, may = place(), [], threading.Event()
        call = here.call()

        def complete() -> None:
            assert may.wait(LONG_S)
            threads.append(threading.current_thread())
            call.output_tokens = 5

        call.completion = complete
        here.record(call)
        assert not here.spans  # nobody waited
        may.set()
        assert here.recorder.flush(LONG_S)
        assert here.only.end_time == call.end_ns
        assert (here.only.attributes or {})["gen_ai.usage.output_tokens"] == 5
        assert threading.main_thread() not in threads

    def test_that_fail_cost_the_numbers_only(self, place: Callable[..., Place]) -> None:
        here = place()
        call = here.call()

        def fail() -> None:
            raise ConnectionError("gone")

        call.completion = fail
        here.record(call)
        assert here.recorder.flush(LONG_S)
        assert "gen_ai.usage.output_tokens" not in (here.only.attributes or {})

    def test_are_under_the_level_at_which_they_come(self, place: Callable[..., Place]) -> None:
        here, may = place("full"), threading.Event()
        call = here.call()

        def complete() -> None:
            may.wait(LONG_S)

        call.completion = complete
        here.record(call)
        here.recorder.settings = settings("off")
        may.set()
        assert here.recorder.flush(LONG_S)
        assert SECRET not in here.only.to_json()


def test_a_call_that_was_broken_off_is_ended_away_from_the_garbage_collector(
    place: Callable[..., Place],
) -> None:
    threads: list[threading.Thread] = []

    class Watching(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            threads.append(threading.current_thread())

    here = place()
    here.provider.add_span_processor(Watching())
    here.record(here.call(aborted=True))
    assert here.recorder.settled(time.monotonic() + LONG_S)
    assert len(here.spans) == 1
    assert threading.main_thread() not in threads


def test_a_processor_that_heeds_suppression_gets_what_a_worker_ends(
    place: Callable[..., Place],
) -> None:
    seen: list[str] = []

    class Heeding(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if not otel_context.get_value(_SUPPRESS_INSTRUMENTATION_KEY):
                seen.append(span.name)

    here = place()
    here.provider.add_span_processor(Heeding())
    here.record(here.call(aborted=True))
    assert here.recorder.settled(time.monotonic() + LONG_S)
    assert seen == ["chat meta/llama-2-7b-chat"]


def test_an_unsampled_call_is_counted_and_not_exported(place: Callable[..., Place]) -> None:
    here = place(sampler=ALWAYS_OFF)
    here.record(here.call(input_tokens=3))
    names = here.metrics()
    assert not here.spans
    assert names["gen_ai.client.operation.duration"].data.data_points[0].count == 1
    assert here.recorder.calls == 1


def test_metrics_go_to_the_given_meter_provider_once_per_call(place: Callable[..., Place]) -> None:
    here = place()
    here.record(here.call(input_tokens=3, output_tokens=2))
    here.record(here.call(input_tokens=3, output_tokens=2, aborted=True))
    names = here.metrics()
    duration = names["gen_ai.client.operation.duration"].data.data_points
    tokens = names["gen_ai.client.token.usage"].data.data_points
    assert [point.count for point in duration] == [2]
    assert {p.attributes["gen_ai.token.type"]: p.sum for p in tokens} == {"input": 6, "output": 4}
    assert duration[0].attributes["gen_ai.request.model"] == "meta/llama-2-7b-chat"
    assert duration[0].exemplars


def test_a_suppressed_call_leaves_nothing(place: Callable[..., Place]) -> None:
    here = place()
    quiet = otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True)
    call = here.call()
    span = here.recorder.start(call, quiet)
    here.recorder.finish(span, call)
    assert not here.spans
    assert not here.metrics()


class TestOpenInferencesOwnTracer:
    """It writes what it finds in the current context onto every span."""

    def test_gets_only_what_the_level_lets_through(self, place: Callable[..., Place]) -> None:
        here = place("off", make=OpenInferenceProvider)
        with using_attributes(session_id="s-1", prompt_template=f"Say {SECRET}"):
            here.record()
        assert "s-1" not in here.only.to_json()
        assert SECRET not in here.only.to_json()
        assert (here.only.attributes or {})["openinference.span.kind"] == "LLM"

    def test_gets_the_session_at_the_default_level(self, place: Callable[..., Place]) -> None:
        here = place("metadata", make=OpenInferenceProvider)
        with using_attributes(session_id="s-1", prompt_template=f"Say {SECRET}"):
            here.record(here.call(session="s-1"))
        assert (here.only.attributes or {})["session.id"] == "s-1"
        assert SECRET not in here.only.to_json()


def test_a_step_that_was_dropped_is_ended_away_from_the_garbage_collector(
    place: Callable[..., Place],
) -> None:
    threads: list[threading.Thread] = []

    class Watching(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            threads.append(threading.current_thread())

    here = place()
    here.provider.add_span_processor(Watching())
    connect(here.recorder)
    try:

        @trace
        def words() -> Iterator[str]:
            yield "one"
            yield "two"

        stream = words()
        next(stream)
        del stream
        gc.collect()
        assert here.recorder.settled(time.monotonic() + LONG_S)
    finally:
        connect(None)
    assert here.only.name == "words"
    assert (here.only.attributes or {})["llm_observe.aborted"] is True
    assert threading.main_thread() not in threads


def test_a_provider_that_records_nothing_costs_nothing() -> None:
    recorder = ForeignRecorder(settings(), NoOpTracerProvider())
    call = Call(provider="replicate")
    recorder.finish(recorder.start(call), call)
    assert not recorder.drained(time.monotonic())  # it has no force_flush to say yes
    assert recorder.flush(LONG_S)
    recorder.shutdown()


def test_after_shutdown_nothing_begins_and_what_had_begun_is_ended(
    place: Callable[..., Place],
) -> None:
    here = place()
    call = here.call()
    span = here.recorder.start(call)
    here.recorder.shutdown()
    here.recorder.finish(span, call)
    here.record()
    assert len(here.spans) == 1


def test_whoever_wants_to_know_is_told_of_every_call(place: Callable[..., Place]) -> None:
    here = place()
    calls = [here.record(), here.record(here.call(aborted=True))]
    assert here.recorder.settled(time.monotonic() + LONG_S)
    assert here.ended == calls


def test_a_processor_that_raises_stays_inside_and_the_call_counts(
    place: Callable[..., Place],
) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("no")

    here, faults = place(), gate.count
    here.provider.add_span_processor(Broken())
    here.record()
    assert here.spans
    assert here.metrics()
    assert gate.count == faults + 1


class TestThroughTheRealClient:
    """Every ending of a call that the app makes itself: one span, ended once."""

    @pytest.fixture
    def here(self, place: Callable[..., Place]) -> Iterator[Place]:
        made = place()
        connect(made.recorder)
        install()
        yield made
        connect(None)
        uninstall()

    def one(self, here: Place) -> Any:
        assert here.recorder.flush(LONG_S)
        return dict(here.only.attributes or {})

    def test_an_answer(self, here: Place) -> None:
        ReplicateAPI().client().run(MODEL, input=PROMPT)
        assert len(here.spans) == 1  # at once
        assert self.one(here)["gen_ai.usage.output_tokens"] == METRICS["output_token_count"]

    def test_a_stream_to_its_end_gets_its_numbers_late(self, here: Place) -> None:
        api = ReplicateAPI()
        before = len(api.paths("GET"))
        text = "".join(map(str, api.client().stream(MODEL, input=PROMPT)))
        attributes = self.one(here)
        assert attributes["output.value"] == text
        assert attributes["gen_ai.usage.output_tokens"] == METRICS["output_token_count"]
        assert "llm_observe.tokens_estimated" not in attributes
        assert len(api.paths("GET")) > before

    def test_a_stream_whose_numbers_never_come(self, here: Place) -> None:
        api = ReplicateAPI(reload_status=500)
        list(api.client().stream(MODEL, input=PROMPT))
        attributes = self.one(here)
        assert attributes.get("llm_observe.tokens_estimated", True) is True

    def test_a_stream_that_was_closed(self, here: Place) -> None:
        stream: Any = ReplicateAPI().client().stream(MODEL, input=PROMPT)
        next(stream)
        stream.close()
        assert self.one(here)["llm_observe.aborted"] is True

    def test_a_stream_that_was_dropped(self, here: Place) -> None:
        stream: Any = ReplicateAPI().client().stream(MODEL, input=PROMPT)
        next(stream)
        del stream
        gc.collect()
        assert self.one(here)["llm_observe.aborted"] is True

    def test_a_stream_that_broke(self, here: Place) -> None:
        stream = ReplicateAPI(stream_error_after=2).client().stream(MODEL, input=PROMPT)
        with pytest.raises(RuntimeError):
            list(stream)
        assert self.one(here)["error.type"] == "RuntimeError"
        assert here.only.status.status_code is StatusCode.ERROR

    def test_a_refused_request(self, here: Place) -> None:
        with pytest.raises(ReplicateError):
            ReplicateAPI(create_status=401).client().run(MODEL, input=PROMPT)
        assert self.one(here)["error.type"] == "ReplicateError"
        assert [event.name for event in here.only.events] == ["exception"]

    def test_spans_between_two_pieces_are_the_apps_own(self, here: Place) -> None:
        tracer = here.provider.get_tracer("app")
        for _ in ReplicateAPI().client().stream(MODEL, input=PROMPT):
            tracer.start_span("between").end()
        assert here.recorder.flush(LONG_S)
        between = [span for span in here.spans if span.name == "between"]
        assert between
        assert all(span.parent is None for span in between)


def test_the_apps_thread_loads_no_encoder() -> None:
    code = (
        "import sys\n"
        "import llm_observe.tracing.foreign.recorder\n"
        "print([x for x in ('google.protobuf', 'opentelemetry.sdk.metrics') if x in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
