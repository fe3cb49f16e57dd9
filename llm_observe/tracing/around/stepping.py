"""Where the spans of steps and scores begin and end: on our provider, or on one that is not ours.

Our own pipeline decides at export what may leave, so attributes go onto the span as they are said.
Another provider exports a span as it is. There they are kept beside it, and the recorder puts onto
it what the level of the moment of its end allows.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
)

from llm_observe.policy.capture import may_show_content
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping.active import STEP_KEY
from llm_observe.tracing.wrapping.recorder import taking
from llm_observe.version import __version__

SCOPE = "llm_observe"
"""Instrumentation scope of steps and scores."""
ABORTED = "llm_observe.aborted"
MAX_CALLS = 1000
"""Calls inside one step that it remembers, the newest."""

Attributes = Mapping[str, Any]


class StepRecorder(Protocol):
    """A recorder on a provider that is not ours."""

    def start_step(
        self, name: str, context: Context, attributes: Attributes, links: Sequence[Link]
    ) -> Span:
        """Start a span there, with what the level allows."""

    def end_step(self, span: Span, said: Attributes, error: BaseException | None) -> None:
        """Put what was said onto the span as far as the level allows, and end it."""


class Handle:
    """The span of a step under way, its kind, and the calls made inside.

    Stands in the context as the step around a call (`active.Step`).
    """

    __slots__ = ("_outer", "calls", "content", "kind", "span")

    def __init__(self, span: Span, kind: str, outer: object = None, content: bool = True) -> None:
        self.span, self.kind = span, kind
        self.content = content
        """Whether content may leave at all, under the settings under which the step began. Where it
        may not, nothing need be made of it."""
        self.calls: deque[SpanContext] = deque(maxlen=MAX_CALLS)
        self._outer = outer if isinstance(outer, Handle) else None

    def called(self, span: SpanContext) -> None:
        """A call began inside this step, and so inside those around it."""
        step: Handle | None = self
        while step is not None:
            step.calls.append(span)
            step = step._outer

    def write(self, attributes: Callable[[], Attributes]) -> None:
        """Say more; it is only made where the span records."""
        with gate:
            if self.span.is_recording():
                self._keep(attributes())

    def end(self, error: BaseException | None = None) -> None:
        """The end; a failure is an error, a step that was closed, dropped or cancelled is not."""
        with gate:
            if error is not None and self.span.is_recording():
                self._mark(error)
        with gate:
            self.span.end()

    def _keep(self, attributes: Attributes) -> None:
        self.span.set_attributes(dict(attributes))

    def _mark(self, error: BaseException) -> None:
        self._keep(outcome(error))
        if isinstance(error, Exception):
            self.span.set_status(Status(StatusCode.ERROR, words(error)))
            with contextlib.suppress(Exception):  # its text may be code of the app that fails
                self.span.record_exception(error)


class _LateHandle(Handle):
    """On a provider that is not ours."""

    __slots__ = ("_recorder", "_said")

    def __init__(
        self, span: Span, kind: str, outer: object, content: bool, recorder: StepRecorder
    ) -> None:
        super().__init__(span, kind, outer, content)
        self._recorder = recorder
        self._said: dict[str, Any] = {}

    def end(self, error: BaseException | None = None) -> None:
        with gate:
            self._recorder.end_step(self.span, self._said, error)

    def _keep(self, attributes: Attributes) -> None:
        self._said.update(attributes)


def outcome(error: BaseException) -> Attributes:
    """What a step that did not come to its end says of that."""
    if isinstance(error, Exception):
        return {"error.type": type(error).__qualname__}
    return {ABORTED: True}


def words(error: BaseException) -> str:
    """An exception by name and text; by its name alone where asking for its text fails."""
    kind = type(error).__name__
    try:
        return f"{kind}: {error}"
    except Exception:  # noqa: BLE001  # code of the app
        return kind


def begin(
    name: str, kind: str, context: Context, attributes: Attributes, links: Sequence[Link] = ()
) -> Handle:
    """A new span; an invalid one where nothing records."""
    recorder: Any = taking()
    if recorder is None:
        return Handle(INVALID_SPAN, kind)
    outer, content = context.get(STEP_KEY), _content_may_leave(recorder)
    if hasattr(recorder, "start_step"):
        span = recorder.start_step(name, context, attributes, links)
        late = _LateHandle(span, kind, outer, content, recorder)
        late.write(lambda: attributes)
        return late
    tracer = _tracer_of(recorder.tracer_provider)
    span = tracer.start_span(name, context, attributes=dict(attributes), links=links)
    return Handle(span, kind, outer, content)


def _content_may_leave(recorder: Any) -> bool:
    settings = getattr(recorder, "settings", None)  # what records for tests has none
    return settings is None or may_show_content(settings.capture)


_newest: tuple[TracerProvider, Tracer] | None = None


def _tracer_of(provider: TracerProvider) -> Tracer:
    """The provider's tracer for steps; the newest is kept, since making one is slow."""
    global _newest
    held = _newest
    if held is None or held[0] is not provider:
        held = _newest = (provider, provider.get_tracer(SCOPE, __version__))
    return held[1]
