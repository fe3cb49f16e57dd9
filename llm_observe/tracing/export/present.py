"""An entry as the span that leaves: rendered or scrubbed under a level, at this very moment.

Content fails closed, telemetry fails open: whatever goes wrong here costs the content, and the
span goes on with its name, times and status. Heavy: loaded through `late`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Status, StatusCode

from llm_observe.conventions import (
    CAPTURE_LEVEL,
    CONTENT_DROPPED,
    FINDS,
    KEPT,
    NEWEST,
    GenAI,
    is_llm,
    renamed,
    schema_url,
)
from llm_observe.policy.matching import Subject
from llm_observe.tracing.call import Call, start_attributes
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.turns import in_turns
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.filtering import filter_under
from llm_observe.tracing.rendering.privacy import Privacy
from llm_observe.tracing.rendering.render import (
    By,
    Filter,
    filter_of,
    render,
    scrub,
    scrub_event,
    scrub_status,
)
from llm_observe.tracing.rendering.tally import tally
from llm_observe.tracing.sampling.routes import route_of
from llm_observe.tracing.sampling.subjects import service_of, subject_of_attributes, subject_of_call
from llm_observe.tracing.span import CallSpan


class OutgoingSpan(ReadableSpan):
    """A copy of an ended span that remembers what the original had dropped."""

    def __init__(
        self,
        original: ReadableSpan,
        resource: Resource,
        scope: InstrumentationScope | None,
        **made: Any,
    ) -> None:
        super().__init__(
            name=original.name,
            context=original.get_span_context(),
            parent=original.parent,
            resource=resource,
            kind=original.kind,
            start_time=original.start_time,
            end_time=original.end_time,
            instrumentation_scope=scope,
            **made,
        )
        self._original = original

    def say(self, key: str, value: str | int) -> None:
        """One attribute more."""
        self._attributes = {**(self.attributes or {}), key: value}

    @property
    def dropped_attributes(self) -> int:
        """As counted by the SDK."""
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        """As counted by the SDK."""
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        """As counted by the SDK."""
        return self._original.dropped_links


def present_all(
    entries: Iterable[Entry], privacy: Privacy, resource: Resource, genai: GenAI = NEWEST
) -> Iterator[OutgoingSpan]:
    """Each of a batch; other threads have their turn meanwhile."""
    service = service_of(resource)
    return in_turns(
        present(entry, filter_under(privacy, partial(_subject, entry, service)), resource, genai)
        for entry in entries
    )


def _subject(entry: Entry, service: str) -> Subject:
    """What is known of a span when it leaves, for the matchers of the settings."""
    attributes, route = entry.span.attributes or {}, route_of(entry.span)
    if entry.call is None:
        return subject_of_attributes(attributes, service, route)
    return subject_of_call(entry.call, service, attributes, route)


def present(entry: Entry, by: By, resource: Resource, genai: GenAI = NEWEST) -> OutgoingSpan:
    """The span as it may leave, a call's under these names. Never raises."""
    keep = filter_of(by)
    span = _presented(entry, keep, resource, genai)
    finds = keep.finds()
    for rule, number in finds.items():
        span.say(f"{FINDS}.{rule}", number)
    tally.add(entry.span, finds)
    if entry.kept:
        span.say(KEPT, entry.kept)
    return span


def _presented(entry: Entry, keep: Filter, resource: Resource, genai: GenAI) -> OutgoingSpan:
    try:
        if entry.call is not None:
            return _rendered(entry.span, entry.call, keep, resource, genai)
        return _scrubbed(entry.span, keep, resource)
    except Exception as error:  # noqa: BLE001  # content fails closed, the span goes on
        gate.report(error)
        return _bare(entry, keep, resource, genai)


def _rendered(
    span: ReadableSpan, call: Call, keep: Filter, resource: Resource, genai: GenAI
) -> OutgoingSpan:
    rendered, said = render(call, keep, genai), _said(span, call)
    events = [Event(x.name, x.attributes, x.timestamp_ns) for x in rendered.events]
    return OutgoingSpan(
        span,
        resource,
        _scope(span, genai),
        attributes=scrub(said, keep, llm=True) | rendered.attributes
        if said
        else rendered.attributes,
        events=[*events, *(_scrubbed_event(event, keep, True) for event in span.events)],
        links=_scrubbed_links(span, keep, True),
        status=_status_of(rendered.error) or _scrubbed_status(span.status, keep),
    )


def _said(span: ReadableSpan, call: Call) -> dict[str, Any]:
    """What others put on the span of a call while it ran."""
    if isinstance(span, CallSpan):
        return {} if span.remarks is None else {**span.remarks.attributes}
    began = start_attributes(call)
    return {key: value for key, value in (span.attributes or {}).items() if key not in began}


def _scrubbed(span: ReadableSpan, keep: Filter, resource: Resource) -> OutgoingSpan:
    attributes = span.attributes or {}
    llm = is_llm(attributes)
    return OutgoingSpan(
        span,
        resource,
        span.instrumentation_scope,
        attributes={**scrub(attributes, keep, llm=llm), CAPTURE_LEVEL: str(keep.level)},
        events=[_scrubbed_event(event, keep, llm) for event in span.events],
        links=_scrubbed_links(span, keep, llm),
        status=_scrubbed_status(span.status, keep),
    )


def _scrubbed_event(event: Any, keep: Filter, llm: bool) -> Event:
    kept = scrub_event(event.attributes or {}, keep, llm=llm)
    return Event(event.name, kept, event.timestamp)


def _scrubbed_links(span: ReadableSpan, keep: Filter, llm: bool) -> list[Link]:
    return [
        Link(link.context, scrub_event(link.attributes or {}, keep, llm=llm)) for link in span.links
    ]


def _scrubbed_status(status: Status, keep: Filter) -> Status:
    if status.description is None:
        return status
    description = scrub_status(status.description, keep)
    return Status(status.status_code, description or None)


def _bare(entry: Entry, keep: Filter, resource: Resource, genai: GenAI) -> OutgoingSpan:
    made = {CAPTURE_LEVEL: str(keep.level), CONTENT_DROPPED: True}
    scope = entry.span.instrumentation_scope
    failed = entry.span.status.status_code is StatusCode.ERROR
    if entry.call is not None:
        made = {**renamed(start_attributes(entry.call), genai), **made}
        scope = _scope(entry.span, genai)
        failed = bool(entry.call.error_type)
    status = Status(StatusCode.ERROR if failed else StatusCode.UNSET)
    return OutgoingSpan(
        entry.span, resource, scope, attributes=made, events=[], links=[], status=status
    )


def _scope(span: ReadableSpan, genai: GenAI) -> InstrumentationScope | None:
    """The span's scope, which says under which release's names its spans are written."""
    scope = span.instrumentation_scope
    return scope and _scope_of(scope.name, scope.version, genai)


@lru_cache(maxsize=32)
def _scope_of(name: str, version: str | None, genai: GenAI) -> InstrumentationScope:
    return InstrumentationScope(name, version, schema_url(genai))


def _status_of(error: str | None) -> Status | None:
    return None if error is None else Status(StatusCode.ERROR, error)
