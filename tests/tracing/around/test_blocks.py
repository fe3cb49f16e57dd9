"""Blocks around code of the app: `with` and `async with`, also where they end in odd places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.tracing.probe import Probe, here, no_failed_detach

__all__ = ["no_failed_detach"]


def test_inside_it_is_there_and_outside_it_is_not() -> None:
    probe = Probe()
    with probe as entered:
        assert entered is probe
        assert here() == "in"
    assert here() is None
    assert probe.log == ["enter", ("left", None, None)]


def test_an_exception_goes_on_and_is_told() -> None:
    probe = Probe()
    with pytest.raises(LookupError), probe:
        raise LookupError
    assert probe.log[-1] == ("left", "LookupError", None)


def test_async_with() -> None:
    async def main() -> None:
        async with Probe() as probe:
            await asyncio.sleep(0)
            assert here() == "in"
        assert probe.log[-1] == ("left", None, None)

    asyncio.run(main())


def test_in_itself_it_is_left_in_order() -> None:
    probe = Probe()
    with probe:
        with probe:
            assert here() == "in"
        assert here() == "in"
    assert here() is None


def test_a_generator_that_holds_one_open_gives_it_back_when_it_is_dropped() -> None:
    probe = Probe()

    def items() -> Iterator[int]:
        with probe:
            yield 1
            yield 2

    for _ in items():
        break
    assert here() is None
    assert probe.log[-1] == ("left", "GeneratorExit", None)


def test_a_block_held_over_a_yield_and_ended_elsewhere_is_quiet() -> None:
    """Not how it should be used; but nothing must be logged, and nothing may break."""
    probe = Probe()

    async def items() -> AsyncIterator[int]:
        with probe:
            yield 1
            yield 2

    async def main() -> None:
        stream: Any = items()
        await asyncio.create_task(anext(stream))
        await asyncio.create_task(stream.aclose())
        assert here() is None

    asyncio.run(main())
    assert [x[1] for x in probe.log if x[0] == "left"] == ["GeneratorExit"]


def test_one_block_entered_by_several_tasks_at_once() -> None:
    probe = Probe()

    async def work() -> None:
        with probe:
            await asyncio.sleep(0)
            assert here() == "in"
        assert here() is None

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(5)))

    asyncio.run(main())
    assert len([x for x in probe.log if x[0] == "left"]) == 5
