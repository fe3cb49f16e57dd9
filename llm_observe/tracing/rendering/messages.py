"""Conversations in the shapes of both conventions.

Roles and counts pass at level ``metadata``; words and media only as the filter lets them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from mimetypes import guess_type
from typing import Any

from llm_observe.conventions import Kind
from llm_observe.tracing.call import Message
from llm_observe.tracing.rendering.scrubbing import Filter

Attributes = dict[str, Any]

json_text = json.JSONEncoder(ensure_ascii=False).encode
"""JSON as it stands in attributes. ``json.dumps`` would make an encoder for every text."""


def conversation(prefix: str, messages: Sequence[Message], keep: Filter, kind: Kind) -> Attributes:
    """OpenInference: one attribute per role and per text, numbered."""
    if not keep.shows(Kind.METADATA):
        return {}
    attributes: Attributes = {}
    for index, message in enumerate(messages):
        stem = f"{prefix}.{index}.message"
        attributes[f"{stem}.role"] = message.role
        content = keep(kinds_of(message, kind), message.content)
        if content:
            attributes[f"{stem}.content"] = content
    return attributes


def genai_messages(
    messages: Sequence[Message], keep: Filter, kind: Kind, finish_reason: str = ""
) -> str | None:
    """OTel GenAI: one JSON text of roles and parts."""
    if not keep.shows(Kind.METADATA):
        return None
    end = f', "finish_reason": {_quoted(finish_reason)}' if finish_reason else ""
    return f"[{', '.join(_turn(message, keep, kind, end) for message in messages)}]"


def plain_text(
    side: str, messages: Sequence[Message], extra: Mapping[str, Any], keep: Filter, kind: Kind
) -> Attributes:
    """OpenInference ``input.value`` or ``output.value``: the text itself, or JSON for more."""
    if not keep.shows(kind):
        return {}
    media = [uri for message in messages for uri in message.media]
    if len(messages) == 1 and not media and not extra:
        text = keep(kinds_of(messages[0], kind), messages[0].content)
        return {f"{side}.value": text, f"{side}.mime_type": "text/plain"} if text else {}
    body = _body(messages, keep(kind, dict(extra)), keep, kind)
    if not body:
        return {}
    value = json_text(body)
    return {f"{side}.value": value, f"{side}.mime_type": "application/json"}


def _body(
    messages: Sequence[Message], extra: Mapping[str, Any] | None, keep: Filter, kind: Kind
) -> Attributes:
    turns = [
        {"role": message.role, "content": keep(kinds_of(message, kind), message.content)}
        | ({"media": list(message.media)} if message.media and keep.shows(Kind.MEDIA) else {})
        for message in messages
    ]
    return ({"messages": turns} if turns else {}) | dict(extra or {})


# Every message is written in several attributes, so its JSON is put together from quoted texts: a
# third of what it takes to build the objects and walk them.


def _turn(message: Message, keep: Filter, kind: Kind, end: str) -> str:
    parts = ", ".join(_parts(message, keep, kind))
    return f'{{"role": {_quoted(message.role)}, "parts": [{parts}]{end}}}'


def _parts(message: Message, keep: Filter, kind: Kind) -> Iterator[str]:
    if message.content:
        text = keep(kinds_of(message, kind), message.content)
        words = "" if text is None else f', "content": {_quoted(text)}'
        yield f'{{"type": "text"{words}}}'
    for uri in message.media:
        yield json_text({"type": "uri"} | (_uri(uri) if keep.shows(Kind.MEDIA) else {}))


def _quoted(value: Any) -> str:
    return encode_basestring(value) if isinstance(value, str) else json_text(value)


def _uri(uri: str) -> Attributes:
    mime = guess_type(uri)[0] or ""
    modality = mime.partition("/")[0]
    known = {"modality": modality, "mime_type": mime} if modality in _MODALITIES else {}
    return {"uri": uri, **known}


_MODALITIES = frozenset({"image", "audio", "video"})


def kinds_of(message: Message, side: Kind) -> tuple[Kind, ...]:
    """What a turn is, as far as capture goes: an answer that is sent back is input and output."""
    if message.role == "assistant":
        return (Kind.INPUT, Kind.OUTPUT) if side is Kind.INPUT else (side,)
    return (_ROLES.get(message.role, side),)


_ROLES = {"system": Kind.SYSTEM, "developer": Kind.SYSTEM, "tool": Kind.TOOL_RESULT}
