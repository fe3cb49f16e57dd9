import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from llm_observe.settings.model import (
    Capture,
    CaptureLevel,
    CaptureRule,
    Grant,
    Matcher,
    Settings,
)
from llm_observe.tracing.around.context import context
from llm_observe.tracing.around.recording import current_step
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.scrubbing import scrub
from llm_observe.tracing.wrapping import instrument
from tests.tracing.doubles import MODEL, PROMPT, KeepingRecorder, ReplicateAPI
from tests.tracing.recorder import attributes, recording


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    with recording() as kept:
        yield kept


def only(recorder: KeepingRecorder) -> dict[str, Any]:
    (span,) = recorder.spans
    return attributes(span)


# -- with ------------------------------------------------------------------------------------


def test_a_step_is_a_span_of_its_kind(recorder: KeepingRecorder) -> None:
    with context(session="s"), trace("look up", kind="guardrail") as step:
        step.input = {"q": "llamas"}
        step.output = "found"
        step.set("llm_observe.x", 1)
        with trace("inner"):
            pass
    inner, outer = recorder.spans
    assert outer.name == "look up"
    assert outer.attributes == {
        "openinference.span.kind": "GUARDRAIL",
        "session.id": "s",
        "input.value": '{"q": "llamas"}',
        "input.mime_type": "application/json",
        "output.value": "found",
        "output.mime_type": "text/plain",
        "llm_observe.x": 1,
    }
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id


def test_async_with(recorder: KeepingRecorder) -> None:
    async def main() -> None:
        async with trace("x") as step:
            await asyncio.sleep(0)
            step.output = 1

    asyncio.run(main())
    assert only(recorder)["output.value"] == "1"


def test_an_exception_goes_on_and_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(LookupError, match="mine"), trace("x"):
        raise LookupError("mine")
    (span,) = recorder.spans
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "LookupError"
    assert span.events[0].name == "exception"


class Mute(Exception):
    """Its text is code of the app that fails."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_has_no_text_is_an_error_all_the_same(
    recorder: KeepingRecorder,
) -> None:
    with pytest.raises(Mute), trace("x"):
        raise Mute
    (span,) = recorder.spans
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Mute")


def test_one_object_entered_in_itself_and_in_several_threads(recorder: KeepingRecorder) -> None:
    step = trace("x")

    def work(n: int) -> None:
        with step:
            step.output = n

    with step:
        step.input = "outer"
        with step:
            step.input = "inner"
        step.output = "outer"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(50)))
    inner, outer, *others = map(attributes, recorder.spans)
    assert (inner["input.value"], outer["input.value"]) == ("inner", "outer")
    assert "output.value" not in inner
    assert sorted(int(span["output.value"]) for span in others) == list(range(50))


def test_the_reference_of_a_step_outlives_it(recorder: KeepingRecorder) -> None:
    step = trace("x")
    assert step.reference == ""
    with step:
        during = step.reference
    (span,) = recorder.spans
    expected = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
    assert during == step.reference == expected


def test_a_step_knows_the_calls_inside_it(recorder: KeepingRecorder) -> None:
    instrument.install()
    client = ReplicateAPI().client()
    with trace("outer") as outer:
        client.run(MODEL, input=PROMPT)
        with trace("inner") as inner:
            list(client.stream(MODEL, input=PROMPT))
        with trace("idle") as idle:
            pass
    client.run(MODEL, input=PROMPT)
    instrument.uninstall()
    ids = [
        f"{span.context.span_id:016x}" for span in recorder.spans if span.name.startswith("chat")
    ]
    assert [call.split("-")[2] for call in outer.calls] == ids[:2]
    assert inner.calls == outer.calls[1:]
    assert idle.calls == current_step().calls == ()


def test_a_step_that_ended_takes_nothing_more(recorder: KeepingRecorder) -> None:
    with trace("x") as step:
        pass
    step.output = "late"
    assert "output.value" not in only(recorder)


def test_an_unsampled_step_is_a_parent_all_the_same() -> None:
    with recording(ALWAYS_OFF) as recorder:
        with trace("x") as step:
            step.input = object()
            assert otel.get_current_span().get_span_context().is_valid
            assert step.reference.endswith("-00")
        assert recorder.spans == ()


# -- as a decorator --------------------------------------------------------------------------


def test_it_records_arguments_and_result(recorder: KeepingRecorder) -> None:
    @trace("add")
    def add(a: int, *, b: int = 2) -> int:
        return a + b

    assert add(1, b=3) == 4
    with pytest.raises(TypeError):
        add()  # type: ignore[call-arg]  # on purpose
    first, second = recorder.spans
    assert attributes(first)["input.value"] == '{"a": 1, "b": 3}'
    assert attributes(first)["output.value"] == "4"
    assert second.status.status_code is StatusCode.ERROR


def test_bare_it_takes_the_qualified_name(recorder: KeepingRecorder) -> None:
    @trace
    def plain() -> None: ...

    class Owner:
        @trace
        def method(self, x: int) -> int:
            return x

        @trace
        @classmethod
        def made(cls) -> int:
            return 1

        @staticmethod
        @trace
        def free() -> int:
            return 2

    plain()
    assert (Owner().method(1), Owner.made(), Owner.free()) == (1, 1, 2)
    names = [span.name for span in recorder.spans]
    assert names == ["plain", "Owner.method", "Owner.made", "Owner.free"]
    assert attributes(recorder.spans[1])["input.value"] == '{"x": 1}'


def test_input_and_output_can_be_left_out(recorder: KeepingRecorder) -> None:
    @trace(capture_input=False, capture_output=False)
    def secret(word: str) -> str:
        return word

    @trace(capture_output=False)
    def secrets(word: str) -> Iterator[str]:
        yield word

    assert (secret("hush"), *secrets("hush")) == ("hush", "hush")
    first, second = map(attributes, recorder.spans)
    assert not {"input.value", "output.value"} & first.keys()
    assert "output.value" not in second
    assert second["input.value"] == '{"word": "hush"}'


def test_of_a_coroutine_function_it_spans_the_whole(recorder: KeepingRecorder) -> None:
    @trace("later")
    async def later() -> str:
        await asyncio.sleep(0)
        assert otel.get_current_span().is_recording()
        return "done"

    assert asyncio.run(later()) == "done"
    assert only(recorder)["output.value"] == "done"


def test_a_cancelled_step_was_broken_off_and_did_not_fail(recorder: KeepingRecorder) -> None:
    @trace
    async def endless() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(endless())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert recorder.spans[0].status.status_code is StatusCode.UNSET
    assert only(recorder)["llm_observe.aborted"] is True


def test_a_generator_has_one_span_over_its_life_and_its_pieces_are_its_output(
    recorder: KeepingRecorder,
) -> None:
    @trace
    def words() -> Iterator[str]:
        for word in ("Llamas ", "live ", "here"):
            assert otel.get_current_span().is_recording()
            yield word

    for _ in words():
        assert not otel.get_current_span().is_recording()
        assert recorder.spans == ()
    for _ in words():
        break
    gc.collect()
    whole, part = recorder.spans
    assert attributes(whole)["output.value"] == "Llamas live here"
    assert attributes(whole)["output.mime_type"] == "text/plain"
    assert attributes(part)["output.value"] == "Llamas "
    assert attributes(part)["llm_observe.aborted"] is True
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.UNSET}


def test_an_async_generator_likewise(recorder: KeepingRecorder) -> None:
    @trace("numbers")
    async def numbers(n: int) -> AsyncIterator[int]:
        for number in range(n):
            await asyncio.sleep(0)
            assert otel.get_current_span().is_recording()
            yield number

    async def main() -> None:
        async for _ in numbers(3):
            with trace("of the consumer"):
                pass

    asyncio.run(main())
    *consumers, stream = recorder.spans
    assert json.loads(attributes(stream)["output.value"]) == [0, 1, 2]
    assert [span.parent for span in consumers] == [None] * 3


def test_a_generator_that_fails_keeps_what_it_had(recorder: KeepingRecorder) -> None:
    @trace
    def failing() -> Iterator[str]:
        yield "half"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(failing())
    assert recorder.spans[0].status.status_code is StatusCode.ERROR
    assert only(recorder)["output.value"] == "half"


def test_a_thousand_items_are_kept_within_bounds(recorder: KeepingRecorder) -> None:
    @trace
    def many() -> Iterator[Any]:
        yield "text first"
        yield from range(1000)

    assert len(list(many())) == 1001
    kept = json.loads(only(recorder)["output.value"])
    assert kept[:2] == ["text first", 0]
    assert kept[-1] == "… 802 more"


def test_values_that_are_no_json_never_disturb_the_app(recorder: KeepingRecorder) -> None:
    class Rude:
        def __repr__(self) -> str:
            raise AssertionError("nobody may ask")

    cycle: list[Any] = [Rude()]
    cycle.append(cycle)

    @trace
    def echo(value: Any) -> Any:
        return value

    assert echo(cycle) is cycle
    assert json.loads(only(recorder)["output.value"]) == ["<Rude>", "<cycle>"]


# -- what each kind knows --------------------------------------------------------------------


def test_a_tool_knows_its_name_description_and_parameters(recorder: KeepingRecorder) -> None:
    @trace("weather", kind="tool")
    def weather(city: str) -> str:
        """Looks out of the window."""
        return f"rain in {city}"

    weather("Lima")
    found = only(recorder)
    assert found["tool.name"] == found["gen_ai.tool.name"] == "weather"
    assert found["gen_ai.operation.name"] == "execute_tool"
    assert found["tool.description"] == "Looks out of the window."
    assert found["tool.parameters"] == found["gen_ai.tool.call.arguments"] == '{"city": "Lima"}'
    assert found["gen_ai.tool.call.result"] == "rain in Lima"


def test_a_retriever_knows_its_documents(recorder: KeepingRecorder) -> None:
    class Found:
        def __init__(self) -> None:
            self.page_content, self.metadata = "three", {"page": 3}

    @trace("search", kind="retriever")
    def search(query: str) -> list[Any]:
        return ["one", {"id": 2, "content": "two", "score": 1}, Found()]

    search("llamas")
    found = {k.removeprefix("retrieval.documents."): v for k, v in only(recorder).items()}
    assert found["0.document.content"] == "one"
    assert (found["1.document.id"], found["1.document.score"]) == ("2", 1.0)
    assert found["2.document.content"] == "three"
    assert found["2.document.metadata"] == '{"page": 3}'


def test_setters_of_every_kind_also_from_inside_a_decorated_function(
    recorder: KeepingRecorder,
) -> None:
    @trace("answer", kind="agent")
    def answer() -> str:
        step = current_step()
        step.set_agent("planner")
        step.set("tag", ["a", "b"])
        assert step.reference
        return "x"

    answer()
    with trace("rank", kind="reranker") as step:
        step.set_documents(["a", "b"], side="input")
        step.set_documents(["b"])
    with trace("t", kind="tool") as step:
        step.set_tool("other", {"x": 1}, description="does", call_id="c-1")
    with trace("fill", kind="prompt") as step:
        step.set_prompt("Hi {name}", {"name": "Ann"}, "v1")
    agent, reranker, tool, prompt = map(attributes, recorder.spans)
    assert agent["agent.name"] == agent["gen_ai.agent.name"] == "planner"
    assert agent["tag"] == ("a", "b")
    assert reranker["reranker.input_documents.1.document.content"] == "b"
    assert reranker["reranker.output_documents.0.document.content"] == "b"
    assert (tool["tool.name"], tool["tool.id"]) == ("other", "c-1")
    assert tool["tool.parameters"] == '{"x": 1}'
    assert prompt["llm.prompt_template.variables"] == '{"name": "Ann"}'
    assert prompt["llm.prompt_template.version"] == "v1"


def test_every_key_that_a_step_may_have_is_known_to_the_table(recorder: KeepingRecorder) -> None:
    """What the table does not know would leave at ``full`` only."""
    test_setters_of_every_kind_also_from_inside_a_decorated_function(recorder)
    test_a_tool = [attributes(span) for span in recorder.spans]
    for found in test_a_tool:
        kept = scrub(found, CaptureLevel.REDACTED)
        assert found.keys() - kept.keys() <= {"tag"}


def test_content_of_steps_stays_below_the_level(recorder: KeepingRecorder) -> None:
    canary = "CANARY"

    @trace("tool", kind="tool")
    def tool(x: str) -> str:
        """CANARY."""
        current_step().set("custom", x)
        return x

    @trace("find", kind="retriever")
    def find(x: str) -> list[str]:
        return [x]

    tool(canary)
    find(canary)
    with trace("fill", kind="prompt") as step:
        step.set_prompt(canary, {"x": canary})
    for level in (CaptureLevel.OFF, CaptureLevel.METADATA):
        for span in recorder.spans:
            assert canary not in str(scrub(attributes(span), level))


def test_a_kind_that_does_not_exist_becomes_a_chain_and_is_logged(
    recorder: KeepingRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with trace("x", kind="tol"):  # type: ignore[call-overload]  # on purpose
        pass
    assert only(recorder)["openinference.span.kind"] == "CHAIN"
    assert "'tol' is no kind of step" in caplog.text


@pytest.mark.parametrize(("name", "said"), [(None, "step"), (7, "7"), ("", "step")])
def test_a_name_of_any_kind_is_a_name(recorder: KeepingRecorder, name: Any, said: str) -> None:
    with trace(name):
        pass
    assert [span.name for span in recorder.spans] == [said]


def test_a_name_and_a_kind_that_fail_to_say_what_they_are_never_disturb_the_app(
    recorder: KeepingRecorder,
) -> None:
    gate.reraise, before = False, gate.count
    with trace(Mute(), kind=Mute()):  # type: ignore[call-overload]  # on purpose
        pass
    assert only(recorder)["openinference.span.kind"] == "CHAIN"
    assert gate.count == before + 2
    gate.count = before


def test_where_there_is_no_step_writing_goes_nowhere() -> None:
    step = current_step()
    step.output = 1
    step.set_tool("x")
    assert step.reference == ""


def test_our_own_fault_is_counted_and_the_app_goes_on(recorder: KeepingRecorder) -> None:
    gate.reraise = False
    before = gate.count

    class Broken:
        def __iter__(self) -> Iterator[Any]:
            raise RuntimeError("ours")

    with trace("x") as step:
        step.set_documents(Broken())
    assert gate.count == before + 1
    gate.count = before
    assert len(recorder.spans) == 1


class Untouchable(dict[str, Any]):
    """Content that nobody may look at."""

    def items(self) -> Any:
        raise AssertionError("looked at")

    __iter__ = keys = values = __len__ = items


def at(recorder: KeepingRecorder, level: str) -> None:
    recorder.settings = Settings(capture=Capture(level=CaptureLevel(level)))  # type: ignore[attr-defined]  # as a pipeline has them


@pytest.mark.parametrize("level", ["off", "metadata"])
def test_where_content_may_not_leave_nothing_is_made_of_it(
    recorder: KeepingRecorder, level: str
) -> None:
    at(recorder, level)

    @trace("tool", kind="tool")
    def tool(value: Any) -> Any:
        """Says something."""
        step = current_step()
        step.input = step.output = value
        step.set_tool("other", value, description="does", call_id="c-1")
        step.set_prompt("Hi", value, "v1")
        return value

    @trace
    def items(value: Any) -> Iterator[Any]:
        yield value

    @trace("find", kind="retriever")
    def find() -> list[Any]:
        return [{"id": 1, "score": 2, "content": Untouchable()}]

    tool(Untouchable())
    list(items(Untouchable()))
    find()
    said, _, found = map(attributes, recorder.spans)
    assert (said["tool.name"], said["tool.id"]) == ("other", "c-1")
    assert said["llm.prompt_template.version"] == "v1"
    assert found["retrieval.documents.0.document.id"] == "1"
    content = ("value", "parameters", "template", "variables", "description", "content", "result")
    assert not [key for key in (said | found) if key.endswith(content)]


@pytest.mark.parametrize("level", ["redacted", "full"])
def test_where_it_may_leave_it_is_kept_for_the_export_to_decide(
    recorder: KeepingRecorder, level: str
) -> None:
    at(recorder, level)
    with trace("x") as step:
        step.input = "words"
    assert only(recorder)["input.value"] == "words"


@pytest.mark.parametrize(
    "more",
    [
        {"documents": CaptureLevel.FULL},
        {"rules": {"ann": CaptureRule(match=Matcher(user="ann"), level=CaptureLevel.REDACTED)}},
        {"grants": {"g-1": Grant(match=Matcher(user="ann"), until="2999-01-01T00:00:00Z")}},
    ],
    ids=str,
)
def test_where_only_some_of_it_may_leave_it_is_kept_too(
    recorder: KeepingRecorder, more: dict[str, Any]
) -> None:
    recorder.settings = Settings(capture=Capture(**more))  # type: ignore[attr-defined]  # as a pipeline has them
    with trace("find", kind="retriever") as step:
        step.set_documents(["words"])
    assert only(recorder)["retrieval.documents.0.document.content"] == "words"


def test_without_a_recorder_nothing_is_recorded_even_on_a_provider_of_the_app() -> None:
    """In a process of its own: a global provider, once set, stays."""
    code = (
        "from opentelemetry import trace as otel\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from llm_observe.tracing.around.steps import trace\n"
        "otel.set_tracer_provider(TracerProvider())\n"
        "with otel.get_tracer('app').start_as_current_span('mine') as mine:\n"
        "    with trace('x') as step:\n"
        "        step.input = 1\n"
        "        print(otel.get_current_span() is mine, repr(step.reference))\n"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == "True ''\n"
