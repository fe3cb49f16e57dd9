import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from openinference.instrumentation import (
    get_attributes_from_context,
    using_attributes,
    using_metadata,
    using_prompt_template,
    using_session,
    using_tags,
    using_user,
)

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.around.context import MAX_TAGS, MAX_TEXT, context
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.call import Call
from llm_observe.tracing.rendering.render import render
from llm_observe.tracing.wrapping import instrument
from tests.tracing.doubles import MODEL, PROMPT, KeepingRecorder, ReplicateAPI
from tests.tracing.recorder import attributes, recording


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    with recording() as kept:
        yield kept


def inside() -> dict[str, Any]:
    return dict(get_attributes_from_context())


# -- context ---------------------------------------------------------------------------------


def test_openinference_reads_what_we_say() -> None:
    with context(session="s", user="u", tags=["a"], metadata={"k": [1]}):
        assert inside() == {
            "session.id": "s",
            "user.id": "u",
            "tag.tags": ["a"],
            "metadata": '{"k": [1]}',
        }
    assert inside() == {}


def test_an_inner_block_overrides_and_adds() -> None:
    with context(session="s", tags=["a"], metadata={"k": 1, "l": 1}):
        with context(session="t", tags=["b", "a"], metadata={"k": 2}):
            assert inside()["session.id"] == "t"
            assert inside()["tag.tags"] == ["a", "b"]
            assert json.loads(inside()["metadata"]) == {"k": 2, "l": 1}
        with context(user="u"):
            assert inside()["session.id"] == "s"
        assert inside()["tag.tags"] == ["a"]


def test_it_adds_to_openinferences_own_block() -> None:
    with using_attributes(session_id="s", metadata={"k": 1}), context(metadata={"l": 2}):
        assert inside()["session.id"] == "s"
        assert json.loads(inside()["metadata"]) == {"k": 1, "l": 2}


def test_odd_values_never_raise() -> None:
    with context(session=7, user=object(), tags="one", metadata={"o": object()}):  # type: ignore[arg-type]  # on purpose
        assert inside()["session.id"] == "7"
        assert inside()["tag.tags"] == ["one"]
        assert inside()["metadata"] == '{"o": "<object>"}'


def test_as_a_decorator_it_is_there_for_each_call_only() -> None:
    @context(session="s")
    def work(n: int) -> Any:
        return inside().get("session.id"), n

    assert (work(1), work(n=2)) == (("s", 1), ("s", 2))
    assert inside() == {}


def test_as_a_decorator_of_a_coroutine_function() -> None:
    @context(session="s")
    async def work() -> Any:
        await asyncio.sleep(0)
        return inside().get("session.id")

    assert asyncio.run(work()) == "s"


def test_as_a_decorator_of_a_generator_it_is_not_in_the_callers_code() -> None:
    @context(session="s")
    def work() -> Iterator[Any]:
        yield inside().get("session.id")
        yield inside().get("session.id")

    for seen in work():
        assert seen == "s"
        assert inside() == {}


def test_as_a_decorator_of_an_async_generator_it_is_not_in_the_callers_code() -> None:
    @context(session="s")
    async def work() -> AsyncIterator[Any]:
        yield inside().get("session.id")
        await asyncio.sleep(0)
        yield inside().get("session.id")

    async def main() -> list[Any]:
        seen = []
        async for value in work():
            seen.append((value, inside()))
        return seen

    assert asyncio.run(main()) == [("s", {}), ("s", {})]


def test_async_with() -> None:
    async def main() -> None:
        async with context(session="s"):
            await asyncio.sleep(0)
            assert inside()["session.id"] == "s"
        assert inside() == {}

    asyncio.run(main())


def test_a_block_may_be_entered_again() -> None:
    block = context(session="s")
    with block, block:
        assert inside()["session.id"] == "s"
    assert inside() == {}


def test_long_values_are_cut() -> None:
    many = (f"t{number}" for number in range(10**9))
    with context(session="s" * 10_000, tags=many, metadata={"k": "x" * 10**6}):
        assert len(inside()["session.id"]) == MAX_TEXT
        assert len(inside()["tag.tags"]) == MAX_TAGS
        assert len(inside()["metadata"]) < 20_000


# -- on spans of ours: what we say, and what OpenInference's own blocks say ---------------------


@pytest.fixture
def replicate_call(recorder: KeepingRecorder) -> Iterator[Any]:
    instrument.install()

    def ask() -> Call:
        ReplicateAPI().client().run(MODEL, input=PROMPT)
        return recorder.calls[-1]

    yield ask
    instrument.uninstall()


SAYS = [
    (using_session("s"), "session", "session.id", "s"),
    (using_user("u"), "user", "user.id", "u"),
    (using_tags(["a", "b"]), "tags", "tag.tags", ("a", "b")),
    (using_metadata({"k": 1}), "metadata", "metadata", '{"k": 1}'),
    (using_attributes(session_id="s"), "session", "session.id", "s"),
    (context(session="s"), "session", "session.id", "s"),
    (context(user="u"), "user", "user.id", "u"),
    (context(tags=["a", "b"]), "tags", "tag.tags", ("a", "b")),
    (context(metadata={"k": 1}), "metadata", "metadata", '{"k": 1}'),
]


@pytest.mark.parametrize(("block", "field", "key", "value"), SAYS)
def test_calls_and_steps_inherit_what_a_block_says(
    recorder: KeepingRecorder, replicate_call: Any, block: Any, field: str, key: str, value: Any
) -> None:
    with block, trace("outer"), trace("inner"):
        call = replicate_call()
    assert getattr(call, field) == value
    steps = [span for span in recorder.spans if span.name in ("outer", "inner")]
    assert [attributes(span)[key] for span in steps] == [value, value]


@pytest.mark.parametrize("inner", [using_session, context])
@pytest.mark.parametrize("outer", [using_session, context])
def test_the_innermost_session_wins_whoever_says_it(
    replicate_call: Any, inner: Any, outer: Any
) -> None:
    with outer("first"):
        with inner("second"):
            assert replicate_call().session == "second"
        assert replicate_call().session == "first"
    assert replicate_call().session == ""


def test_a_prompt_template_is_on_the_call_and_is_content(replicate_call: Any) -> None:
    with using_prompt_template(
        template="Where do {animal} live?", version="v2", variables={"animal": "llamas"}
    ):
        call = replicate_call()
    shown = {level: render(call, level).attributes for level in CaptureLevel}
    full = shown[CaptureLevel.FULL]
    assert full["llm.prompt_template.template"] == "Where do {animal} live?"
    assert full["llm.prompt_template.version"] == "v2"
    assert json.loads(full["llm.prompt_template.variables"]) == {"animal": "llamas"}
    for level in (CaptureLevel.OFF, CaptureLevel.METADATA):
        assert "llm.prompt_template.template" not in shown[level]
        assert "llm.prompt_template.variables" not in shown[level]


def test_a_prompt_step_has_the_template_and_a_chain_has_not(recorder: KeepingRecorder) -> None:
    with using_prompt_template(template="Hi {name}"), trace("chain"), trace("fill", "prompt"):
        pass
    fill, chain = map(attributes, recorder.spans)
    assert fill["llm.prompt_template.template"] == "Hi {name}"
    assert "llm.prompt_template.template" not in chain


OVERRIDES = [
    (using_user("a"), using_user("b"), "user", "b"),
    (context(user="a"), using_user("b"), "user", "b"),
    (using_user("a"), context(user="b"), "user", "b"),
    (using_tags(["a"]), using_tags(["b"]), "tags", ("b",)),
    (using_tags(["a"]), context(tags=["b"]), "tags", ("a", "b")),
    (context(tags=["a"]), using_tags(["b"]), "tags", ("b",)),
    (using_metadata({"a": 1}), using_metadata({"b": 2}), "metadata", '{"b": 2}'),
    (using_metadata({"a": 1}), context(metadata={"b": 2}), "metadata", '{"a": 1, "b": 2}'),
    (using_attributes(user_id="a", session_id="s"), context(user="b"), "user", "b"),
    (using_user("a"), context(user=""), "user", "a"),
]


@pytest.mark.parametrize(("outer", "inner", "field", "value"), OVERRIDES)
def test_an_inner_block_overrides_or_adds_whoever_made_it(
    replicate_call: Any, outer: Any, inner: Any, field: str, value: Any
) -> None:
    with outer:
        with inner:
            assert getattr(replicate_call(), field) == value
        before = getattr(replicate_call(), field)
    assert "a" in before
    assert "b" not in before
