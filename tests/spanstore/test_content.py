from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.spanstore.content import (
    input_messages,
    output_messages,
    output_text,
    parameters,
)
from llm_observe.spanstore.model import Message
from tests.spanstore.build import values

OPENINFERENCE = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "be short",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.content": "hello",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "hi",
}
GENAI = {
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "be short"}]),
    "gen_ai.input.messages": json.dumps(
        [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]
    ),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}]
    ),
}
PLAIN = {"input.value": "hello", "output.value": "hi"}
PROMPT = (Message("system", "be short"), Message("user", "hello"))
ANSWER = (Message("assistant", "hi"),)


@pytest.mark.parametrize(
    "attributes", [OPENINFERENCE, GENAI, OPENINFERENCE | GENAI | PLAIN], ids=["oi", "genai", "all"]
)
def test_messages_are_read_from_either_convention_and_shown_once(
    attributes: dict[str, Any],
) -> None:
    assert input_messages(attributes) == PROMPT
    assert output_messages(attributes) == ANSWER


@pytest.mark.parametrize(
    ("attributes", "prompt", "answer"),
    [
        (PLAIN, "hello", "hi"),
        ({"gen_ai.prompt.0.content": "p", "gen_ai.completion.0.content": "c"}, "p", "c"),
        ({"llm.prompts.0.prompt.text": "p", "llm.choices.0.completion.text": "c"}, "p", "c"),
        ({"gen_ai.input.messages": [{"role": "user", "content": "structured"}]}, "structured", ""),
        ({"gen_ai.input.messages": "not json"}, "", ""),
    ],
)
def test_other_ways_to_say_it(attributes: dict[str, Any], prompt: str, answer: str) -> None:
    assert output_text(input_messages(attributes)) == prompt
    assert output_text(output_messages(attributes)) == answer


def test_messages_stand_in_the_order_of_their_numbers() -> None:
    attributes = {f"llm.input_messages.{n}.message.content": str(n) for n in (10, 2, 1)}
    assert [message.content for message in input_messages(attributes)] == ["1", "2", "10"]


def test_tool_calls_and_media_are_shown_as_text() -> None:
    attributes = {
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "weather",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments": '{"city": 1}',
        "llm.output_messages.0.message.contents.0.message_content.type": "image",
    }
    assert output_messages(attributes)[0].content == '[image]\nweather({"city": 1})'
    parts = [{"type": "tool_call", "name": "weather", "arguments": {"city": 1}}, {"type": "blob"}]
    genai = {"gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts}])}
    assert output_messages(genai)[0].content == 'weather({"city": 1})\n[blob]'


def test_parameters_are_those_the_caller_gave_or_the_genai_ones() -> None:
    genai = {"gen_ai.request.temperature": 0.1, "gen_ai.request.model": "m"}
    given_too = genai | {"llm.invocation_parameters": '{"temperature": 0.1, "top_p": 1}'}
    assert parameters(genai) == {"temperature": 0.1}
    assert parameters(given_too) == {"temperature": 0.1, "top_p": 1}
    assert parameters(genai | {"llm.invocation_parameters": "{broken"}) == {"temperature": 0.1}


KEYS = [*OPENINFERENCE, *GENAI, *PLAIN, "llm.invocation_parameters", "llm.input_messages.x.y"]


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=8))
def test_no_value_of_an_attribute_breaks_a_reader(attributes: dict[str, Any]) -> None:
    for read in (input_messages, output_messages, parameters):
        read(attributes)


@pytest.mark.parametrize("kind", ["text", "reasoning"])
def test_words_that_a_level_kept_away_are_no_words(kind: str) -> None:
    hidden = {"role": "user", "parts": [{"type": kind}]}
    attributes = {
        "gen_ai.input.messages": json.dumps([hidden]),
        "gen_ai.output.messages": json.dumps([hidden | {"role": "assistant"}]),
    }
    assert input_messages(attributes) == output_messages(attributes) == ()
