"""How a call's span ends on a provider that is not ours, and what may reach such a span at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from llm_observe.conventions import CONTEXT_ATTRIBUTES, CONTEXT_FIELDS, FINDS, Kind, kind_of
from llm_observe.policy.capture import Verdict, verdict
from llm_observe.settings.model import CaptureLevel, Settings
from llm_observe.tracing.call import Call
from llm_observe.tracing.contexts import within
from llm_observe.tracing.export.cleaning import clean, clean_text
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.foreign.fit import fitted, room_on
from llm_observe.tracing.rendering.filtering import filter_under, privacy_of
from llm_observe.tracing.rendering.render import Filter, Rendered, render
from llm_observe.tracing.sampling.routes import route_of
from llm_observe.tracing.sampling.subjects import subject_of_call

_CONTEXT_KEYS = (*(key for key, _ in CONTEXT_FIELDS), *CONTEXT_ATTRIBUTES, "tag.tags")
_POLL_S = 0.005

Ended = Callable[[Span, Call], None]


class Ender:
    """Stands where the intake has its destinations: ends what waited, and tells of all."""

    def __init__(self, end: Ended, ended: Ended | None) -> None:
        self._end, self._ended = end, ended

    def start(self) -> None:
        """Nothing has to be ready."""

    def offer(self, entry: Entry) -> None:
        """A call is over, and as complete as it will be; or a step is to be ended.

        This thread is one on which instrumentation is suppressed, and some processors (Logfire's)
        drop what ends where it is.
        """
        within(Context(), self._take, entry.span, entry.call)

    def _take(self, span: object, call: Call | None) -> None:
        if isinstance(span, partial):
            span()
        elif isinstance(span, Span) and call is not None:
            if span.is_recording():
                self._end(span, call)
            if self._ended is not None:
                self._ended(span, call)

    def offer_metrics(self, payload: bytes) -> None:
        """There are none: the meter's provider exports by itself."""

    def watch(self, now: float) -> None:
        """No request of ours is under way."""


class Endings:
    """The spans that are being ended at this moment, on any thread. Holds no lock."""

    def __init__(self) -> None:
        self._busy: dict[object, None] = {}

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around an ending; enter it before the level is read, so that `settled` sees it."""
        token = object()
        self._busy[token] = None
        try:
            yield
        finally:
            self._busy.pop(token, None)

    def settled(self, deadline: float) -> bool:
        """Wait until those are over that are under way now; False when time ran out."""
        before = [*self._busy]
        while any(token in self._busy for token in before):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True


def write(span: Span, call: Call, settings: Settings, service: str) -> None:
    """Put onto a span what these settings let through of its call."""
    call.settle()
    if span.is_recording():
        there = getattr(span, "attributes", None) or {}
        keep = filter_under(
            privacy_of(settings), lambda: subject_of_call(call, service, there, route_of(span))
        )
        rendered = render(call, keep, settings.conventions.genai)
        attributes = clean(rendered.attributes) | found(keep)
        span.set_attributes(fitted(attributes, room_on(span, attributes)))
        _tell(span, rendered)


def found(keep: Filter) -> dict[str, int]:
    """What redaction found in a span, as its attributes."""
    return {f"{FINDS}.{rule}": number for rule, number in keep.finds().items()}


def allowed(context: Context, level: CaptureLevel) -> Context:
    """The context less what may not be recorded: some tracers write it onto every span."""
    hidden = [key for key in _hidden(level) if key in context]
    if not hidden:
        return context
    return Context({key: value for key, value in context.items() if key not in hidden})


def in_time(function: Callable[[], object], timeout_s: float) -> bool:
    """Whether it said yes within the time. The SDK's own force_flush ignores its time-out."""
    answers: list[object] = []
    thread = threading.Thread(
        target=lambda: answers.append(function()), name="llm-observe-drain", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending: the provider's own end is near
        return False
    thread.join(max(0.0, timeout_s))
    return bool(answers and answers[0])


def _tell(span: Span, rendered: Rendered) -> None:
    for event in rendered.events:
        span.add_event(event.name, clean(event.attributes), event.timestamp_ns)
    if rendered.error is not None:
        span.set_status(Status(StatusCode.ERROR, clean_text(rendered.error)))


@cache
def _hidden(level: CaptureLevel) -> tuple[str, ...]:
    kinds = ((key, kind_of(key) or Kind.INPUT) for key in _CONTEXT_KEYS)
    return tuple(key for key, kind in kinds if verdict(kind, level) is not Verdict.KEEP)
