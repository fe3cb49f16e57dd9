"""The span of an LLM call: a real span to everybody, and next to nothing to the caller's thread.

What a call is stands in its `Call` and is rendered when it leaves, so its span has only to be
there: an identity that children, links and exemplars refer to, and a place for what others
(the app, an HTTP instrumentor's hook) say about the current span while the call runs. The SDK's
span prepares for much more and costs six times as much to start and end.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from llm_observe.tracing.call import Call, class_name, start_attributes

_UNSET = Status(StatusCode.UNSET)


@dataclass(slots=True)
class Origin:
    """What all spans of one pipeline share."""

    scope: InstrumentationScope
    resource: Resource
    limits: SpanLimits


class Remarks:
    """What others said about a span, within the limits that hold for every span."""

    def __init__(self, limits: SpanLimits) -> None:
        self.limits = limits
        self.attributes = BoundedAttributes(
            limits.max_span_attributes, None, False, limits.max_span_attribute_length
        )
        self.events: BoundedList[Event] = BoundedList(limits.max_events)
        self.links: BoundedList[Link] = BoundedList(limits.max_links)
        self.status = _UNSET

    def bounded(self, attributes: Attributes, most: int | None) -> BoundedAttributes:
        """An immutable copy, for an event or a link."""
        return BoundedAttributes(most, attributes, True, self.limits.max_attribute_length)


class CallSpan(ReadableSpan, Span):
    """Implements `opentelemetry.trace.Span` and can be read as an ended span of the SDK.

    After `end` nothing changes it any more. Safe from any thread; `end` takes no lock.
    """

    # The SDK's constructor copies and checks what here is never anything but right.
    def __init__(
        self, origin: Origin, call: Call, context: SpanContext, parent: SpanContext | None
    ) -> None:
        self._origin, self._call = origin, call
        self._identity, self._parent = context, parent
        self._name, self._start_time = call.name, call.start_ns
        self._end_time: int | None = None

    # -- writing: `opentelemetry.trace.Span` ---------------------------------------------------

    def end(self, end_time: int | None = None) -> None:
        """End the span; only the first time."""
        if self._end_time is None:
            self._end_time = time.time_ns() if end_time is None else end_time

    def get_span_context(self) -> SpanContext:
        """Its identity."""
        return self._identity

    def is_recording(self) -> bool:
        """Until it has ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """An attribute beside those of the call, which win where both have one."""
        if self._end_time is None:
            self._remarks.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Several attributes."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """An event beside those of the call."""
        if self._end_time is None:
            remarks = self._remarks
            kept = remarks.bounded(attributes, remarks.limits.max_event_attributes)
            remarks.events.append(Event(name, kept, timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """A link to another span."""
        if self._end_time is None and (context.is_valid or attributes):
            remarks = self._remarks
            kept = remarks.bounded(attributes, remarks.limits.max_link_attributes)
            remarks.links.append(Link(context, kept))

    def update_name(self, name: str) -> None:
        """Another name than ``{operation} {model}``."""
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """The status where the call itself did not fail; OK is final (OTel trace API, "Set Status")."""
        asked = status if isinstance(status, Status) else Status(status, description)
        settled = self.status.status_code is StatusCode.OK
        if self._end_time is None and not settled and asked.status_code is not StatusCode.UNSET:
            self._remarks.status = asked

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """An exception as an event (OTel semantic conventions, "Exceptions on spans")."""
        if self._end_time is not None:
            return
        found: dict[str, Any] = {
            "exception.type": class_name(type(exception)),
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", found | dict(attributes or {}), timestamp)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_val is not None:
            self.record_exception(exc_val, escaped=True)
            self.set_status(StatusCode.ERROR, f"{type(exc_val).__name__}: {exc_val}")
        self.end()

    # -- reading: `opentelemetry.sdk.trace.ReadableSpan` ---------------------------------------

    @property
    def name(self) -> str:
        """As it was begun or renamed."""
        return self._name

    @property
    def context(self) -> SpanContext:
        """Its identity."""
        return self._identity

    @property
    def kind(self) -> SpanKind:
        """Always a client's."""
        return SpanKind.CLIENT

    @property
    def parent(self) -> SpanContext | None:
        """The span around it; None for the root of a trace."""
        return self._parent

    @property
    def start_time(self) -> int | None:
        """Nanoseconds since the epoch."""
        return self._start_time

    @property
    def end_time(self) -> int | None:
        """Nanoseconds since the epoch; None while it runs."""
        return self._end_time

    @property
    def status(self) -> Status:
        """As others set it; the call's own outcome is rendered over it."""
        remarks = self.remarks
        return _UNSET if remarks is None else remarks.status

    @property
    def attributes(self) -> Attributes:
        """What a sampler would be told, and what others set. Never content of the call."""
        remarks = self.remarks
        return {**start_attributes(self._call), **(remarks.attributes if remarks else {})}

    @property
    def events(self) -> Sequence[Event]:
        """Those that others added."""
        remarks = self.remarks
        return tuple(remarks.events) if remarks else ()

    @property
    def links(self) -> Sequence[Link]:
        """Those that others added."""
        remarks = self.remarks
        return tuple(remarks.links) if remarks else ()

    @property
    def dropped_attributes(self) -> int:
        """Beyond the limit."""
        remarks = self.remarks
        return remarks.attributes.dropped if remarks else 0

    @property
    def dropped_events(self) -> int:
        """Beyond the limit."""
        remarks = self.remarks
        return remarks.events.dropped if remarks else 0

    @property
    def dropped_links(self) -> int:
        """Beyond the limit."""
        remarks = self.remarks
        return remarks.links.dropped if remarks else 0

    @property
    def resource(self) -> Resource:
        """Of the process."""
        return self._origin.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """The one of all calls."""
        return self._origin.scope

    def to_json(self, indent: int | None = 4) -> str:
        """As the SDK prints its spans."""
        names = "name parent resource attributes events links kind status start_time end_time"
        values = {name: getattr(self, name) for name in names.split()}
        scope = self.instrumentation_scope
        copy = ReadableSpan(context=self._identity, instrumentation_scope=scope, **values)
        text: str = copy.to_json(indent)
        return text

    def __repr__(self) -> str:
        return f'CallSpan(name="{self._name}", context={self._identity})'

    @property
    def remarks(self) -> Remarks | None:
        """What others said; None, as nearly always, if nobody said anything."""
        found: Remarks | None = self.__dict__.get("_said")
        return found

    @property
    def _remarks(self) -> Remarks:
        found = self.remarks
        # setdefault is atomic: two threads that speak at once share one place.
        return found or self.__dict__.setdefault("_said", Remarks(self._origin.limits))


class HeldCallSpan(CallSpan):
    """One of a trace that the head dropped, recorded because it may yet be kept."""
