"""As `streams`, for coroutines and asynchronous iterators.

The call's context is current only while the library's code runs: it is set for each resumption
and reset before control goes back to the event loop. So nothing is held across an ``await``, and
a coroutine or generator that is finalized in another task, as event loops do, finds nothing to
put back there. The library's own objects are stepped, and what the loop's hooks, a debugger or
``inspect`` see of them is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from llm_observe.tracing.gate import gate
from llm_observe.tracing.streams import (
    Ending,
    Listener,
    Stepped,
    broken,
    end,
    enter,
    leave,
    made,
    within,
)


class Awaited(Stepped):
    """A coroutine: begins its call at its first step, and ends with it or hands it on."""

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

    def __aiter__(self) -> Any:
        return self

    def __anext__(self) -> Any:
        return Step(self, self.__wrapped__.__anext__())


class AsyncClosingStream(AsyncStream):
    """One that can be closed."""

    def aclose(self) -> Any:
        """Close it; a call that had begun ends when that is done."""
        return Closing(self, self.__wrapped__.aclose())


class AsyncGeneratorStream(AsyncClosingStream):
    """An asynchronous generator."""

    def asend(self, value: Any) -> Any:
        """Step it with a value."""
        return Step(self, self.__wrapped__.asend(value))

    def athrow(self, *error: Any) -> Any:
        """Raise inside it; if the same error comes out, it is the caller's, not the library's."""
        return Step(self, self.__wrapped__.athrow(*error), made(error))


class Step(Coroutine[Any, Any, Any]):
    """One step of an asynchronous stream, to be awaited once."""

    __slots__ = ("_step", "_stream", "_thrown")

    def __init__(self, stream: Stepped, step: Any, thrown: type | None = None) -> None:
        self._stream, self._thrown = stream, thrown
        # Coroutines and the steps of generators can be sent to; PEP 492 asks for less.
        self._step = step if hasattr(step, "send") else _iterated(step)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Resume it."""
        stream = self._stream
        call = stream._self_call or self._begin()
        if call is None:
            return self._step.send(value)
        token = enter(call.context)
        try:
            suspended = self._step.send(value)
        except BaseException as error:
            leave(token)
            self._ended(call, error)
            raise
        leave(token)
        return suspended

    def throw(self, *error: Any) -> Any:
        """Raise inside it: a cancelled task does."""
        call = self._stream._self_begun()
        if call is None:
            return self._step.throw(*error)
        self._thrown = made(error) or self._thrown
        try:
            return within(call.context, self._step.throw, *error)
        except BaseException as raised:
            self._ended(call, raised)
            raise

    def close(self) -> None:
        """Give it up: it is not awaited to its end, and the stream cannot go on."""
        call = self._stream._self_begun()
        if call is None:
            self._step.close()
            return
        try:
            within(call.context, self._step.close)
        finally:
            call.abort()

    def _begin(self) -> Listener | None:
        # To throw into a generator that has not begun, or to close it, runs none of its code.
        stream = self._stream
        begins = self._thrown is None
        call: Listener | None = stream._self_begin() if begins else stream._self_begun()
        return call

    def _ended(self, call: Listener, error: BaseException) -> None:
        if not isinstance(error, StopIteration):
            end(call, error, self._thrown)
            return
        try:
            call.take(error.value)
        except Exception as fault:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(fault)


class Closing(Step):
    """The closing of a stream, after which its call has ended, however that went."""

    __slots__ = ()

    def _begin(self) -> Listener | None:
        call: Listener | None = self._stream._self_begun()
        return call

    def _ended(self, call: Listener, error: BaseException) -> None:
        call.abort()


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
