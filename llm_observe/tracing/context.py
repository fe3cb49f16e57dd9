"""What the app says about its calls: session, user, tags, metadata; and spans of its own steps.

`context` uses the keys that OpenInference's ``using_attributes`` puts in the OpenTelemetry
context, so that its instrumentors read ours and we read theirs. `trace` makes a span of any
OpenInference kind. Both are context managers and decorators.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

from openinference.semconv.trace import SpanAttributes as OI
from opentelemetry import trace as otel
from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import Span, Status, StatusCode

from llm_observe.tracing.blocks import Block, decorated
from llm_observe.tracing.call import snapshot
from llm_observe.tracing.gate import gate
from llm_observe.tracing.patch import connected, suppressed

Function = TypeVar("Function", bound=Callable[..., Any])
StepKind = Literal[
    "chain",
    "tool",
    "agent",
    "retriever",
    "reranker",
    "embedding",
    "guardrail",
    "evaluator",
    "prompt",
]
_SCOPE = "llm_observe"
_INHERITED = (OI.SESSION_ID, OI.USER_ID, OI.METADATA, OI.TAG_TAGS)


class context(Block):
    """Say who and what the calls inside belong to: ``with context(session="s-1", user="ann")``.

    An inner block overrides ``session`` and ``user``, and adds to ``tags`` and ``metadata``.
    What is empty or None has no opinion. It reaches neither other threads nor other processes.
    """

    def __init__(
        self,
        session: str | None = None,
        user: str | None = None,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._session, self._user = session, user
        self._tags = [tags] if isinstance(tags, str) else list(tags or ())
        self._metadata = metadata or {}

    def __call__(self, function: Function) -> Function:
        """The block around every call of a function."""
        return decorated(
            function,
            lambda args, kwargs: context(self._session, self._user, self._tags, self._metadata),
        )

    def enter(self) -> Context:
        """The present context with what this block says."""
        here = get_current()
        with gate:
            return self._over(here)
        return here

    def _over(self, outer: Context) -> Context:
        values = {
            OI.SESSION_ID: _text(self._session),
            OI.USER_ID: _text(self._user),
            OI.TAG_TAGS: self._all_tags(outer.get(OI.TAG_TAGS)),
            OI.METADATA: self._merged(outer.get(OI.METADATA)),
        }
        for key, value in values.items():
            outer = set_value(key, value, outer) if value else outer
        return outer

    def _all_tags(self, outer: object) -> list[str]:
        above = outer if isinstance(outer, list | tuple) else ()
        return list(dict.fromkeys(map(str, (*above, *self._tags))))

    def _merged(self, outer: object) -> str:
        if not self._metadata:
            return ""
        try:
            below = json.loads(outer) if isinstance(outer, str) else {}
        except ValueError:
            below = {}
        below = below if isinstance(below, dict) else {}
        return json.dumps(below | snapshot(self._metadata), ensure_ascii=False)


class trace(Block):
    """A span around a step of the app: ``with trace("answer") as step: step.output = …``.

    As a decorator it also records the arguments and what the function returns. What is recorded
    of them leaves only as the capture level allows. An exception is recorded and goes on.
    """

    def __init__(self, name: str, kind: StepKind = "chain") -> None:
        super().__init__()
        self.name, self.kind = name, kind
        self._spans: list[Span] = []

    def __call__(self, function: Function) -> Function:
        """A span around every call of a function."""
        signature = inspect.signature(function)
        return decorated(
            function,
            lambda args, kwargs: _CallTrace(self.name, self.kind, signature, args, kwargs),
        )

    def enter(self) -> Context:
        """The present context with a new span in it."""
        here = get_current()
        span: Span = otel.INVALID_SPAN
        with gate:
            if not suppressed(here):
                span = self._start(here)
        self._spans.append(span)
        return here if span is otel.INVALID_SPAN else otel.set_span_in_context(span, here)

    def leave(self, error: BaseException | None) -> None:
        """End the span."""
        span = self._spans.pop()
        with gate:
            if error is not None and span.is_recording():
                span.record_exception(error)
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        with gate:
            span.end()

    def set(self, key: str, value: Any) -> None:
        """One more attribute. Keys of no known convention leave at level ``full`` only."""
        with gate:
            self._span.set_attribute(key, value)

    @property
    def input(self) -> Any:
        """What the step was given. Set it; it is not kept here."""
        return None

    @input.setter
    def input(self, value: Any) -> None:
        self._record("input", value)

    @property
    def output(self) -> Any:
        """What the step made. Set it; it is not kept here."""
        return None

    @output.setter
    def output(self, value: Any) -> None:
        self._record("output", value)

    @property
    def _span(self) -> Span:
        return self._spans[-1] if self._spans else otel.INVALID_SPAN

    def _start(self, here: Context) -> Span:
        recorder = connected()
        provider = recorder.tracer_provider if recorder else otel.get_tracer_provider()
        attributes: dict[str, Any] = {OI.OPENINFERENCE_SPAN_KIND: str(self.kind).upper()}
        attributes |= {key: here[key] for key in _INHERITED if here.get(key)}
        return provider.get_tracer(_SCOPE).start_span(self.name, here, attributes=attributes)

    def _record(self, side: str, value: Any) -> None:
        with gate:
            if self._span.is_recording():
                text = isinstance(value, str)
                body = value if text else json.dumps(snapshot(value), ensure_ascii=False)
                mime = "text/plain" if text else "application/json"
                self._span.set_attributes({f"{side}.value": body, f"{side}.mime_type": mime})


class _CallTrace(trace):
    """The span of one call of a decorated function."""

    def __init__(
        self,
        name: str,
        kind: StepKind,
        signature: inspect.Signature,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        super().__init__(name, kind)
        self._signature, self._args, self._kwargs = signature, args, kwargs

    def enter(self) -> Context:
        """As `trace`; the arguments are its input."""
        inside = super().enter()
        try:
            bound = self._signature.bind(*self._args, **self._kwargs)
        except TypeError:  # the function itself will say what is wrong with them
            return inside
        self.input = dict(bound.arguments)
        return inside

    def returned(self, value: Any) -> None:
        """What the function returned is its output."""
        self.output = value


def _text(value: object) -> str:
    return "" if value is None else str(value)
