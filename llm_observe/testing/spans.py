"""Capture what the code under test records, as finished spans, without any exporter.

::

    def test_the_answer_is_traced() -> None:
        with capture_spans() as captured:
            my_app.ask("Hi")
        (span,) = captured.spans
        assert span.attributes["llm.token_count.completion"] == 12
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from openinference.instrumentation import suppress_tracing
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, start_attributes
from llm_observe.tracing.rendering.render import render
from llm_observe.tracing.wrapping import instrument, patch

_MOST_ATTRIBUTES = 20_000


class CapturedSpans:
    """What was recorded so far; `capture_spans` makes it."""

    def __init__(self, level: CaptureLevel) -> None:
        self._level = level
        self._exporter = InMemorySpanExporter()
        self._ended: deque[tuple[Span, Call]] = deque()
        limits = SpanLimits(max_span_attributes=_MOST_ATTRIBUTES)
        self._provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("llm_observe")

    @property
    def tracer_provider(self) -> TracerProvider:
        """Makes further spans that are captured too."""
        return self._provider

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, by start.

        Asking completes the calls: numbers that only the server knows are fetched here.
        """
        while self._ended:
            self._complete(*self._ended.popleft())
        finished = self._exporter.get_finished_spans()
        return tuple(sorted(finished, key=lambda span: span.start_time or 0))

    @property
    def calls(self) -> tuple[ReadableSpan, ...]:
        """Those of `spans` that are LLM calls."""
        kind = "openinference.span.kind"
        return tuple(span for span in self.spans if (span.attributes or {}).get(kind) == "LLM")

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._ended.clear()
        self._exporter.clear()

    def start(self, call: Call, context: Context | None = None) -> Span:
        """Begin a call's span (`llm_observe.tracing.wrapping.patch.Recorder`)."""
        return self._tracer.start_span(
            call.name,
            context,
            kind=SpanKind.CLIENT,
            start_time=call.start_ns,
            attributes=start_attributes(call),
        )

    def finish(self, span: Span, call: Call) -> None:
        """Take an ended call; it is rendered when somebody looks."""
        self._ended.append((span, call))

    def _complete(self, span: Span, call: Call) -> None:
        call.settle()
        with suppress_tracing(), suppress(Exception):
            if call.completion is not None:
                call.completion()
        rendered = render(call, self._level)
        span.set_attributes(rendered.attributes)
        for event in rendered.events:
            span.add_event(event.name, dict(event.attributes), event.timestamp_ns)
        if rendered.error is not None:
            span.set_status(Status(StatusCode.ERROR, rendered.error))
        span.end(end_time=call.end_ns)


@contextmanager
def capture_spans(*, level: CaptureLevel | str = CaptureLevel.FULL) -> Iterator[CapturedSpans]:
    """Record every LLM call and `llm_observe.trace` block of the ``with`` block, in memory.

    Every call is captured, whatever is sampled elsewhere. Client libraries are wrapped if they
    are not yet, and stay so; without a recorder the wrappers do nothing. What recorded before
    (`llm_observe.observe`) gets nothing from this block and goes on after it. One at a time: the
    recorder is the process's own.

    Args:
        level: What is recorded of prompts and answers.
    """
    instrument.install()
    captured, before = CapturedSpans(CaptureLevel(level)), patch.connected()
    patch.connect(captured)
    try:
        yield captured
    finally:
        patch.connect(before)
