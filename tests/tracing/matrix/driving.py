"""How a caller drives a surface to each ending, in threads and in tasks."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing
from contextvars import copy_context
from typing import Any

from tests.tracing.matrix.seen import Seen
from tests.tracing.matrix.table import How, Situation, Surface

DEADLINE_S = 60.0


class Mine(Exception):
    """An error of the caller's own."""


def drive(surface: Surface, how: How, situation: Situation, seen: Seen) -> None:
    """Call a surface of the synchronous client; what comes out is noted, never raised."""
    try:
        _SYNC[how](surface, situation, seen)
    except Exception as error:  # noqa: BLE001  # whatever comes out is what is compared
        seen.failed(error)


async def drive_async(
    surface: Surface, how: How, situation: Situation, seen: Seen, stuck: Callable[[], bool]
) -> None:
    """The same with coroutines. ``stuck``: whether the server will say nothing more."""
    try:
        if how == "cancel":
            await _cancel(surface, situation, seen, stuck)
        else:
            await _ASYNC[how](surface, situation, seen)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the same
        seen.failed(error)


# -- threads ---------------------------------------------------------------------------------


def _complete(surface: Surface, situation: Situation, seen: Seen) -> None:
    opened = seen.opened(surface.open(situation))
    _rest(surface, situation, seen, opened)


def _rest(surface: Surface, situation: Situation, seen: Seen, opened: Any) -> None:
    if surface.shape == "stream":
        for item in opened:
            seen.item(item)
    elif surface.finish is not None:
        other = surface.finish(situation, opened)
        seen.answer(opened if other is None else other)
    else:
        seen.answer(opened)


def _break(surface: Surface, situation: Situation, seen: Seen) -> None:
    for item in surface.open(situation):
        seen.item(item)
        break


def _close(surface: Surface, situation: Situation, seen: Seen) -> None:
    with closing(iter(surface.open(situation))) as stream:
        seen.item(next(stream))


def _collect(surface: Surface, situation: Situation, seen: Seen) -> None:
    """Dropped in a cycle, which only the collector finds."""
    held: dict[str, Any] = {"opened": seen.opened(surface.open(situation))}
    held["itself"] = held
    if surface.shape == "stream":
        held["stream"] = iter(held["opened"])
        seen.item(next(held["stream"]))
    del held
    gc.collect()


def _unread(surface: Surface, situation: Situation, seen: Seen) -> None:
    seen.opened(surface.open(situation))


def _body(surface: Surface, situation: Situation, seen: Seen) -> None:
    opened = seen.opened(surface.open(situation))
    if surface.shape != "stream":
        raise Mine("between two steps")
    for item in opened:
        seen.item(item)
        raise Mine("in the body")


def _elsewhere(surface: Surface, situation: Situation, seen: Seen) -> None:
    """Begun here, finished in another thread; what comes whole is asked for there."""
    if surface.shape == "value":
        _in_thread(lambda: _complete(surface, situation, seen), seen)
        return
    opened = seen.opened(surface.open(situation))
    stream = iter(opened) if surface.shape == "stream" else opened
    if surface.shape == "stream":
        seen.item(next(stream))
    _in_thread(lambda: _rest(surface, situation, seen, stream), seen)


def _in_thread(work: Callable[[], None], seen: Seen) -> None:
    def noted() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # whatever comes out is what is compared
            seen.failed(error)

    thread = threading.Thread(target=copy_context().run, args=(noted,))
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


_SYNC: dict[How, Callable[[Surface, Situation, Seen], None]] = {
    "complete": _complete,
    "break": _break,
    "close": _close,
    "collect": _collect,
    "unread": _unread,
    "body": _body,
    "elsewhere": _elsewhere,
}


# -- tasks -----------------------------------------------------------------------------------


async def _acomplete(surface: Surface, situation: Situation, seen: Seen) -> None:
    opened = seen.opened(await surface.open(situation))
    await _arest(surface, situation, seen, opened)


async def _arest(surface: Surface, situation: Situation, seen: Seen, opened: Any) -> None:
    if surface.shape == "stream":
        async for item in opened:
            seen.item(item)
    elif surface.finish is not None:
        other = await surface.finish(situation, opened)
        seen.answer(opened if other is None else other)
    else:
        seen.answer(opened)


async def _abreak(surface: Surface, situation: Situation, seen: Seen) -> None:
    async for item in await surface.open(situation):
        seen.item(item)
        break
    await _settled()


async def _aclose(surface: Surface, situation: Situation, seen: Seen) -> None:
    async with aclosing(aiter(await surface.open(situation))) as stream:
        seen.item(await anext(stream))


async def _acollect(surface: Surface, situation: Situation, seen: Seen) -> None:
    held: dict[str, Any] = {"opened": seen.opened(await surface.open(situation))}
    held["itself"] = held
    if surface.shape == "stream":
        held["stream"] = aiter(held["opened"])
        seen.item(await anext(held["stream"]))
    del held
    gc.collect()
    await _settled()


async def _aunread(surface: Surface, situation: Situation, seen: Seen) -> None:
    seen.opened(await surface.open(situation))
    await _settled()


async def _abody(surface: Surface, situation: Situation, seen: Seen) -> None:
    opened = seen.opened(await surface.open(situation))
    if surface.shape != "stream":
        raise Mine("between two steps")
    async for item in opened:
        seen.item(item)
        raise Mine("in the body")


async def _aelsewhere(surface: Surface, situation: Situation, seen: Seen) -> None:
    if surface.shape == "value":
        await asyncio.create_task(_acomplete(surface, situation, seen))
        return
    opened = seen.opened(await surface.open(situation))
    stream = aiter(opened) if surface.shape == "stream" else opened
    if surface.shape == "stream":
        seen.item(await anext(stream))
    await asyncio.create_task(_arest(surface, situation, seen, stream))


async def _cancel(
    surface: Surface, situation: Situation, seen: Seen, stuck: Callable[[], bool]
) -> None:
    """Cancel the task once it waits for a server that will say nothing more."""
    task = asyncio.create_task(_acomplete(surface, situation, seen))
    async with asyncio.timeout(DEADLINE_S):

        def waits() -> bool:
            hidden = surface.shape != "stream" or not surface.live  # no piece comes to the caller
            return task.done() or (stuck() and (hidden or bool(seen.items)))

        while not waits():  # noqa: ASYNC110  # the server lives in another thread
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
        task.cancel()
        await task


async def _settled() -> None:
    """Let the loop close the generators that were dropped."""
    for _ in range(5):
        await asyncio.sleep(0)


_ASYNC: dict[How, Callable[[Surface, Situation, Seen], Awaitable[None]]] = {
    "complete": _acomplete,
    "break": _abreak,
    "close": _aclose,
    "collect": _acollect,
    "unread": _aunread,
    "body": _abody,
    "elsewhere": _aelsewhere,
}
