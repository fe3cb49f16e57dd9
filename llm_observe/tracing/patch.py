"""The one wrapper around every client library.

It turns one call of a library into one `Call` and one span: started once and ended once, whether
the call returns, fails, streams to its end, is broken off, closed, or left to the garbage
collector, in whatever thread. The caller gets the library's own value, type and exceptions.

The span's context is current only while the library's code runs. It is attached per step of a
stream and never held across a ``yield``, so that spans of the caller between two pieces do not
become children of the call, and a stream may be finished in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from traceback import TracebackException
from typing import Any, Protocol

from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    create_key,
    get_current,
    set_value,
)
from opentelemetry.trace import Span, TracerProvider, set_span_in_context

from llm_observe.conventions import CONTEXT_ATTRIBUTES, CONTEXT_FIELDS
from llm_observe.tracing.call import Call
from llm_observe.tracing.gate import gate
from llm_observe.tracing.providers.base import Provider, Target
from llm_observe.tracing.streams import proxy, within

_ACTIVE_KEY = create_key("llm-observe-call")


class Recorder(Protocol):
    """Takes calls; one per process, given by `connect`.

    Both methods run on the app's threads. ``finish`` may run inside a finalizer at any point of
    any thread: it must not take a lock that the thread it interrupts could hold
    (``deque.append`` and ``SimpleQueue.put`` are safe).
    """

    @property
    def tracer_provider(self) -> TracerProvider:
        """Where further spans of ours are made."""

    def start(self, call: Call) -> Span:
        """Start the span, child of the current context, at ``call.start_ns``."""

    def finish(self, span: Span, call: Call) -> None:
        """End the span at ``call.end_ns`` and take the call over."""


_recorder: Recorder | None = None


def connect(recorder: Recorder | None) -> None:
    """Give every wrapper its recorder; None makes them all transparent."""
    global _recorder
    _recorder = recorder


def connected() -> Recorder | None:
    """The recorder in use."""
    return _recorder


def suppressed(context: Context) -> bool:
    """Whether instrumentation is paused here.

    Both keys that OpenTelemetry and OpenInference set for it are known.
    """
    return bool(
        context.get(_SUPPRESS_INSTRUMENTATION_KEY) or context.get("suppress_instrumentation")
    )


class Active:
    """A call under way, with its span."""

    __slots__ = ("_context", "_open", "_recorder", "_touched_ns", "call", "provider")

    def __init__(self, provider: Provider, recorder: Recorder, call: Call, base: Context) -> None:
        self.provider, self.call, self._recorder = provider, call, recorder
        _fill(call, base)
        span = within(base, recorder.start, call)
        there = span.get_span_context().is_valid  # an invalid span would hide the caller's
        inside = set_span_in_context(span, base) if there else base
        self._context = set_value(_ACTIVE_KEY, self, inside)
        self._open = [span]  # pop() is atomic: whoever gets the span ends it
        self._touched_ns = call.start_ns

    def step(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the library's code with the span current."""
        return within(self._context, function, *args, **kwargs)

    def item(self, item: Any) -> None:
        """The stream gave one item to the caller."""
        if not self._open:
            return  # it has ended; the call is the recorder's now
        with gate:
            text = self.provider.chunk(self.call, item)
            if text is not None:
                self.call.add_chunk(text)
            self._touched_ns = self.call.now()

    def returned(self, value: Any) -> Any:
        """The library returned; what the caller gets."""
        if hasattr(type(value), "__next__"):
            with gate:
                self.provider.opened(self.call)
                return proxy(value, call=self)
        with gate:
            self.provider.result(self.call, value)
        self.finish()
        return value

    def fail(self, error: BaseException) -> None:
        """The library raised."""
        with gate:
            self.call.error_type = type(error).__qualname__
            self.call.error_message = str(error)
            self.call.error = TracebackException(
                type(error), error, error.__traceback__, lookup_lines=False, compact=True
            )
        self.finish()

    def abort(self) -> None:
        """The caller broke the stream off."""
        self.call.aborted = self.call.aborted or bool(self._open)
        self.finish()

    def abandon(self) -> None:
        """The caller dropped the stream; it ended when it was last used, not when it was found."""
        if self._open and self.call.end_ns is None:
            self.call.end_ns = self._touched_ns
        self.abort()

    def finish(self) -> None:
        """End the span; only the first time."""
        try:
            span = self._open.pop()
        except IndexError:
            return
        with gate:
            self.provider.end(self.call)
        self.call.inner = None
        if self.call.end_ns is None:
            self.call.end_ns = self.call.now()
        with gate:
            self._recorder.finish(span, self.call)


class Patch:
    """The wrapper of one target, in the shape that wrapt calls.

    ``on`` False makes it transparent; for wrappers that cannot be taken off again.
    """

    def __init__(self, provider: Provider, target: Target) -> None:
        self.on = True
        self._provider = provider
        self._run = {"call": self._call, "lazy": self._lazy, "part": self._part}[target.kind]

    def __call__(
        self,
        wrapped: Callable[..., Any],
        instance: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """One call of the target, as the app made it."""
        return self._run(wrapped, args, kwargs)

    def _call(
        self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        context = get_current()
        active = self._begin(context, args, kwargs, False) if self._wanted(context) else None
        if active is None:
            return wrapped(*args, **kwargs)
        try:
            value = active.step(wrapped, *args, **kwargs)
        except BaseException as error:
            active.fail(error)
            raise
        return active.returned(value)

    def _lazy(
        self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        value = wrapped(*args, **kwargs)
        context = get_current()
        if self._wanted(context):
            with gate:
                start = partial(self._begin, context, args, kwargs, True)
                return proxy(value, start=start)
        return value

    def _part(
        self, wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        value = wrapped(*args, **kwargs)
        with gate:
            active = get_current().get(_ACTIVE_KEY)
            if isinstance(active, Active) and active.provider is self._provider:
                self._provider.part(active.call, value)
        return value

    def _wanted(self, context: Context) -> bool:
        if _recorder is None or not self.on or suppressed(context):
            return False
        outer = context.get(_ACTIVE_KEY)  # one surface of a library built on another: one span
        return not (isinstance(outer, Active) and outer.provider is self._provider)

    def _begin(
        self, base: Context, args: tuple[Any, ...], kwargs: Mapping[str, Any], streaming: bool
    ) -> Active | None:
        recorder = _recorder
        with gate:
            if recorder is not None:
                call = self._provider.begin(args, kwargs, streaming=streaming)
                return Active(self._provider, recorder, call, base)
        return None


def _fill(call: Call, context: Context) -> None:
    """Session and its like, from the keys that OpenInference keeps in the context."""
    for key, name in CONTEXT_FIELDS:
        value = context.get(key)
        if value:
            setattr(call, name, str(value))
    tags = context.get("tag.tags")
    if isinstance(tags, list | tuple):
        call.tags = tuple(map(str, tags))
    for key in CONTEXT_ATTRIBUTES:
        if key in context:
            call.attributes[key] = context[key]
