"""From a call to attributes of both conventions, under a capture level.

`render` is for calls of ours: it runs on a worker, at the moment of export. The ``scrub``
functions are for spans of any instrumentor. Both read `llm_observe.conventions` and
`llm_observe.policy.capture`, and fail closed: a fault in redaction costs the content, never the
span.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from llm_observe.conventions import (
    CAPTURE_LEVEL,
    CONTENT_DROPPED,
    FIELDS,
    NEWEST,
    SPAN_KIND,
    GenAI,
    Kind,
    keys_for,
)
from llm_observe.policy.capture import Levels, Verdict
from llm_observe.tracing.call import Call
from llm_observe.tracing.rendering.found import MADE, STRUCTURES, Attributes, Found
from llm_observe.tracing.rendering.message_events import message_events
from llm_observe.tracing.rendering.scrubbing import (
    By,
    Filter,
    filter_of,
    scrub,
    scrub_event,
    scrub_status,
)

__all__ = [
    "By",
    "Event",
    "Filter",
    "Rendered",
    "filter_of",
    "render",
    "scrub",
    "scrub_event",
    "scrub_status",
]

FIRST_TOKEN = "First Token Stream Event"  # noqa: S105  # OpenInference's name for the event


class Event(NamedTuple):
    """A span event."""

    name: str
    attributes: Mapping[str, Any]
    timestamp_ns: int


class Rendered(NamedTuple):
    """What a call looks like on the wire.

    ``error`` is the status description of a failed call: its text where the level allows, else
    its type. None: the call did not fail.
    """

    attributes: Attributes
    events: tuple[Event, ...]
    error: str | None


def render(call: Call, by: By, genai: GenAI = NEWEST) -> Rendered:
    """All attributes and events that may leave, under the names of a generation."""
    keep = filter_of(by)
    found = Found(call, call.messages_out)
    attributes: Attributes = {SPAN_KIND: "LLM", CAPTURE_LEVEL: str(keep.level)}
    for step in _steps(keep.levels, genai):
        step(found, keep, attributes)
    if call.attributes:
        attributes |= scrub(call.attributes, keep, llm=True)
    events = tuple(_events(found, keep, genai))
    error = _error(call, keep)
    if keep.dropped:
        attributes[CONTENT_DROPPED] = True
    there = {key: value for key, value in attributes.items() if value is not None}
    return Rendered(there, events, error)


Step = Callable[[Found, Filter, Attributes], None]
"""Writes one field of the table."""


@lru_cache(maxsize=256)
def _steps(levels: Levels, genai: GenAI) -> tuple[Step, ...]:
    """The rows of the table that leave at these levels, ready to be written."""
    steps: list[Step] = []
    for field in FIELDS:
        rule = levels.verdict(field.kind)
        keys = keys_for(genai)[field.name]
        if field.name in STRUCTURES:
            steps.append(_structure(STRUCTURES[field.name], genai))
        elif rule is Verdict.KEEP:
            steps.append(_kept(_getter(field.name), keys))
        elif rule is Verdict.MASK:
            steps.append(_masked(_getter(field.name), field.kind, keys))
    return tuple(steps)


def _structure(make: Callable[[Found, Filter], Attributes], genai: GenAI) -> Step:
    def write(found: Found, keep: Filter, attributes: Attributes) -> None:
        made = make(found, keep)
        if genai != NEWEST:
            made = {key: made[key] for key in made if key not in _GENAI}
        attributes.update(made)

    return write


def _kept(get: Callable[[Found], Any], keys: Sequence[str]) -> Step:
    one, lists = [key for key in keys if not _is_list(key)], [*filter(_is_list, keys)]

    def write(found: Found, keep: Filter, attributes: Attributes) -> None:
        value = get(found)
        if value or not _says_nothing(value):
            for key in one:
                attributes[key] = value
            for key in lists:
                attributes[key] = [value]

    return write


def _masked(get: Callable[[Found], Any], kind: Kind, keys: Sequence[str]) -> Step:
    def write(found: Found, keep: Filter, attributes: Attributes) -> None:
        value = get(found)
        if value or not _says_nothing(value):
            kept = keep(kind, value)
            attributes.update(dict.fromkeys(keys, kept))

    return write


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", ())


def _is_list(key: str) -> bool:
    return key.endswith("_reasons")


def _getter(name: str) -> Callable[[Found], Any]:
    return MADE.get(name) or attrgetter(f"call.{name}")


# What one JSON text holds under the newest names, and one event per message under those of 1.36.
_GENAI = frozenset(field.genai for field in FIELDS if field.name in STRUCTURES and field.genai)


def _events(found: Found, keep: Filter, genai: GenAI) -> list[Event]:
    call = found.call
    events = [] if genai == NEWEST else [Event(*each) for each in message_events(call, keep)]
    if call.first_chunk_ns is not None:
        events.append(Event(FIRST_TOKEN, {}, call.first_chunk_ns))
    if call.error_type:
        events.append(Event("exception", _exception(call, keep), call.end_ns or call.now()))
    return events


def _exception(call: Call, keep: Filter) -> Attributes:
    stack = "".join(call.error.format()) if call.error and keep.shows(Kind.ERROR) else None
    values = {
        "exception.type": call.error_class or call.error_type,
        "exception.message": keep(Kind.ERROR, call.error_message),
        "exception.stacktrace": keep(Kind.ERROR, stack),
    }
    return {key: value for key, value in values.items() if value}


def _error(call: Call, keep: Filter) -> str | None:
    if not call.error_type:
        return None
    message = keep(Kind.ERROR, call.error_message)
    return f"{call.error_type}: {message}" if message else call.error_type
