"""An entry as the span that leaves: rendered or scrubbed under a level, at this very moment.

Content fails closed, telemetry fails open: whatever goes wrong here costs the content, and the
span goes on with its name, times and status. Heavy: loaded through `late`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status, StatusCode

from llm_observe.conventions import CAPTURE_LEVEL, CONTENT_DROPPED, is_llm
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, start_attributes
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.gate import gate
from llm_observe.tracing.render import render, scrub, scrub_event, scrub_status

_LONGEST_INT = 2**63


class OutgoingSpan(ReadableSpan):
    """A copy of an ended span that remembers what the original had dropped."""

    def __init__(self, original: ReadableSpan, resource: Resource, **made: Any) -> None:
        super().__init__(
            name=clean_text(original.name),
            context=original.get_span_context(),
            parent=original.parent,
            resource=resource,
            kind=original.kind,
            start_time=original.start_time,
            end_time=original.end_time,
            instrumentation_scope=original.instrumentation_scope,
            **made,
        )
        self._original = original

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


def present(entry: Entry, level: CaptureLevel, resource: Resource) -> OutgoingSpan:
    """The span as it may leave under this level. Never raises."""
    try:
        if entry.call is not None:
            return _rendered(entry.span, entry.call, level, resource)
        return _scrubbed(entry.span, level, resource)
    except Exception as error:  # noqa: BLE001  # content fails closed, the span goes on
        gate.report(error)
        return _bare(entry, level, resource)


def clean(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that OTLP can hold.

    The encoder would log a value that it cannot encode, and that value may be a prompt.
    """
    cleaned = {clean_text(str(key)): _clean(value) for key, value in attributes.items()}
    return {key: value for key, value in cleaned.items() if value is not None}


def clean_text(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _rendered(
    span: ReadableSpan, call: Call, level: CaptureLevel, resource: Resource
) -> OutgoingSpan:
    rendered = render(call, level)
    return OutgoingSpan(
        span,
        resource,
        attributes=clean(rendered.attributes),
        events=[Event(x.name, clean(x.attributes), x.timestamp_ns) for x in rendered.events],
        links=[],
        status=_status_of(rendered.error),
    )


def _scrubbed(span: ReadableSpan, level: CaptureLevel, resource: Resource) -> OutgoingSpan:
    attributes = span.attributes or {}
    llm = is_llm(attributes)
    return OutgoingSpan(
        span,
        resource,
        attributes=clean({**scrub(attributes, level, llm=llm), CAPTURE_LEVEL: str(level)}),
        events=[_scrubbed_event(event, level, llm) for event in span.events],
        links=[
            Link(link.context, clean(scrub_event(link.attributes or {}, level, llm=llm)))
            for link in span.links
        ],
        status=_scrubbed_status(span.status, level),
    )


def _scrubbed_event(event: Any, level: CaptureLevel, llm: bool) -> Event:
    kept = scrub_event(event.attributes or {}, level, llm=llm)
    return Event(clean_text(event.name), clean(kept), event.timestamp)


def _scrubbed_status(status: Status, level: CaptureLevel) -> Status:
    if status.description is None:
        return status
    description = scrub_status(status.description, level)
    return Status(status.status_code, clean_text(description) if description else None)


def _bare(entry: Entry, level: CaptureLevel, resource: Resource) -> OutgoingSpan:
    made = {CAPTURE_LEVEL: str(level), CONTENT_DROPPED: True}
    failed = entry.span.status.status_code is StatusCode.ERROR
    if entry.call is not None:
        made = {**clean(start_attributes(entry.call)), **made}
        failed = bool(entry.call.error_type)
    status = Status(StatusCode.ERROR if failed else StatusCode.UNSET)
    return OutgoingSpan(entry.span, resource, attributes=made, events=[], links=[], status=status)


def _status_of(error: str | None) -> Status:
    return (
        Status(StatusCode.UNSET) if error is None else Status(StatusCode.ERROR, clean_text(error))
    )


def _clean(value: Any) -> Any:
    if isinstance(value, bool | float | bytes) or value is None:
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return value if -_LONGEST_INT <= value < _LONGEST_INT else str(value)
    if isinstance(value, Mapping):
        return clean(value)
    if isinstance(value, list | tuple):
        return [item for item in map(_clean, value) if item is not None]
    return None
