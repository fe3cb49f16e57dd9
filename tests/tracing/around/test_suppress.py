import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from openinference.instrumentation import OITracer, TraceConfig
from opentelemetry.instrumentation.utils import (
    is_http_instrumentation_enabled,
    is_instrumentation_enabled,
)

from llm_observe.tracing.around.feedback import score
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.around.suppress import suppress_tracing
from llm_observe.tracing.wrapping import instrument
from tests.tracing.doubles import MODEL, PROMPT, KeepingRecorder, ReplicateAPI
from tests.tracing.recorder import recording


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    with recording() as kept:
        instrument.install()
        yield kept
        instrument.uninstall()


def everything(recorder: KeepingRecorder) -> bool:
    """Each kind of telemetry, tried once; whether instrumentors of others would act."""
    ReplicateAPI().client().run(MODEL, input=PROMPT)
    with trace("step") as step:
        score("helpful", 1, target=step)
    tracer = OITracer(recorder.tracer_provider.get_tracer("theirs"), config=TraceConfig())
    with tracer.start_as_current_span("theirs"):
        pass
    return is_instrumentation_enabled() or is_http_instrumentation_enabled()


def left(recorder: KeepingRecorder) -> tuple[int, int, int]:
    return recorder.started, len(recorder.calls), len(recorder.spans)


def test_inside_nothing_is_recorded_and_afterwards_all_is(recorder: KeepingRecorder) -> None:
    with suppress_tracing():
        assert not everything(recorder)
    assert left(recorder) == (0, 0, 0)
    assert everything(recorder)
    assert left(recorder) == (1, 1, 4)


def test_as_a_decorator_of_every_shape(recorder: KeepingRecorder) -> None:
    @suppress_tracing()
    def plain() -> bool:
        return everything(recorder)

    @suppress_tracing()
    async def later() -> bool:
        await asyncio.sleep(0)
        return everything(recorder)

    @suppress_tracing()
    def items() -> Iterator[bool]:
        yield everything(recorder)
        yield everything(recorder)

    @suppress_tracing()
    async def async_items() -> AsyncIterator[bool]:
        yield everything(recorder)
        await asyncio.sleep(0)
        yield everything(recorder)

    async def main() -> list[bool]:
        async with suppress_tracing():
            inside = everything(recorder)
        return [inside, await later(), *[item async for item in async_items()]]

    assert not any([plain(), *items(), *asyncio.run(main())])
    assert left(recorder) == (0, 0, 0)


def test_as_a_bare_decorator(recorder: KeepingRecorder) -> None:
    @suppress_tracing
    def quiet(recorder: KeepingRecorder) -> bool:
        return everything(recorder)

    assert not quiet(recorder)
    assert left(recorder) == (0, 0, 0)


def test_between_the_items_of_a_suppressed_generator_the_consumer_is_traced(
    recorder: KeepingRecorder,
) -> None:
    @suppress_tracing()
    def items() -> Iterator[int]:
        yield 1
        yield 2

    for _ in items():
        with trace("mine"):
            pass
    assert [span.name for span in recorder.spans] == ["mine", "mine"]


def test_a_step_around_a_pause_is_recorded(recorder: KeepingRecorder) -> None:
    with trace("outer"), suppress_tracing():
        everything(recorder)
    assert [span.name for span in recorder.spans] == ["outer"]


def test_exceptions_pass(recorder: KeepingRecorder) -> None:
    @suppress_tracing()
    def failing() -> Any:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        failing()
    assert is_instrumentation_enabled()
