"""Conversations as JSON: put together from texts, and the same as if it had been built."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.conventions import Kind
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Message
from llm_observe.tracing.rendering.messages import genai_messages
from llm_observe.tracing.rendering.scrubbing import Filter

texts = st.text() | st.sampled_from(['"', "\\", "\x00\x1f", "\u2028", "half \ud83d", "{}"])
uris = st.sampled_from(["http://x/y.png", "data:audio/wav;base64,AA", "odd", 'a"b'])
messages = st.builds(Message, texts, texts, st.lists(uris, max_size=2).map(tuple))


def built(message: Message, finish_reason: str) -> dict[str, Any]:
    parts: list[Any] = [{"type": "text", "content": message.content}] if message.content else []
    kinds = {
        "http://x/y.png": {"modality": "image", "mime_type": "image/png"},
        "data:audio/wav;base64,AA": {"modality": "audio", "mime_type": "audio/wav"},
    }
    parts += [{"type": "uri", "uri": uri, **kinds.get(uri, {})} for uri in message.media]
    end = {"finish_reason": finish_reason} if finish_reason else {}
    return {"role": message.role, "parts": parts, **end}


@settings(deadline=None)
@given(st.lists(messages, max_size=4), texts)
def test_it_is_the_json_of_roles_and_parts(turns: list[Message], finish_reason: str) -> None:
    found = genai_messages(turns, Filter(CaptureLevel.FULL), Kind.OUTPUT, finish_reason)
    expected = [built(turn, finish_reason) for turn in turns]
    assert found == json.dumps(expected, ensure_ascii=False)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (CaptureLevel.OFF, None),
        (
            CaptureLevel.METADATA,
            [{"role": "user", "parts": [{"type": "text"}, {"type": "uri"}]}],
        ),
        (
            CaptureLevel.REDACTED,
            [{"role": "user", "parts": [{"type": "text", "content": "[email]"}, {"type": "uri"}]}],
        ),
    ],
)
def test_words_and_media_go_only_as_the_level_allows(level: CaptureLevel, expected: Any) -> None:
    turns = [Message("user", "ann@example.com", ("http://x/y.png",))]
    found = genai_messages(turns, Filter(level), Kind.INPUT)
    assert (found and json.loads(found)) == expected


def test_a_role_that_is_no_text_is_json_all_the_same() -> None:
    odd: Any = 7
    found = genai_messages([Message(odd, "x")], Filter(CaptureLevel.FULL), Kind.INPUT)
    assert json.loads(found or "")[0]["role"] == 7
