import json
from typing import Any

import pytest

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, Message, start_attributes
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.render import Filter, render

OFF, METADATA, REDACTED, FULL = CaptureLevel
MAIL = "joe@example.com"
CANARY = "xyzzy-canary"


def call(**changes: Any) -> Call:
    made = Call(
        provider="replicate",
        system="meta",
        request_model="meta/llama-2-7b-chat",
        server_address="api.replicate.com",
        server_port=443,
        streaming=True,
        input=[Message("system", f"{CANARY} be kind"), Message("user", f"{CANARY} {MAIL}")],
        parameters={
            "temperature": 0.5,
            "stop_sequences": "END,###",
            "max_new_tokens": 64,
            "top_k": 5,
        },
        chunks=[f"{CANARY} ", "yes"],
        input_tokens=3,
        output_tokens=4,
        start_ns=1_000_000_000,
        end_ns=3_000_000_000,
        chunk_ns=[1_500_000_000, 2_500_000_000],
        session="s-1",
        user="u-1",
        tags=("a", "b"),
        metadata='{"plan": "pro"}',
        finish_reason="stop",
        response_id="r-1",
        queue_ms=1.5,
        config_hash="00ff",
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_core_is_the_same_at_every_level() -> None:
    core = {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "llm.provider": "replicate",
        "gen_ai.provider.name": "replicate",
        "llm.system": "meta",
        "llm.model_name": "meta/llama-2-7b-chat",
        "llm.request.model_name": "meta/llama-2-7b-chat",
        "gen_ai.request.model": "meta/llama-2-7b-chat",
        "server.address": "api.replicate.com",
        "server.port": 443,
        "gen_ai.request.stream": True,
        "llm.token_count.prompt": 3,
        "gen_ai.usage.input_tokens": 3,
        "llm.token_count.completion": 4,
        "gen_ai.usage.output_tokens": 4,
        "llm.token_count.total": 7,
        "llm.finish_reason": "stop",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "llm_observe.output.tokens_per_second": 4.0,
        "llm_observe.queue_ms": 1.5,
        "llm_observe.config.hash": "00ff",
    }
    for level in CaptureLevel:
        attributes = render(call(), level).attributes
        assert core.items() <= attributes.items()
        assert attributes["llm_observe.capture.level"] == level.value
    assert set(render(call(), OFF).attributes) == {*core, "llm_observe.capture.level"}


def test_metadata_adds_roles_counts_parameters_and_session() -> None:
    attributes = render(call(), METADATA).attributes
    wanted = {
        "session.id": "s-1",
        "gen_ai.conversation.id": "s-1",
        "user.id": "u-1",
        "tag.tags": ("a", "b"),
        "metadata": '{"plan": "pro"}',
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.stop_sequences": ["END", "###"],
        "gen_ai.request.top_k": 5.0,
        "gen_ai.response.id": "r-1",
        "llm.input_messages.0.message.role": "system",
        "llm.input_messages.1.message.role": "user",
        "llm.output_messages.0.message.role": "assistant",
        "llm_observe.input.messages": 2,
        "llm_observe.output.chunks": 2,
        "llm_observe.output.characters": len(CANARY) + 4,
    }
    assert wanted.items() <= attributes.items()
    assert json.loads(attributes["llm.invocation_parameters"])["temperature"] == 0.5
    assert json.loads(attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text"}], "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"temperature": 1, "top_p": 1, "presence_penalty": 0}, (1.0, 1.0, 0.0)),
        ({"max_new_tokens": 64.0, "seed": 3, "top_k": 5}, (64, 3, 5.0)),
        ({"temperature": True, "max_tokens": 0.5, "seed": float("inf"), "top_p": None}, ()),
        ({"stop_sequences": "", "stop": []}, ()),
        ({"stop": "a,b"}, (["a,b"],)),
        ({"stop": ["a", "b"]}, (["a", "b"],)),
        ({"max_length": 9, "max_new_tokens": 5}, (5,)),
    ],
)
def test_each_parameter_has_the_type_that_the_conventions_give_it(
    given: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    attributes = render(call(parameters=given), FULL).attributes
    found = {key: value for key, value in attributes.items() if key.startswith("gen_ai.request.")}
    del found["gen_ai.request.model"], found["gen_ai.request.stream"]
    assert sorted(map(repr, found.values())) == sorted(map(repr, wanted))


@pytest.mark.parametrize("level", [OFF, METADATA])
@pytest.mark.parametrize("operation", ["chat", "text_completion", "generate_content"])
def test_no_content_leaves_below_redacted(level: CaptureLevel, operation: str) -> None:
    rendered = render(
        call(
            operation=operation,
            error_type="X",
            error_message=CANARY,
            extra_input={"context": CANARY},
            attributes={"llm.prompt_template.template": CANARY, "unknown": CANARY},
        ),
        level,
    )
    assert CANARY not in str(rendered)
    assert rendered.error == "X"


def test_redacted_masks_in_every_place_and_keeps_the_json() -> None:
    rendered = render(call(error_type="X", error_message=f"no {MAIL}"), REDACTED)
    assert MAIL not in str(rendered)
    assert CANARY in str(rendered)
    (turn,) = json.loads(rendered.attributes["gen_ai.input.messages"])
    assert turn == {
        "role": "user",
        "parts": [{"type": "text", "content": f"{CANARY} [email]"}],
    }
    assert rendered.error == "X: no [email]"


def test_full_is_everything_in_both_conventions() -> None:
    attributes = render(call(), FULL).attributes
    assert attributes["llm.input_messages.1.message.content"] == f"{CANARY} {MAIL}"
    assert attributes["output.value"] == f"{CANARY} yes"
    assert attributes["output.mime_type"] == "text/plain"
    assert json.loads(attributes["gen_ai.system_instructions"]) == [
        {"type": "text", "content": f"{CANARY} be kind"}
    ]
    assert json.loads(attributes["input.value"])["messages"][1]["content"] == f"{CANARY} {MAIL}"


def test_a_raw_prompt_is_a_prompt_and_a_choice() -> None:
    one = call(operation="text_completion", input=[Message("user", "Once")])
    attributes = render(one, FULL).attributes
    assert attributes["llm.prompts.0.prompt.text"] == "Once"
    assert attributes["llm.choices.0.completion.text"] == f"{CANARY} yes"
    assert attributes["input.value"] == "Once"


def test_events_tell_the_first_token_and_the_exception() -> None:
    rendered = render(call(error_type="X", error_message="m"), FULL)
    assert [(e.name, e.timestamp_ns) for e in rendered.events] == [
        ("First Token Stream Event", 1_500_000_000),
        ("exception", 3_000_000_000),
    ]
    assert rendered.events[1].attributes == {"exception.type": "X", "exception.message": "m"}


def test_what_is_not_known_is_not_there() -> None:
    bare = Call(provider="replicate", end_ns=2, start_ns=1)
    assert set(render(bare, FULL).attributes) == {
        "openinference.span.kind",
        "llm_observe.capture.level",
        "gen_ai.operation.name",
        "llm.provider",
        "gen_ai.provider.name",
    }
    assert render(bare, FULL).error is None
    assert render(bare, FULL).events == ()


def test_an_empty_answer_has_its_role_and_no_words() -> None:
    attributes = render(
        call(chunks=[], chunk_ns=[], output=[Message("assistant")]), FULL
    ).attributes
    assert attributes["llm.output_messages.0.message.role"] == "assistant"
    assert "output.value" not in attributes


def test_a_fault_in_redaction_drops_the_content_and_keeps_the_span() -> None:
    def broken() -> Any:
        raise RecursionError(CANARY)

    before = gate.count
    rendered = render(call(error_type="X", error_message=CANARY), Filter(REDACTED, broken))
    assert CANARY not in str(rendered)
    assert rendered.attributes["llm_observe.content.dropped"] is True
    assert rendered.attributes["llm.token_count.total"] == 7
    assert gate.count > before


def test_start_attributes_are_the_sampling_relevant_ones() -> None:
    assert start_attributes(call()) == {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "replicate",
        "gen_ai.request.model": "meta/llama-2-7b-chat",
        "server.address": "api.replicate.com",
        "server.port": 443,
    }
