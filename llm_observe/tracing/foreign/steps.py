"""Steps and scores on a provider that is not ours: only what the level allows is put on a span.

What happens to the span after its end is the provider's business, so it must be right before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from traceback import TracebackException
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    Span,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
)

from llm_observe.conventions import CAPTURE_LEVEL, CONFIG_HASH, renamed
from llm_observe.settings.model import Settings
from llm_observe.tracing.around.stepping import SCOPE, outcome, words
from llm_observe.tracing.call import class_name
from llm_observe.tracing.contexts import within
from llm_observe.tracing.export.cleaning import clean, clean_text
from llm_observe.tracing.foreign.ending import found
from llm_observe.tracing.foreign.fit import fitted, room_on
from llm_observe.tracing.rendering.filtering import filter_under, privacy_of
from llm_observe.tracing.rendering.scrubbing import Filter, scrub, scrub_event, scrub_status
from llm_observe.tracing.sampling.routes import hand_on, remember, route_of
from llm_observe.tracing.sampling.subjects import subject_of_attributes
from llm_observe.version import __version__

Attributes = Mapping[str, Any]


def start(
    provider: TracerProvider,
    settings: Settings,
    service: str,
    name: str,
    context: Context,
    attributes: Attributes,
    links: Sequence[Link],
) -> Span:
    """Start a step's span. ``context`` holds nothing that the level forbids."""
    around, tracer = get_current_span(context), provider.get_tracer(SCOPE, __version__)
    allowed = _through(
        _filter(attributes, settings, service, route_of(around)), attributes, settings
    )
    # Some tracers read the current context, whatever they are given.
    span: Span = within(context, tracer.start_span, name, context, attributes=allowed, links=links)
    remember(span, around)
    return span


def end(
    span: Span,
    said: Attributes,
    error: BaseException | None,
    settings: Settings,
    service: str,
    config_hash: str,
    end_ns: int | None = None,
) -> None:
    """Put what was said onto the span as far as the level allows, and end it; now, if not given."""
    try:
        if span.is_recording():
            _write(span, said, error, settings, service, config_hash)
    finally:
        span.end(end_ns)


def copy(
    span: Span, said: Attributes, error: BaseException | None, config_hash: str
) -> ReadableSpan | None:
    """An ended span under the same ids with all that was said, for a pipeline of our own.

    It decides at export what may leave. None for a span that was not sampled.
    """
    identity = span.get_span_context()
    if not identity.trace_flags.sampled:
        return None
    failed = error if isinstance(error, Exception) else None
    now = time.time_ns()
    attributes = {**said, **(outcome(error) if error is not None else {}), CONFIG_HASH: config_hash}
    copied = ReadableSpan(
        str(getattr(span, "name", "step")),
        identity,
        parent=getattr(span, "parent", None),
        resource=Resource.get_empty(),
        attributes=attributes,
        events=[Event("exception", _exception(failed))] if failed is not None else (),
        links=getattr(span, "links", ()),
        status=Status(StatusCode.ERROR, words(failed)) if failed is not None else Status(),
        start_time=getattr(span, "start_time", None) or now,
        end_time=getattr(span, "end_time", None) or now,
        instrumentation_scope=InstrumentationScope(SCOPE, __version__),
    )
    hand_on(span, copied)
    return copied


def _write(
    span: Span,
    said: Attributes,
    error: BaseException | None,
    settings: Settings,
    service: str,
    config_hash: str,
) -> None:
    everything = {**said, **(outcome(error) if error is not None else {})}
    keep = _filter(everything, settings, service, route_of(span))
    kept = _through(keep, everything, settings)
    kept |= (
        found(keep)
        | {CAPTURE_LEVEL: str(keep.level)}
        | ({CONFIG_HASH: config_hash} if config_hash else {})
    )
    span.set_attributes(fitted(kept, room_on(span, kept)))
    if isinstance(error, Exception):
        span.add_event("exception", clean(scrub_event(_exception(error), keep, llm=True)))
        told = scrub_status(words(error), keep)
        span.set_status(Status(StatusCode.ERROR, clean_text(told or type(error).__name__)))


def _filter(attributes: Attributes, settings: Settings, service: str, route: str) -> Filter:
    return filter_under(
        privacy_of(settings), lambda: subject_of_attributes(attributes, service, route)
    )


def _through(keep: Filter, attributes: Attributes, settings: Settings) -> dict[str, Any]:
    kept = clean(scrub(attributes, keep, llm=True))
    return dict(renamed(kept, settings.conventions.genai))


def _exception(error: Exception) -> Attributes:
    stack = TracebackException.from_exception(error, compact=True)
    return {
        "exception.type": class_name(type(error)),
        "exception.message": words(error).partition(": ")[2],
        "exception.stacktrace": "".join(stack.format()),
    }
