import json
from typing import Any

import pytest

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.rendering.render import scrub, scrub_event, scrub_status

OFF, METADATA, REDACTED, FULL = CaptureLevel
CANARY = "xyzzy-canary"
MAIL = "joe@example.com"
MESSAGES = json.dumps(
    [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": f"{CANARY} {MAIL}"},
                {"type": "tool_call", "name": "find", "arguments": {CANARY: CANARY}},
            ],
        }
    ]
)

OTHERS: dict[str, dict[str, Any]] = {
    "OpenInference": {
        "openinference.span.kind": "LLM",
        "llm.model_name": "m",
        "input.value": json.dumps({"messages": [CANARY, MAIL]}),
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": f"{CANARY} {MAIL}",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": CANARY,
        "llm.tools.0.tool.json_schema": CANARY,
        "retrieval.documents.0.document.content": CANARY,
    },
    "GenAI": {
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": MESSAGES,
        "gen_ai.output.messages": MESSAGES,
        "gen_ai.system_instructions": CANARY,
        "gen_ai.tool.call.result": {"deep": [CANARY, {"er": CANARY}]},
        "gen_ai.brand.new.key": CANARY,
    },
    "OpenLLMetry": {
        "gen_ai.system": "Replicate",
        "gen_ai.prompt.0.user": CANARY,
        "gen_ai.completion.0.content": CANARY,
        "traceloop.entity.input": json.dumps({"args": [CANARY]}),
        "llm.request.functions.0.description": CANARY,
    },
    "Langfuse": {
        "langfuse.observation.type": "generation",
        "langfuse.observation.input": CANARY,
        "langfuse.trace.output": CANARY,
        "langfuse.observation.status_message": CANARY,
    },
    "Logfire": {
        "gen_ai.request.model": "m",
        "logfire.msg": CANARY,
        "request_data": json.dumps({"messages": CANARY}),
        "response_data": json.dumps({"message": CANARY}),
        "pydantic_ai.all_messages": MESSAGES,
        "events": MESSAGES,
        "final_result": CANARY,
    },
}


@pytest.mark.parametrize("attributes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("level", [OFF, METADATA])
def test_no_content_of_any_instrumentor_leaves(
    attributes: dict[str, Any], level: CaptureLevel
) -> None:
    assert CANARY not in str(scrub(attributes, level))


@pytest.mark.parametrize("attributes", OTHERS.values(), ids=OTHERS)
def test_redacted_keeps_known_content_and_masks_it(attributes: dict[str, Any]) -> None:
    scrubbed = scrub(attributes, REDACTED)
    assert MAIL not in str(scrubbed)
    assert CANARY in str(scrubbed)
    assert "gen_ai.brand.new.key" not in scrubbed


@pytest.mark.parametrize("attributes", OTHERS.values(), ids=OTHERS)
def test_full_changes_nothing(attributes: dict[str, Any]) -> None:
    assert scrub(attributes, FULL) == attributes


def test_messages_keep_roles_and_shape_at_metadata() -> None:
    scrubbed = scrub(OTHERS["GenAI"], METADATA)
    assert json.loads(scrubbed["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text"}, {"type": "tool_call"}]}
    ]
    assert "gen_ai.input.messages" not in scrub(OTHERS["GenAI"], OFF)


@pytest.mark.parametrize(
    "hostile", [CANARY, json.dumps({"role": CANARY * 20}), "[" * 100_000, json.dumps([CANARY]), 7]
)
def test_messages_that_are_none_leave_nothing(hostile: object) -> None:
    scrubbed = scrub({"gen_ai.input.messages": hostile}, METADATA)
    assert CANARY not in str(scrubbed)
    assert "[[" not in str(scrubbed)


def test_spans_about_other_things_keep_what_the_table_does_not_know() -> None:
    attributes = {"http.url": "http://h/", "message": "hello", "input.value": CANARY}
    assert scrub(attributes, METADATA) == {"http.url": "http://h/", "message": "hello"}
    assert scrub(attributes, METADATA, llm=True) == {}


def test_exception_text_is_scrubbed_on_every_span() -> None:
    event = {
        "exception.type": "E",
        "exception.message": f"{CANARY} {MAIL}",
        "exception.stacktrace": CANARY,
    }
    for llm in (True, False):
        assert scrub_event(event, METADATA, llm=llm) == {"exception.type": "E"}
        assert scrub_event(event, REDACTED, llm=llm)["exception.message"] == f"{CANARY} [email]"


def test_message_events_are_scrubbed() -> None:
    event = {"gen_ai.system": "openai", "role": "user", "content": CANARY, "other": CANARY}
    assert scrub_event(event, METADATA, llm=True) == {"gen_ai.system": "openai", "role": "user"}


def test_status_text() -> None:
    assert scrub_status(f"E: {MAIL}", OFF) is None
    assert scrub_status(f"E: {MAIL}", REDACTED) == "E: [email]"
    assert scrub_status(f"E: {MAIL}", FULL) == f"E: {MAIL}"
    assert scrub_status(None, FULL) is None


def test_bytes_that_are_no_text_are_dropped_when_masking() -> None:
    scrubbed = scrub({"gen_ai.input.messages": b"\xff\xfe", "gen_ai.system": "x"}, REDACTED)
    assert scrubbed == {"gen_ai.system": "x"}
