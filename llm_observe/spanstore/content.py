"""What was said in a call: messages, output and parameters, from any convention.

Our own spans carry both conventions, so every reader below takes the first source that has
something and ignores the rest: nothing is shown twice. Order: OpenInference messages, GenAI
messages, the older GenAI keys per message, completion prompts, the plain input or output value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llm_observe.spanstore.model import Message

_PARAMETERS = "gen_ai.request."
_NO_PARAMETERS = {"model"}
Attributes = Mapping[str, Any]


def input_messages(attributes: Attributes) -> tuple[Message, ...]:
    """The prompt; empty where none was captured."""
    return _first(attributes, _INPUT)


def output_messages(attributes: Attributes) -> tuple[Message, ...]:
    """The answer, one message per choice; empty where none was captured."""
    return _first(attributes, _OUTPUT)


def output_text(messages: tuple[Message, ...]) -> str:
    """The answer as one text."""
    return "\n\n".join(message.content for message in messages if message.content)


def parameters(attributes: Attributes) -> dict[str, Any]:
    """Temperature and the like, under the names that the caller used where they are known."""
    given = _json(attributes.get("llm.invocation_parameters"))
    if isinstance(given, dict) and given:
        return {str(key): value for key, value in given.items()}
    return {
        key.removeprefix(_PARAMETERS): value
        for key, value in attributes.items()
        if key.startswith(_PARAMETERS) and key.removeprefix(_PARAMETERS) not in _NO_PARAMETERS
    }


_Reader = Callable[[Attributes], Iterator[Message]]


def _first(attributes: Attributes, readers: tuple[_Reader, ...]) -> tuple[Message, ...]:
    for read in readers:
        messages = tuple(message for message in read(attributes) if message.content)
        if messages:
            return messages
    return ()


def _openinference(prefix: str) -> _Reader:
    def read(attributes: Attributes) -> Iterator[Message]:
        for fields in _numbered(attributes, f"{prefix}."):
            role = _text(fields.get("message.role"))
            parts = [_text(fields.get("message.content"))]
            parts += [_part(part) for part in _numbered(fields, "message.contents.")]
            parts += [_call(part) for part in _numbered(fields, "message.tool_calls.")]
            yield Message(role, _joined(parts))

    return read


_WORDS = frozenset({"text", "input_text", "output_text", "reasoning", "thinking"})


def _part(fields: Attributes) -> str:
    text = _text(fields.get("message_content.text"))
    kind = _text(fields.get("message_content.type"))
    return text or _stand_in(kind)


def _call(fields: Attributes) -> str:
    name = _text(fields.get("tool_call.function.name"))
    return f"{name}({_text(fields.get('tool_call.function.arguments'))})" if name else ""


def _genai(key: str, system: str = "") -> _Reader:
    def read(attributes: Attributes) -> Iterator[Message]:
        instructions = _items(attributes.get(system))
        if instructions:
            yield Message("system", _joined([_genai_part(part) for part in instructions]))
        for message in _items(attributes.get(key)):
            if isinstance(message, dict):
                yield Message(_text(message.get("role")), _genai_message(message))

    return read


def _genai_message(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    parts = _items(message.get("parts")) or (content if isinstance(content, list) else [content])
    return _joined([_genai_part(part) for part in parts])


def _genai_part(part: Any) -> str:
    if not isinstance(part, dict):
        return _text(part)
    kind = _text(part.get("type"))
    if kind == "tool_call":
        return f"{_text(part.get('name'))}({_text(part.get('arguments'))})"
    if kind == "tool_call_response":
        return _text(part.get("response", part.get("result")))
    return _text(part.get("content", part.get("text"))) or _stand_in(kind)


def _stand_in(kind: str) -> str:
    """What stands for a part that is no text. Words without words were kept away: nothing does."""
    return f"[{kind}]" if kind and kind not in _WORDS else ""


def _older_genai(prefix: str, role: str) -> _Reader:
    def read(attributes: Attributes) -> Iterator[Message]:
        for fields in _numbered(attributes, f"{prefix}."):
            yield Message(_text(fields.get("role")) or role, _text(fields.get("content")))

    return read


def _completions(prefix: str, field: str, role: str) -> _Reader:
    def read(attributes: Attributes) -> Iterator[Message]:
        for fields in _numbered(attributes, f"{prefix}."):
            yield Message(role, _text(fields.get(field)))

    return read


def _value(key: str, role: str) -> _Reader:
    def read(attributes: Attributes) -> Iterator[Message]:
        yield Message(role, _text(attributes.get(key)))

    return read


_INPUT: tuple[_Reader, ...] = (
    _openinference("llm.input_messages"),
    _genai("gen_ai.input.messages", "gen_ai.system_instructions"),
    _older_genai("gen_ai.prompt", "user"),
    _completions("llm.prompts", "prompt.text", "user"),
    _value("input.value", "user"),
)
_OUTPUT: tuple[_Reader, ...] = (
    _openinference("llm.output_messages"),
    _genai("gen_ai.output.messages"),
    _older_genai("gen_ai.completion", "assistant"),
    _completions("llm.choices", "completion.text", "assistant"),
    _value("output.value", "assistant"),
)


def _numbered(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    """``prefix`` + ``0.a`` … as a list of ``{"a": …}`` in the order of the numbers."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if key.startswith(prefix):
            number, _, rest = key[len(prefix) :].partition(".")
            if number.isascii() and number.isdigit() and len(number) < 8:
                found.setdefault(int(number), {})[rest] = value
    return [found[number] for number in sorted(found)]


def _items(value: Any) -> list[Any]:
    value = _json(value)
    return value if isinstance(value, list) else []


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


def _joined(parts: list[str]) -> str:
    return "\n".join(part for part in parts if part)
