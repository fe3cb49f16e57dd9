"""Messages as the GenAI conventions up to 1.36 have them: one event per message, one per answer.

Those releases define them as events with a body. On a span, which is where their readers look
for them, the fields of the body are the attributes of a span event. Later releases replaced them
by attributes with one JSON text (`llm_observe.tracing.rendering.messages`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llm_observe.conventions import CHOICE_EVENT, MESSAGE_EVENTS, Kind, keys_for
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.rendering.messages import kinds_of
from llm_observe.tracing.rendering.scrubbing import Filter

MessageEvent = tuple[str, Mapping[str, Any], int]
"""Name, attributes, nanoseconds since the epoch."""

_SYSTEM = keys_for("1.36")["provider"][-1]


def message_events(call: Call, keep: Filter) -> Iterator[MessageEvent]:
    """What was sent, at the start of the call, and what came back, at its end."""
    if not keep.shows(Kind.METADATA):
        return
    for message in call.input:
        yield _sent(call, message, keep)
    for index, message in enumerate(call.messages_out):
        yield _answered(call, index, message, keep)


def _sent(call: Call, message: Message, keep: Filter) -> MessageEvent:
    name = MESSAGE_EVENTS.get(message.role, MESSAGE_EVENTS["user"])
    body = {"role": message.role, "content": keep(kinds_of(message, Kind.INPUT), message.content)}
    return name, _attributes(call, body), call.start_ns


def _answered(call: Call, index: int, message: Message, keep: Filter) -> MessageEvent:
    content = keep(Kind.OUTPUT, message.content)
    turn = {"role": message.role} | ({"content": content} if content else {})
    body = {
        "index": index,
        "finish_reason": call.finish_reason,
        "message": json.dumps(turn, ensure_ascii=False),
    }
    return CHOICE_EVENT, _attributes(call, body), call.end_ns or call.now()


def _attributes(call: Call, body: Mapping[str, Any]) -> dict[str, Any]:
    known = {_SYSTEM: call.provider, **body}
    return {key: value for key, value in known.items() if value not in (None, "")}
