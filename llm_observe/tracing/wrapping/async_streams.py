"""As `streams`, for coroutines and asynchronous iterators.

The call's context is current only while the library's code runs: it is set for each resumption
and reset before control goes back to the event loop. So nothing is held across an ``await``, and
a coroutine or generator that is finalized in another task, as event loops do, finds nothing to
put back there. The library's own objects are stepped, and what the loop's hooks, a debugger or
``inspect`` see of them is theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from opentelemetry.context import Context

from llm_observe.tracing.contexts import enter, leave, within
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping.streams import (
    Ending,
    Listener,
    Stepped,
    broken,
    end,
    made,
)


class Awaited(Stepped):
    """A coroutine: begins its call at its first step, and ends with it or hands it on."""

    __iter__: Any = None  # else the proxy would pass for an iterable

    def __init__(self, wrapped: Any, start: Callable[[], Ending | None]) -> None:
        super().__init__(wrapped, None, start)
        self._self_thrown: type | None = None

    def __await__(self) -> Any:
        return Resumption(self)

    def send(self, value: Any) -> Any:
        """Resume it."""
        call = self._self_call or self._self_begin()
        return self._self_resume(call, self.__wrapped__.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise inside it: a cancelled task does. Then the caller broke it off.

        It may come out later, when the library has awaited its own tidying up.
        """
        call, self._self_thrown = self._self_begun(), made(error)
        return self._self_resume(call, self.__wrapped__.throw, *error)

    def close(self) -> Any:
        """Close it; a call that had begun ends here."""
        call = self._self_begun()
        if call is None:
            return self.__wrapped__.close()
        try:
            return within(call.context, self.__wrapped__.close)
        finally:
            call.abort()

    def _self_resume(self, call: Ending | None, function: Callable[..., Any], *args: Any) -> Any:
        if call is None:
            return function(*args)
        try:
            return within(call.context, function, *args)
        except StopIteration as stop:
            self._self_call = None  # what comes after it is no step of the call's
            value = call.returned(stop.value)
            if value is stop.value:
                raise
            raise StopIteration(value) from None
        except BaseException as error:
            self._self_call = None
            broken(call, error, self._self_thrown)
            raise


class Resumption:
    """The iterator of an ``await``. A coroutine itself is none."""

    __slots__ = ("_coroutine", "close", "send", "throw")

    def __init__(self, coroutine: Awaited) -> None:
        self._coroutine = coroutine
        self.send, self.throw, self.close = coroutine.send, coroutine.throw, coroutine.close

    def __iter__(self) -> Resumption:
        return self

    def __next__(self) -> Any:
        return self.send(None)


class AsyncStream(Stepped):
    """An asynchronous iterator."""

    __iter__: Any = None  # else the proxy would pass for an iterable

    def __init__(
        self, wrapped: Any, call: Listener | None, start: Callable[[], Listener | None] | None
    ) -> None:
        super().__init__(wrapped, call, start)
        self._self_next = wrapped.__anext__
        if not (hasattr(wrapped, "asend") or iscoroutinefunction(wrapped.__anext__)):
            self._self_next = partial(_sendable, wrapped.__anext__)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:  # the path of every item: kept flat, as `Stream.__next__`
        call = self._self_call or self._self_begin()
        if call is None:
            return await self._self_next()
        step = self._self_next()
        token = enter(call.context)
        try:
            suspended = step.send(None)
        except StopIteration as stop:  # an item that was there: nothing had to be waited for
            item = stop.value
            leave(token)
        except BaseException as error:
            leave(token)
            end(call, error, None)
            raise
        else:
            leave(token)
            item = await self._self_rest(call, Rest(call.context, step, suspended))
        try:
            call.take(item)
        except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(error)
        return item

    async def _self_step(self, call: Listener | None, step: Any, thrown: type | None) -> Any:
        if call is None:
            return await step
        item = await self._self_rest(call, Rest(call.context, step, thrown=thrown))
        with gate:
            call.take(item)
        return item

    async def _self_rest(self, call: Listener, rest: Rest) -> Any:
        try:
            return await rest
        except BaseException as error:
            end(call, error, rest.thrown)
            raise


class AsyncClosingStream(AsyncStream):
    """One that can be closed."""

    async def aclose(self) -> Any:
        """Close it; a call that had begun ends when that is done, however it went."""
        call = self._self_begun()
        if call is None:
            return await self.__wrapped__.aclose()
        try:
            return await Rest(call.context, self.__wrapped__.aclose())
        finally:
            call.abort()


class AsyncGeneratorStream(AsyncClosingStream):
    """An asynchronous generator."""

    async def asend(self, value: Any) -> Any:
        """Step it with a value."""
        call = self._self_call or self._self_begin()
        return await self._self_step(call, self.__wrapped__.asend(value), None)

    async def athrow(self, *error: Any) -> Any:
        """Raise inside it; if the same error comes out, it is the caller's, not the library's."""
        call = self._self_begun()
        return await self._self_step(call, self.__wrapped__.athrow(*error), made(error))


_NOTHING = object()


class Rest:
    """An awaitable of the library, from where it stands, each resumption in the call's context."""

    __slots__ = ("_context", "_step", "_suspended", "thrown")

    def __init__(
        self, context: Context, step: Any, suspended: Any = _NOTHING, thrown: type | None = None
    ) -> None:
        self._context, self._suspended = context, suspended
        self._step = step if hasattr(step, "send") else _iterated(step)
        self.thrown = thrown
        """Type of what the caller threw in last: a cancellation."""

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Rest:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Resume it; what it waits for already goes out first."""
        suspended, self._suspended = self._suspended, _NOTHING
        if suspended is not _NOTHING:
            return suspended
        return within(self._context, self._step.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise inside it: a cancelled task does."""
        self.thrown = made(error)
        return within(self._context, self._step.throw, *error)

    def close(self) -> None:
        """Give it up: its task is gone."""
        within(self._context, self._step.close)


def _sendable(make: Callable[..., Any]) -> Any:
    """An awaitable that can be sent to; PEP 492 asks for less."""
    step = make()
    return step if hasattr(step, "send") else _iterated(step)


def _iterated(step: Any) -> Any:
    return (yield from step.__await__())


def async_proxy(
    value: Any, *, call: Listener | None = None, start: Callable[[], Listener | None] | None = None
) -> AsyncStream:
    """The proxy with just the methods that the iterator has."""
    if hasattr(value, "asend") and hasattr(value, "athrow"):
        return AsyncGeneratorStream(value, call, start)
    closes = hasattr(value, "aclose")
    return AsyncClosingStream(value, call, start) if closes else AsyncStream(value, call, start)
