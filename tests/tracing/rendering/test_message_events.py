"""Calls under the names of release 1.36: the same content, other names, and messages as events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_observe.conventions import keys_for
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.rendering.render import Event, Rendered, render

OFF, METADATA, REDACTED, FULL = CaptureLevel
CANARY = "xyzzy-canary"
MAIL = "joe@example.com"


def call(**changes: Any) -> Call:
    known: dict[str, Any] = {
        "provider": "replicate",
        "system": "meta",
        "request_model": "llama",
        "streaming": True,
        "input": [
            Message("system", f"{CANARY} be kind"),
            Message("user", f"{CANARY} {MAIL}"),
            Message("assistant", f"{CANARY} yes?"),
            Message("tool", f"{CANARY} 42"),
            Message("critic", f"{CANARY} no"),
        ],
        "output": [Message("assistant", f"{CANARY} {MAIL}")],
        "finish_reason": "stop",
        "start_ns": 1_000,
        "end_ns": 3_000,
        "chunk_ns": [2_000],
    }
    return Call(**known | changes)


def messages(rendered: Rendered) -> list[Event]:
    return [event for event in rendered.events if event.name.startswith("gen_ai.")]


def test_each_message_is_an_event_of_its_role_and_each_answer_a_choice() -> None:
    found = messages(render(call(), FULL, "1.36"))
    assert [(event.name, event.timestamp_ns) for event in found] == [
        ("gen_ai.system.message", 1_000),
        ("gen_ai.user.message", 1_000),
        ("gen_ai.assistant.message", 1_000),
        ("gen_ai.tool.message", 1_000),
        ("gen_ai.user.message", 1_000),
        ("gen_ai.choice", 3_000),
    ]
    assert found[0].attributes == {
        "gen_ai.system": "replicate",
        "role": "system",
        "content": f"{CANARY} be kind",
    }
    assert found[4].attributes["role"] == "critic"
    choice = dict(found[-1].attributes)
    assert json.loads(choice.pop("message")) == {
        "role": "assistant",
        "content": f"{CANARY} {MAIL}",
    }
    assert choice == {"gen_ai.system": "replicate", "index": 0, "finish_reason": "stop"}


def test_below_the_levels_of_content_only_roles_and_counts_are_left() -> None:
    rendered = render(call(), METADATA, "1.36")
    assert CANARY not in repr(rendered)
    assert [event.attributes.get("role") for event in messages(rendered)[:-1]] == [
        "system", "user", "assistant", "tool", "critic",
    ]  # fmt: skip
    assert json.loads(messages(rendered)[-1].attributes["message"]) == {"role": "assistant"}
    assert messages(render(call(), OFF, "1.36")) == []


def test_detectors_look_into_the_events_too() -> None:
    rendered = render(call(), REDACTED, "1.36")
    assert CANARY in repr(messages(rendered))
    assert MAIL not in repr(rendered)


@pytest.mark.parametrize("level", list(CaptureLevel))
def test_the_names_are_those_of_one_generation_and_the_rest_is_the_same(
    level: CaptureLevel,
) -> None:
    older, newest = render(call(), level, "1.36"), render(call(), level, "1.41")
    known = {version: set(sum(keys_for(version).values(), ())) for version in ("1.36", "1.41")}
    assert not older.attributes.keys() & (known["1.41"] - known["1.36"])
    assert not newest.attributes.keys() & (known["1.36"] - known["1.41"])
    same = older.attributes.keys() & newest.attributes.keys()
    assert {key: older.attributes[key] for key in same} == {
        key: newest.attributes[key] for key in same
    }
    assert older.attributes["gen_ai.system"] == newest.attributes["gen_ai.provider.name"]
    assert older.attributes["llm_observe.time_to_first_chunk"] == pytest.approx(1e-6)
    assert older.error == newest.error
    assert messages(newest) == []
    openinference = {
        key for key in newest.attributes if key.startswith(("llm.", "input.", "output."))
    }
    assert openinference <= older.attributes.keys()


def test_the_newest_generation_is_the_default() -> None:
    assert render(call(), FULL) == render(call(), FULL, "1.41")
