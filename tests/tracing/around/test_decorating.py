"""Every shape of function, with every way to end it; parity with the bare function."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import pickle
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import trace as otel

from llm_observe.tracing.around.steps import trace
from tests.tracing.doubles import KeepingRecorder
from tests.tracing.probe import Probe, here, no_failed_detach
from tests.tracing.recorder import recording

__all__ = ["no_failed_detach"]

# -- shape -----------------------------------------------------------------------------------


def plain(a: int, *, b: int = 2) -> int:
    """Add."""
    return a + b


async def coroutine(a: int, *, b: int = 2) -> int:
    """Add."""
    return a + b


def generator(a: int, *, b: int = 2) -> Iterator[int]:
    """Add."""
    yield a + b


async def async_generator(a: int, *, b: int = 2) -> AsyncIterator[int]:
    """Add."""
    yield a + b


SHAPES = (plain, coroutine, generator, async_generator)
QUESTIONS = [
    function
    for name, function in inspect.getmembers(inspect, inspect.isfunction)
    if name in ("isfunction", "iscoroutinefunction", "isgeneratorfunction", "isasyncgenfunction")
]
decorated_plain = Probe()(plain)


@pytest.mark.parametrize("function", SHAPES)
def test_a_decorated_function_looks_as_before(function: Callable[..., Any]) -> None:
    wrapped = Probe()(function)
    assert len(QUESTIONS) == 4
    assert [ask(wrapped) for ask in QUESTIONS] == [ask(function) for ask in QUESTIONS]
    assert asyncio.iscoroutinefunction(wrapped) == asyncio.iscoroutinefunction(function)
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert (wrapped.__name__, wrapped.__qualname__) == (function.__name__, function.__qualname__)
    assert wrapped.__doc__ == "Add."


def test_a_function_decorated_in_place_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(in_place)) is in_place


@Probe()
def in_place() -> None: ...


def test_methods_of_every_kind_in_either_order() -> None:
    probe = Probe()

    class Owner:
        @probe
        def bound(self) -> Any:
            return type(self).__name__, here()

        @probe
        @classmethod
        def outside_class(cls) -> Any:
            return cls.__name__, here()

        @classmethod
        @probe
        def inside_class(cls) -> Any:
            return cls.__name__, here()

        @probe
        @staticmethod
        def outside_static() -> Any:
            return here()

        @staticmethod
        @probe
        def inside_static() -> Any:
            return here()

    class Heir(Owner): ...

    assert Heir().bound() == ("Heir", "in")
    assert Heir.outside_class() == Heir.inside_class() == ("Heir", "in")
    assert Owner().outside_static() == Owner.inside_static() == "in"


def test_partials_and_callable_objects_keep_their_shape() -> None:
    class Asked:
        async def __call__(self) -> Any:
            await asyncio.sleep(0)
            return here()

    probe = Probe()
    assert asyncio.run(probe(Asked())()) == "in"
    assert asyncio.run(probe(functools.partial(coroutine, 1))()) == 3
    assert list(probe(functools.partial(generator, 1))()) == [3]


class Task:
    """As frameworks make of a function."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run, self.retries = run, 3

    def __call__(self, *args: Any) -> Any:
        return self.run(*args)

    def delay(self, *args: Any) -> Any:
        return "later", self.run(*args)


@Probe()
@functools.lru_cache
def cached(a: int) -> Any:
    return a, here()


def test_an_object_that_can_be_called_stays_all_that_it_is() -> None:
    task = Task(lambda a: (a, here()))
    wrapped: Any = Probe()(task)
    assert wrapped(1) == (1, "in")
    assert isinstance(wrapped, Task)
    assert (wrapped.delay(2), wrapped.retries) == (("later", (2, None)), 3)
    assert copy.copy(wrapped).retries == copy.deepcopy(wrapped).retries == 3

    class Owner:
        job = wrapped

        @Probe()
        @functools.lru_cache  # noqa: B019  # as apps have it
        def kept(self, a: int) -> Any:
            return type(self).__name__, a, here()

    owner = Owner()
    assert owner.job(1) == (1, "in")
    assert owner.kept(1) == Owner.kept(owner, 1) == ("Owner", 1, "in")
    assert Owner.kept.cache_info().hits == 1


def test_a_cached_function_keeps_its_cache_and_can_be_pickled() -> None:
    assert cached(1) == cached(1) == (1, "in")
    assert cached.cache_info().hits == 1
    cached.cache_clear()
    assert pickle.loads(pickle.dumps(cached)) is cached
    assert inspect.signature(cached) == inspect.signature(cached.__wrapped__)


def test_what_is_no_function_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Thing: ...

    for value in (Thing, property(lambda self: 1), 7):
        assert Probe()(value) is value
    assert len(caplog.records) == 3
    caplog.clear()


def test_wrong_arguments_are_the_functions_to_refuse() -> None:
    for function in SHAPES[:2]:
        probe = Probe()
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
            asyncio.run(_maybe(probe(function)))
        assert probe.log[-1] == ("left", "TypeError", None)


async def _maybe(function: Callable[[], Any]) -> Any:
    value = function()
    return await value if inspect.isawaitable(value) else value


# -- generators ------------------------------------------------------------------------------


def talk() -> Any:
    """Yields where it is, takes what it is sent, and tells what is thrown in."""
    got: list[Any] = []
    try:
        while len(got) < 3:
            got.append((yield here()))
    except LookupError as error:
        got.append(str(error))
        yield "caught"
    return got


def test_a_generator_is_inside_only_while_it_runs() -> None:
    probe = Probe()
    stream = probe(talk)()
    assert probe.log == []  # it begins with its first step
    assert (next(stream), here(), stream.send(1), here()) == ("in", None, "in", None)
    assert stream.send(2) == "in"
    with pytest.raises(StopIteration) as stop:
        stream.send(3)
    assert stop.value.value == [1, 2, 3]
    assert probe.log == ["enter", *[("item", "in")] * 3, ("returned", [1, 2, 3]), ("left", None, None)]  # fmt: skip


def test_what_is_thrown_in_reaches_the_generator() -> None:
    probe = Probe()
    stream = probe(talk)()
    next(stream)
    assert stream.throw(LookupError("mine")) == "caught"
    with pytest.raises(StopIteration) as stop:
        next(stream)
    assert stop.value.value == ["mine"]


def test_what_it_does_not_catch_comes_out_as_it_was() -> None:
    probe, error = Probe(), OSError("mine")
    stream = probe(talk)()
    next(stream)
    with pytest.raises(OSError, match="mine") as raised:
        stream.throw(error)
    assert raised.value is error
    assert probe.log[-1] == ("left", "OSError", None)


@pytest.mark.parametrize("end", ["close", "del", "break", "throw GeneratorExit"])
def test_a_generator_that_is_not_finished_is_left_once(end: str) -> None:
    probe, closed_in = Probe(), []

    @probe
    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed_in.append(here())

    stream: Any = items()
    next(stream)
    if end == "close":
        stream.close()
    elif end == "throw GeneratorExit":
        with pytest.raises(GeneratorExit):
            stream.throw(GeneratorExit())
    elif end == "break":
        for _ in stream:
            break
    del stream
    assert closed_in == ["in"]
    assert [line for line in probe.log if line[0] == "left"] == [("left", "GeneratorExit", None)]


def test_a_generator_that_yields_while_it_is_closed_breaks_the_same_rule() -> None:
    @Probe()
    def stubborn() -> Iterator[int]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                yield 2
                return

    stream: Any = stubborn()
    next(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        stream.close()


def test_a_generator_may_go_from_thread_to_thread() -> None:
    probe = Probe()
    stream, seen = probe(talk)(), []
    for _ in range(3):
        thread = threading.Thread(target=lambda: seen.append(next(stream)))
        thread.start()
        thread.join()
    stream.close()
    assert seen == ["in"] * 3
    assert probe.log[-1] == ("left", "GeneratorExit", None)


def test_a_dropped_generator_is_gone_without_the_collector() -> None:
    class Mark: ...

    weak: list[Any] = []

    @Probe()
    def items() -> Iterator[int]:
        mark = Mark()
        weak.append(weakref.ref(mark))
        yield 1

    gc.disable()
    try:
        stream: Any = items()
        next(stream)
        del stream
        assert weak[0]() is None
    finally:
        gc.enable()


def test_two_generators_side_by_side_keep_apart() -> None:
    first, second = Probe("first")(talk)(), Probe("second")(talk)()
    assert [next(first), next(second), next(first), next(second)] == ["first", "second"] * 2


def test_what_a_generator_attached_itself_is_there_in_its_next_step(
    recorder: KeepingRecorder,
) -> None:
    @trace("outer")
    def items() -> Iterator[str]:
        with trace("inner"):
            yield name_of_current()
            yield name_of_current()
        yield name_of_current()

    assert [(name, name_of_current()) for name in items()] == [
        ("inner", ""),
        ("inner", ""),
        ("outer", ""),
    ]


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    with recording() as kept:
        yield kept


def name_of_current() -> str:
    return str(getattr(otel.get_current_span(), "name", ""))


# -- async generators ------------------------------------------------------------------------


async def async_talk() -> Any:
    got: list[Any] = []
    try:
        while len(got) < 3:
            await asyncio.sleep(0)
            got.append((yield here()))
    except LookupError as error:
        await asyncio.sleep(0)
        yield f"caught {error} {here()}"
    finally:
        await asyncio.sleep(0)
        told.append((got, here()))


told: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    told.clear()


def run(main: Callable[[Any, Probe], Any]) -> Probe:
    probe = Probe()

    async def whole() -> None:
        await main(probe(async_talk)(), probe)

    asyncio.run(whole())
    return probe


def test_an_async_generator_is_inside_only_while_it_runs() -> None:
    async def main(stream: Any, probe: Probe) -> None:
        assert probe.log == []
        assert (await stream.asend(None), here()) == ("in", None)
        assert (await stream.asend(1), here()) == ("in", None)
        await stream.asend(2)
        with pytest.raises(StopAsyncIteration):
            await stream.asend(3)

    assert run(main).log[-2:] == [("returned", None), ("left", None, None)]
    assert told == [([1, 2, 3], "in")]


def test_athrow_reaches_it_and_aclose_ends_it() -> None:
    async def main(stream: Any, probe: Probe) -> None:
        await anext(stream)
        assert await stream.athrow(LookupError("mine")) == "caught mine in"
        await stream.aclose()
        await stream.aclose()

    assert run(main).log[-1] == ("left", "GeneratorExit", None)
    assert told == [([], "in")]


def test_break_and_drop_in_another_task() -> None:
    async def main(stream: Any, probe: Probe) -> None:
        async for _ in stream:
            break
        del stream
        gc.collect()  # the loop's hook closes it, in a task of its own
        for _ in range(20):
            await asyncio.sleep(0)
        assert told == [([], "in")]

    async def whole() -> None:
        await main(probe(async_talk)(), probe)

    probe = Probe()
    asyncio.run(whole())
    assert [x for x in probe.log if x[0] == "left"] == [("left", "GeneratorExit", None)]


def test_begun_in_one_task_and_finished_in_another() -> None:
    async def main(stream: Any, probe: Probe) -> None:
        await asyncio.create_task(anext(stream))
        await asyncio.create_task(stream.aclose())

    assert run(main).log[-1] == ("left", "GeneratorExit", None)


def test_a_loop_that_ends_closes_it_whole() -> None:
    """With two async generators in sight, it would close outer and body at the same time."""
    kept = []

    async def main(stream: Any, probe: Probe) -> None:
        kept.append(stream)
        await anext(stream)

    assert run(main).log[-1] == ("left", "GeneratorExit", None)
    assert told == [([], "in")]


def test_cancelled_in_the_middle_of_a_step() -> None:
    async def main(stream: Any, probe: Probe) -> None:
        await anext(stream)
        task = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    assert run(main).log[-1] == ("left", "CancelledError", None)


def test_an_error_of_its_own() -> None:
    probe = Probe()

    @probe
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise OSError("mine")

    async def main() -> None:
        stream = failing()
        await anext(stream)
        with pytest.raises(OSError, match="mine"):
            await anext(stream)

    asyncio.run(main())
    assert probe.log[-1] == ("left", "OSError", None)


# -- coroutines ------------------------------------------------------------------------------


def test_a_coroutine_is_inside_only_while_it_runs() -> None:
    """Stepped by hand, as a loop without tasks would do it."""

    class Pause:
        def __await__(self) -> Generator[str, None, None]:
            yield "pause"

    @Probe()
    async def work() -> Any:
        first = here()
        await Pause()
        return first, here()

    body = work()
    assert (body.send(None), here()) == ("pause", None)
    with pytest.raises(StopIteration) as stop:
        body.send(None)
    assert stop.value.value == ("in", "in")


def test_a_coroutine_dropped_or_closed_in_another_context_is_left_quietly() -> None:
    probe = Probe()

    @probe
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> Any:
        body = work()
        body.send(None)
        return body

    body = asyncio.run(main())
    body.close()
    assert probe.log[-1] == ("left", "GeneratorExit", None)


def test_a_cancelled_coroutine() -> None:
    probe = Probe()

    @probe
    async def work() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert probe.log == ["enter", ("left", "CancelledError", None)]


def test_tasks_made_inside_inherit_it_and_tasks_side_by_side_keep_apart() -> None:
    async def ask() -> Any:
        await asyncio.sleep(0)
        return here()

    async def work() -> Any:
        child = asyncio.create_task(ask())
        await asyncio.sleep(0)
        return here(), await child

    async def main() -> list[Any]:
        return await asyncio.gather(*(Probe(name)(work)() for name in "abc"))

    assert asyncio.run(main()) == [(name, name) for name in "abc"]
