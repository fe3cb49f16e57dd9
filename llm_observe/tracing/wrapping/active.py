"""A call under way: its `Call`, its span, and every way in which it can end, once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from traceback import TracebackException
from typing import Any, Protocol

from opentelemetry.context import Context, create_key, set_value
from opentelemetry.trace import Span, SpanContext

from llm_observe.conventions import CONTEXT_ATTRIBUTES, CONTEXT_FIELDS
from llm_observe.tracing.call import Call, class_name
from llm_observe.tracing.contexts import with_span
from llm_observe.tracing.gate import gate
from llm_observe.tracing.providers.base import Provider, Request
from llm_observe.tracing.wrapping import inflight
from llm_observe.tracing.wrapping.async_streams import async_proxy
from llm_observe.tracing.wrapping.recorder import Recorder, taking
from llm_observe.tracing.wrapping.streams import proxy

ACTIVE_KEY = create_key("llm-observe-call")
"""Where the context holds the call whose library code runs."""
STEP_KEY = create_key("llm-observe-step")
"""Where the context holds the innermost step of the app (`Step`)."""


class Step(Protocol):
    """A step of the app, around a call."""

    def called(self, span: SpanContext) -> None:
        """A call began inside. Any thread."""


class Active:
    """A call under way. Implements `streams.Listener` and `inflight.Pending`."""

    __slots__ = (
        "_nameless",
        "_outside",
        "_recorder",
        "_span",
        "_touched_ns",
        "anchors",
        "call",
        "context",
        "keys",
        "provider",
        "take",
    )

    def __init__(self, provider: Provider, recorder: Recorder, call: Call, base: Context) -> None:
        self.provider, self.call, self._recorder = provider, call, recorder
        self.take: Callable[[Any], object] = _ignore
        self.keys: tuple[Hashable, ...] = ()
        self.anchors: dict[int, Any] = {}
        self._touched_ns: int | None = None
        _fill(call, base)
        self._span = span = recorder.start(call, base)
        self._nameless = not call.request_model  # the server knows the model by its version
        there = span.get_span_context().is_valid  # an invalid span would hide the caller's
        self.context = (with_span if there else _without)(base, span, ACTIVE_KEY, self)
        self._outside = base
        inflight.began(self)
        if there and STEP_KEY in base:
            with gate:
                step: Step = base[STEP_KEY]  # type: ignore[assignment]  # whoever sets it keeps the protocol
                step.called(span.get_span_context())

    # -- how it goes --------------------------------------------------------------------------

    def returned(self, value: Any) -> Any:
        """The library returned; what the caller gets."""
        kind = type(value)
        if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
            make = proxy if hasattr(kind, "__next__") else async_proxy
            with gate:
                self.streams()
                return make(value, call=self)
        try:
            self.provider.result(self.call, value)
        except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(error)
        self.finish()
        return value

    def streams(self) -> None:
        """The caller holds an iterator of the answer from here on."""
        self.provider.opened(self.call)
        self.reads()

    def reads(self) -> None:
        """Items of the answer come from here on."""
        self.take = self.provider.reader(self.call)
        self.touch()

    def part(self, value: Any) -> None:
        """The library made an object for this call."""
        try:
            if self.running:
                self.provider.part(self.call, value)
        except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(error)

    def stays(self, value: Any, over: bool = False) -> None:
        """The app goes on by itself with an object of the library, unless the answer is there."""
        with gate:
            self.provider.part(self.call, value)
            if not (self.provider.over(self.call) or over) and self.running:
                self.touch()
                keys = [(self.provider.name, key) for key in self.provider.keys(self.call)]
                inflight.hold(self, value, self.provider.anchor(value), keys)
                return
        self.finish()

    def touch(self) -> None:
        """The app did something with it."""
        self._touched_ns = self.call.now()

    def works(self) -> None:
        """The library works on it; a `touch` says that it no longer does."""
        self._touched_ns = None

    # -- how it ends --------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Until it has ended, or in a forked child, where it never was."""
        return inflight.is_running(self)

    @property
    def idle_s(self) -> float:
        """Seconds since the app did something with it; 0 while the library works."""
        if self._touched_ns is None:
            return 0.0
        return (self.call.now() - max(self._touched_ns, self.call.touched_ns)) / 1e9

    def note(self, error: BaseException | None) -> None:
        """What the library raised last; None: it has recovered."""
        with gate:
            self.call.error_type = "" if error is None else type(error).__qualname__
            self.call.error_class = "" if error is None else class_name(type(error))
            self.call.error_message = "" if error is None else str(error)
            self.call.error = None if error is None else _without_frames(error)

    def stumbled(self, error: BaseException) -> None:
        """A step of an opened call raised: the end, if the answer was there, else one try of many."""
        self.note(error)
        with gate:
            if not self.provider.over(self.call):
                self.touch()
                return
        self.finish()

    def fail(self, error: BaseException) -> None:
        """The library raised."""
        self.note(error)
        self.finish()

    def abort(self) -> None:
        """The caller broke it off."""
        if self.running:
            self.call.aborted = True
            self.finish()

    def abandon(self) -> None:
        """The caller dropped it; it ended when it was last used, not when that was found."""
        if self.running:
            call = self.call
            if call.end_ns is None and self._touched_ns is not None:
                call.end_ns = max(self._touched_ns, call.touched_ns)
            call.aborted = not call.error_type
            self.finish()

    def finish(self) -> None:
        """End the span; only the first time."""
        if not inflight.ended(self):
            return
        self.take, call = _ignore, self.call
        self.context = self._outside  # the other one holds this call, which would hold it too
        try:
            self.provider.end(call)
        except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(error)
        call.inner = None
        if call.end_ns is None:
            call.end_ns = call.now()
        try:
            if self._nameless:
                self._span.update_name(call.name)
            self._recorder.finish(self._span, call)
        except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(error)


def begin(
    provider: Provider, base: Context, request: Request, instance: Any, args: Any, kwargs: Any
) -> Active | None:
    """Begin a call that was made in this context; None if nothing is taken, or a fault."""
    recorder = taking()
    try:
        if recorder is not None:
            inflight.sweep()
            return Active(provider, recorder, request(instance, args, kwargs), base)
    except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
        gate.caught(error)
    return None


def _ignore(item: Any) -> None:
    """It has not begun to stream, or has ended; the call is the recorder's then."""


def _without_frames(error: BaseException) -> TracebackException:
    return TracebackException(
        type(error), error, error.__traceback__, lookup_lines=False, compact=True
    )


def _without(context: Context, span: Span, key: str, value: object) -> Context:
    return set_value(key, value, context)


def _fill(call: Call, context: Context) -> None:
    """Session and its like, from the keys that OpenInference keeps in the context."""
    if not context:
        return
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
