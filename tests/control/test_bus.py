from __future__ import annotations

import asyncio

import pytest

from llm_observe.control.bus import MAX_PENDING, Bus
from llm_observe.control.rules.model import Notice

pytestmark = pytest.mark.anyio


async def test_a_slow_watcher_gets_each_notice_once() -> None:
    bus = Bus()
    watcher = bus.watch()
    for _ in range(5):
        bus.publish(Notice("traces"))
        bus.publish(Notice("agents", "a"))
    bus.close()
    assert [n async for n in watcher] == [Notice("traces"), Notice("agents", "a")]


async def test_a_very_slow_watcher_hears_that_anything_may_have_changed() -> None:
    bus = Bus()
    watcher = bus.watch()
    for number in range(MAX_PENDING * 3):
        bus.publish(Notice("agents", str(number)))
    bus.close()
    heard = [n async for n in watcher]
    assert Notice("agents") in heard
    assert len(heard) <= MAX_PENDING


async def test_waiting_can_be_given_up_without_losing_anything() -> None:
    bus = Bus()
    watcher = bus.watch()
    waiting = asyncio.ensure_future(watcher.__anext__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    bus.publish(Notice("traces"))
    assert await anext(watcher) == Notice("traces")


async def test_a_watcher_that_nobody_holds_is_forgotten() -> None:
    bus = Bus()
    watcher = bus.watch()
    assert len(bus) == 1
    del watcher
    assert len(bus) == 0


async def test_watching_a_closed_bus_ends_at_once() -> None:
    bus = Bus()
    bus.close()
    assert [n async for n in bus.watch()] == []
