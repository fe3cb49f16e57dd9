from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.testing import (
    GenerationRequest,
    ScriptedEngine,
    TextChunk,
    Usage,
    scripted_tokens,
)

pytestmark = pytest.mark.anyio


async def talk(engine: ScriptedEngine, **asked: object) -> tuple[list[str], Usage]:
    request = GenerationRequest(**{"prompt": "Hi", **asked})  # type: ignore[arg-type]  # by name
    items = [item async for item in engine.generate(request)]
    usage = items.pop()
    assert isinstance(usage, Usage)
    return [item.text for item in items if isinstance(item, TextChunk)], usage


async def test_answers_come_in_turn_and_begin_again() -> None:
    engine = ScriptedEngine(["One.", "Two."])
    assert [(await talk(engine))[0] for _ in range(3)] == [["One."], ["Two."], ["One."]]


async def test_an_answer_may_depend_on_the_question() -> None:
    words, _ = await talk(ScriptedEngine(lambda request: request.prompt.upper()), prompt="a b")
    assert words == ["A", " B"]


async def test_counts_are_of_what_was_really_said() -> None:
    words, usage = await talk(
        ScriptedEngine(["one two three four"]), prompt="a b", system_prompt="c", max_tokens=3
    )
    assert words == ["one", " two", " three"]
    assert usage == Usage(input_tokens=3, output_tokens=3, finish_reason="length")


async def test_a_stop_text_ends_the_answer_and_is_not_in_it() -> None:
    words, usage = await talk(ScriptedEngine(["one two STOP three"]), stop=("STOP", "three"))
    assert ("".join(words), usage.finish_reason) == ("one two ", "stop")


async def test_waiting_is_left_to_the_given_clock() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    engine = ScriptedEngine(["a b c"], first_delay_s=2.0, delay_s=0.5, sleep=sleep)
    await talk(engine)
    assert slept == [2.0, 0.5, 0.5]


async def test_an_empty_script_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        ScriptedEngine([])


@given(st.text(max_size=200))
def test_words_joined_give_the_text_again(text: str) -> None:
    assert "".join(scripted_tokens(text)) == text
