"""The fields of a call that are more than one value under one key: made of several, or structured.

Parameters, conversations, their texts: each in the shape that OpenInference and OTel GenAI give
it, as far as the filter lets it through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llm_observe.conventions import PARAMETERS, Kind
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.rendering.messages import (
    conversation,
    genai_messages,
    json_text,
    kinds_of,
    plain_text,
)
from llm_observe.tracing.rendering.scrubbing import Filter

Attributes = dict[str, Any]


class Found(NamedTuple):
    """What is rendered: a call, and its answer, which is joined from its pieces only once."""

    call: Call
    answer: list[Message]


def _characters(messages: Sequence[Message]) -> int:
    return sum(len(message.content) for message in messages)


MADE: dict[str, Callable[[Found], Any]] = {
    "model": lambda found: found.call.response_model or found.call.request_model,
    "input_messages": lambda found: len(found.call.input) or None,
    "input_characters": lambda found: _characters(found.call.input) or None,
    "output_characters": lambda found: _characters(found.answer) or None,
    "output_chunks": lambda found: len(found.call.chunks) or None,
}
"""Fields that are not kept on the call, but come of several."""


def _texts(value: Any) -> list[str] | None:
    """A list; Replicate's models take it as one text with commas, often an empty one."""
    found = value.split(",") if isinstance(value, str) else value
    texts = [str(x) for x in found if x] if isinstance(found, list | tuple) else []
    return texts or None


def _whole_text(value: Any) -> list[str] | None:
    return _texts([value] if isinstance(value, str) else value)


def _double(value: Any) -> float | None:
    return float(value) if _is_number(value) else None


def _integer(value: Any) -> int | None:
    return int(value) if _is_number(value) and value == value // 1 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# The conventions give each of these one type, or a back end could not compare two calls. Clients
# take 1 for 1.0, and other things that no such attribute can be made of.
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "stop": _whole_text,
    "stop_sequences": _texts,
    "max_tokens": _integer,
    "max_new_tokens": _integer,
    "max_length": _integer,
    "seed": _integer,
}


def _parameters(found: Found, keep: Filter) -> Attributes:
    """The request's parameters, as one JSON text and one by one."""
    kept = keep(Kind.LABEL, found.call.parameters)
    if not kept:
        return {}
    single: Attributes = {}
    for name, key in PARAMETERS.items():
        shaped: Callable[[Any], Any] = _SHAPES.get(name, _double)
        value = shaped(kept[name]) if name in kept else None
        if value is not None:
            single.setdefault(key, value)
    return {"llm.invocation_parameters": json_text(kept), **single}


def _input(found: Found, keep: Filter) -> Attributes:
    call = found.call
    if call.operation == "text_completion":
        prompts = [keep(kinds_of(turn, Kind.INPUT), turn.content) for turn in call.input]
        return _numbered("llm.prompts.{}.prompt.text", prompts)
    return conversation("llm.input_messages", call.input, keep, Kind.INPUT)


def _output(found: Found, keep: Filter) -> Attributes:
    call, messages = found
    attributes: Attributes = {}
    if messages:
        attributes["gen_ai.output.messages"] = genai_messages(
            messages, keep, Kind.OUTPUT, call.finish_reason
        )
    if call.operation == "text_completion":
        texts = [keep(Kind.OUTPUT, message.content) for message in messages]
        return attributes | _numbered("llm.choices.{}.completion.text", texts)
    return attributes | conversation("llm.output_messages", messages, keep, Kind.OUTPUT)


def _genai_input(found: Found, keep: Filter) -> Attributes:
    messages = found.call.input
    turns = [message for message in messages if message.role != "system"]
    attributes = {"gen_ai.input.messages": genai_messages(turns, keep, Kind.INPUT)} if turns else {}
    texts = [keep(Kind.SYSTEM, m.content) for m in messages if m.role == "system"]
    parts = [{"type": "text", "content": text} for text in texts if text]
    if parts:
        attributes["gen_ai.system_instructions"] = json_text(parts)
    return attributes


def _input_value(found: Found, keep: Filter) -> Attributes:
    return plain_text("input", found.call.input, found.call.extra_input, keep, Kind.INPUT)


def _output_value(found: Found, keep: Filter) -> Attributes:
    return plain_text("output", found.answer, {}, keep, Kind.OUTPUT)


def _numbered(pattern: str, texts: Sequence[str | None]) -> Attributes:
    return {pattern.format(i): text for i, text in enumerate(texts) if text}


STRUCTURES: dict[str, Callable[[Found, Filter], Attributes]] = {
    "parameters": _parameters,
    "input_value": _input_value,
    "output_value": _output_value,
    "input": _input,
    "output": _output,
    "system_instructions": _genai_input,
}
"""Fields with a shape of their own in each convention."""
