"""Spans of the app's own steps: chains, tools, retrievers, agents and the like.

`trace` is a context manager and a decorator. What it records of values leaves only as the capture
level in force at export allows; attributes of no known convention leave at ``full`` only.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, overload

from openinference.semconv.trace import SpanAttributes as OI
from opentelemetry import trace as otel
from opentelemetry.context import Context, get_current, set_value

from llm_observe.tracing.around import kinds
from llm_observe.tracing.around.arguments import Arguments, function_name
from llm_observe.tracing.around.blocks import Block, Stay
from llm_observe.tracing.around.decorating import Function, decorated
from llm_observe.tracing.around.kinds import StepKind
from llm_observe.tracing.around.recording import Recording
from llm_observe.tracing.around.stepping import Handle, begin
from llm_observe.tracing.around.yielded import Yielded
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping.active import STEP_KEY
from llm_observe.tracing.wrapping.recorder import suppressed

_INHERITED = (OI.SESSION_ID, OI.USER_ID, OI.METADATA, OI.TAG_TAGS)
_TEMPLATE = (
    OI.LLM_PROMPT_TEMPLATE,
    OI.LLM_PROMPT_TEMPLATE_VERSION,
    OI.LLM_PROMPT_TEMPLATE_VARIABLES,
)
_LONGEST_NAME = 256
_DESCRIPTORS = (classmethod, staticmethod, property, functools.cached_property)
"""What stands above a method and cannot be called itself."""


class Step(Block, Recording):
    """One step of the app, made by `trace`.

    What is said about it is said of the stay that is current here, where one object was entered
    several times.
    """

    def __init__(
        self, name: str, kind: str, *, capture_input: bool = True, capture_output: bool = True
    ) -> None:
        super().__init__()
        self.name, self.kind = "", "chain"
        with gate:  # whatever they are, their text may be code of the app
            self.name = str(name)[:_LONGEST_NAME]
        with gate:
            self.kind = kinds.known(kind)
        self._capture_input, self._capture_output = capture_input, capture_output
        self._last: Handle | None = None

    def __call__(self, function: Function) -> Function:
        """A span around every call of a function.

        Its arguments and what it returns are recorded, unless `trace` was told not to; of a
        generator, what it yielded. A generator's span begins with the first item and ends with
        the last one, or when it is closed or dropped.
        """
        with gate:
            name, arguments = self.name or function_name(function), Arguments(function)

            def enter(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Stay:
                return self._called(name, arguments, args, kwargs)

            return decorated(function, enter)
        return function

    def enter(self) -> Stay:
        """A new span in the present context; none where instrumentation is suppressed."""
        stay = self._begin(self.name or "step", None)
        self._last = stay.handle if isinstance(stay, _Stay) else None
        return stay

    def _handle(self) -> Handle | None:
        stay = self.here()
        return stay.handle if isinstance(stay, _Stay) else self._last

    def _called(
        self, name: str, arguments: Arguments, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Stay:
        stay = self._begin(name, Yielded() if self._capture_output else None)
        if isinstance(stay, _Stay) and stay.handle.content:
            stay.handle.write(lambda: kinds.function(self.kind, arguments.description))
            if self._capture_input:
                stay.handle.write(lambda: kinds.given(self.kind, arguments.bound(args, kwargs)))
        return stay

    def _begin(self, name: str, yielded: Yielded | None) -> Stay:
        here = get_current()
        with gate:
            if not suppressed(here):
                handle = _start(name, self.kind, here)
                if handle.span.get_span_context().is_valid:  # else it would hide the caller's
                    return _Stay(handle, here, yielded)
        return Stay(here)


class _Stay(Stay):
    """A step under way. With ``yielded`` it records by itself what came out."""

    def __init__(self, handle: Handle, outer: Context, yielded: Yielded | None) -> None:
        inside = otel.set_span_in_context(handle.span, outer)
        super().__init__(set_value(STEP_KEY, handle, inside))
        self.handle, self._yielded = handle, yielded

    def item(self, value: Any) -> None:
        with gate:
            handle = self.handle
            if self._yielded is not None and handle.content and handle.span.is_recording():
                self._yielded.add(value)

    def returned(self, value: Any) -> None:
        yielded, self._yielded = self._yielded, None
        if yielded is not None:
            handle = self.handle
            handle.write(lambda: kinds.made(handle.kind, yielded.all(value), handle.content))

    def leave(self, error: BaseException | None) -> None:
        if self._yielded is not None and self._yielded.count:
            self.returned(None)
        self.handle.end(error)


@overload
def trace(name: Function, /) -> Function: ...
@overload
def trace(
    name: str | None = "",
    kind: StepKind = "chain",
    *,
    capture_input: bool = True,
    capture_output: bool = True,
) -> Step: ...
def trace(
    name: Any = "",
    kind: StepKind = "chain",
    *,
    capture_input: bool = True,
    capture_output: bool = True,
) -> Any:
    """A span around a step of the app: ``with trace("answer") as step: step.output = …``.

    Also ``async with``, and a decorator of functions, coroutine functions, generators, async
    generators, methods, class and static methods: ``@trace``, or ``@trace("search", "tool")``.
    An exception is recorded and goes on.

    Args:
        name: Name of the span; by default the function's qualified name.
        kind: What OpenInference calls the step; see `StepKind`.
        capture_input: Whether a decorated function's arguments are recorded.
        capture_output: Whether what it returns or yields is recorded.
    """
    bare = callable(name) or isinstance(name, _DESCRIPTORS)
    called = "" if bare or name is None else name
    step = Step(called, kind, capture_input=capture_input, capture_output=capture_output)
    return step(name) if bare else step


def _start(name: str, kind: str, here: Context) -> Handle:
    keys = (*_INHERITED, *_TEMPLATE) if kind in ("llm", "prompt") else _INHERITED
    inherited = {key: here[key] for key in keys if here.get(key)}
    return begin(name, kind, here, {**kinds.start(kind, name), **inherited})
