"""From a call to attributes of both conventions, under a capture level.

`render` is for calls of ours: it runs on a worker, at the moment of export. The ``scrub``
functions are for spans of any instrumentor. Both read `llm_observe.conventions` and
`llm_observe.policy.capture`, and fail closed: a fault in redaction costs the content, never the
span.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llm_observe.conventions import (
    CAPTURE_LEVEL,
    CONTENT_DROPPED,
    FIELDS,
    NEWEST,
    PARAMETERS,
    SPAN_KIND,
    GenAI,
    Kind,
    keys_for,
)
from llm_observe.policy.capture import Verdict, verdict
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.message_events import message_events
from llm_observe.tracing.messages import conversation, genai_messages, plain_text
from llm_observe.tracing.scrubbing import Filter, scrub, scrub_event, scrub_status

__all__ = [
    "Event",
    "Rendered",
    "render",
    "scrub",
    "scrub_event",
    "scrub_status",
]

Attributes = dict[str, Any]
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


def render(call: Call, level: CaptureLevel, genai: GenAI = NEWEST) -> Rendered:
    """All attributes and events that may leave at this level, under the names of a generation."""
    keep = Filter(level)
    attributes: Attributes = {SPAN_KIND: "LLM", CAPTURE_LEVEL: str(level)}
    keys = keys_for(genai)
    for field in FIELDS:
        if field.name in _STRUCTURES:
            made = _STRUCTURES[field.name](call, keep)
            attributes |= {key: made[key] for key in made if key not in _GENAI or genai == NEWEST}
        elif verdict(field.kind, level) is not Verdict.DROP:
            attributes |= _plain(_value(call, field.name), keep, field.kind, keys[field.name])
    attributes |= scrub(call.attributes, level, llm=True)
    events = tuple(_events(call, keep, genai))
    error = _error(call, keep)
    if keep.dropped:
        attributes[CONTENT_DROPPED] = True
    there = {key: value for key, value in attributes.items() if value is not None}
    return Rendered(there, events, error)


def _plain(value: Any, keep: Filter, kind: Kind, keys: Sequence[str]) -> Attributes:
    if value is None or value is False or value in ("", ()):
        return {}
    kept = keep(kind, value)
    if kept is None:
        return {}
    return {key: [kept] if key.endswith("_reasons") else kept for key in keys}


def _value(call: Call, name: str) -> Any:
    make = _MADE.get(name)
    return make(call) if make else getattr(call, name)


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)


_MADE: dict[str, Callable[[Call], Any]] = {
    "model": lambda call: call.response_model or call.request_model,
    "input_messages": lambda call: len(call.input) or None,
    "input_characters": lambda call: _characters(call.input) or None,
    "output_characters": lambda call: _characters(call.messages_out) or None,
    "output_chunks": lambda call: len(call.chunks) or None,
}


def _same(value: Any) -> Any:
    return value


def _texts(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _double(value: Any) -> Any:
    return float(value) if isinstance(value, int) else value


# What the conventions want a parameter to be, where clients give something else.
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "stop": lambda value: [value] if isinstance(value, str) else value,
    "stop_sequences": _texts,
    "top_k": _double,
}


def _parameters(call: Call, keep: Filter) -> Attributes:
    """The request's parameters, as one JSON text and one by one."""
    kept = keep(Kind.LABEL, call.parameters)
    if not kept:
        return {}
    single = {
        PARAMETERS[name]: _SHAPES.get(name, _same)(value)
        for name, value in kept.items()
        if name in PARAMETERS and value is not None
    }
    return {"llm.invocation_parameters": json.dumps(kept, ensure_ascii=False), **single}


def _input(call: Call, keep: Filter) -> Attributes:
    if call.operation == "text_completion":
        prompts = [keep(Kind.INPUT, message.content) for message in call.input]
        return _numbered("llm.prompts.{}.prompt.text", prompts)
    return conversation("llm.input_messages", call.input, keep, Kind.INPUT)


def _output(call: Call, keep: Filter) -> Attributes:
    messages = call.messages_out
    attributes: Attributes = {}
    if messages:
        attributes["gen_ai.output.messages"] = genai_messages(
            messages, keep, Kind.OUTPUT, call.finish_reason
        )
    if call.operation == "text_completion":
        texts = [keep(Kind.OUTPUT, message.content) for message in messages]
        return attributes | _numbered("llm.choices.{}.completion.text", texts)
    return attributes | conversation("llm.output_messages", messages, keep, Kind.OUTPUT)


def _genai_input(call: Call, keep: Filter) -> Attributes:
    turns = [message for message in call.input if message.role != "system"]
    attributes = {"gen_ai.input.messages": genai_messages(turns, keep, Kind.INPUT)} if turns else {}
    texts = [keep(Kind.SYSTEM, m.content) for m in call.input if m.role == "system"]
    parts = [{"type": "text", "content": text} for text in texts if text]
    if parts:
        attributes["gen_ai.system_instructions"] = json.dumps(parts, ensure_ascii=False)
    return attributes


def _input_value(call: Call, keep: Filter) -> Attributes:
    return plain_text("input", call.input, call.extra_input, keep, Kind.INPUT)


def _output_value(call: Call, keep: Filter) -> Attributes:
    return plain_text("output", call.messages_out, {}, keep, Kind.OUTPUT)


def _numbered(pattern: str, texts: Sequence[str | None]) -> Attributes:
    return {pattern.format(i): text for i, text in enumerate(texts) if text}


_STRUCTURES: dict[str, Callable[[Call, Filter], Attributes]] = {
    "parameters": _parameters,
    "input_value": _input_value,
    "output_value": _output_value,
    "input": _input,
    "output": _output,
    "system_instructions": _genai_input,
}


# What one JSON text holds under the newest names, and one event per message under those of 1.36.
_GENAI = frozenset(field.genai for field in FIELDS if field.name in _STRUCTURES and field.genai)


def _events(call: Call, keep: Filter, genai: GenAI) -> list[Event]:
    events = [] if genai == NEWEST else [Event(*each) for each in message_events(call, keep)]
    if call.first_chunk_ns is not None:
        events.append(Event(FIRST_TOKEN, {}, call.first_chunk_ns))
    if call.error_type:
        events.append(Event("exception", _exception(call, keep), call.end_ns or call.now()))
    return events


def _exception(call: Call, keep: Filter) -> Attributes:
    stack = "".join(call.error.format()) if call.error and keep.shows(Kind.ERROR) else None
    values = {
        "exception.type": call.error_type,
        "exception.message": keep(Kind.ERROR, call.error_message),
        "exception.stacktrace": keep(Kind.ERROR, stack),
    }
    return {key: value for key, value in values.items() if value}


def _error(call: Call, keep: Filter) -> str | None:
    if not call.error_type:
        return None
    message = keep(Kind.ERROR, call.error_message)
    return f"{call.error_type}: {message}" if message else call.error_type
