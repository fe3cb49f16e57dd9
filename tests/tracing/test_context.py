import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from openinference.instrumentation import get_attributes_from_context, using_attributes
from opentelemetry import trace as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.trace import StatusCode

from llm_observe.tracing import patch
from llm_observe.tracing.context import context, trace
from llm_observe.tracing.gate import gate
from tests.tracing.doubles import KeepingRecorder


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    gate.reraise = True
    patch.connect(kept)
    yield kept
    patch.connect(None)
    gate.reraise = False


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


def test_an_async_generator_function_is_left_alone_with_a_warning() -> None:
    async def work() -> AsyncIterator[int]:
        yield 1

    with pytest.warns(UserWarning, match="use `with`"):
        assert context(session="s")(work) is work


def test_a_block_may_be_entered_again() -> None:
    block = context(session="s")
    with block, block:
        assert inside()["session.id"] == "s"
    assert inside() == {}


# -- trace -----------------------------------------------------------------------------------


def test_a_step_is_a_span_of_its_kind(recorder: KeepingRecorder) -> None:
    with context(session="s"), trace("look up", kind="tool") as step:
        step.input = {"q": "llamas"}
        step.output = "found"
        step.set("llm_observe.x", 1)
        trace("inner").__enter__().__exit__(None, None, None)
    inner, outer = recorder.spans
    assert outer.name == "look up"
    assert outer.attributes == {
        "openinference.span.kind": "TOOL",
        "session.id": "s",
        "input.value": '{"q": "llamas"}',
        "input.mime_type": "application/json",
        "output.value": "found",
        "output.mime_type": "text/plain",
        "llm_observe.x": 1,
    }
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id


def test_an_exception_goes_on_and_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(LookupError, match="mine"), trace("x"):
        raise LookupError("mine")
    (span,) = recorder.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "LookupError"
    assert span.events[0].name == "exception"


def test_as_a_decorator_it_records_arguments_and_result(recorder: KeepingRecorder) -> None:
    @trace("add")
    def add(a: int, *, b: int = 2) -> int:
        return a + b

    assert add(1, b=3) == 4
    with pytest.raises(TypeError):
        add()  # type: ignore[call-arg]  # on purpose
    first, second = recorder.spans
    assert first.attributes is not None
    assert first.attributes["input.value"] == '{"a": 1, "b": 3}'
    assert first.attributes["output.value"] == "4"
    assert second.status.status_code is StatusCode.ERROR
    assert add.__name__ == "add"


def test_as_a_decorator_of_a_coroutine_function_it_spans_the_whole(
    recorder: KeepingRecorder,
) -> None:
    @trace("later")
    async def later() -> str:
        await asyncio.sleep(0)
        assert otel.get_current_span().is_recording()
        return "done"

    assert asyncio.run(later()) == "done"
    assert recorder.spans[0].attributes is not None
    assert recorder.spans[0].attributes["output.value"] == "done"


def test_a_traced_generator_has_one_span_over_its_life(recorder: KeepingRecorder) -> None:
    @trace("steps")
    def steps(n: int) -> Iterator[bool]:
        for _ in range(n):
            yield otel.get_current_span().is_recording()

    for recording in steps(3):
        assert recording
        assert not otel.get_current_span().is_recording()
        assert recorder.spans == ()
    for _ in steps(3):
        break
    assert [span.name for span in recorder.spans] == ["steps", "steps"]
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.UNSET}


def test_suppressed_steps_leave_nothing(recorder: KeepingRecorder) -> None:
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    with trace("x") as step:
        step.output = "y"
    detach(token)
    assert recorder.spans == ()


def test_without_a_recorder_the_global_provider_is_used() -> None:
    """In a process of its own: a global provider, once set, stays."""
    code = (
        "from opentelemetry import trace as otel\n"
        "from llm_observe.tracing.context import trace\n"
        "with trace('x') as step:\n"
        "    step.input = 1\n"
        "    print(otel.get_current_span().is_recording())\n"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
