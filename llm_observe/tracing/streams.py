"""Proxies for iterators that a client library hands to its caller.

A proxy has the whole surface of what it stands for (`wrapt.ObjectProxy`), steps it in the call's
context, and tells the call about every item and every way to end. Nothing here belongs to a
thread: a stream may be begun in one and finished in another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import wrapt
from opentelemetry.context import Context, attach, detach

from llm_observe.tracing.gate import gate


class Listener(Protocol):
    """The call that a stream belongs to."""

    def step(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run the library's code in the call's context."""

    def item(self, item: Any) -> None:
        """One item goes to the caller."""

    def finish(self) -> None:
        """The stream came to its end."""

    def fail(self, error: BaseException) -> None:
        """The library raised."""

    def abort(self) -> None:
        """The caller ended it early."""

    def abandon(self) -> None:
        """The caller dropped it."""


def within(context: Context, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function with a context current, and put the former one back."""
    token = attach(context)
    try:
        return function(*args, **kwargs)
    finally:
        detach(token)


Start = Callable[[], Listener | None]

if TYPE_CHECKING:
    _Proxy = wrapt.ObjectProxy[Any]
else:
    _Proxy = wrapt.ObjectProxy  # a type parameter exists only for checkers


class Stream(_Proxy):
    """An iterator of a call that has begun, or whose ``start`` is asked for it at the first step.

    A start that answers None makes the proxy only pass on.
    """

    def __init__(self, wrapped: Any, call: Listener | None, start: Start | None) -> None:
        super().__init__(wrapped)
        self._self_call = call
        self._self_start = start

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._self_step(None, next, self.__wrapped__)

    def _self_step(
        self, thrown: BaseException | None, function: Callable[..., Any], *args: Any
    ) -> Any:
        start, self._self_start = self._self_start, None
        if start is not None:
            self._self_call = start()
        call = self._self_call
        if call is None:
            return function(*args)
        try:
            item = call.step(function, *args)
        except StopIteration:
            call.finish()
            raise
        except BaseException as error:
            if error is thrown or isinstance(error, GeneratorExit):
                call.abort()
            else:
                call.fail(error)
            raise
        call.item(item)
        return item

    def __del__(self) -> None:
        if not sys.is_finalizing():
            with gate:
                call = self._self_call
                if call is not None:
                    call.abandon()


class ClosingStream(Stream):
    """An iterator that can be closed."""

    def close(self) -> Any:
        """Close it; a call that had begun ends here."""
        self._self_start, call = None, self._self_call
        if call is None:
            return self.__wrapped__.close()
        try:
            return call.step(self.__wrapped__.close)
        finally:
            call.abort()


class GeneratorStream(ClosingStream):
    """A generator, with ``send`` and ``throw``."""

    def send(self, value: Any) -> Any:
        """Step it with a value."""
        return self._self_step(None, self.__wrapped__.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise inside it; if the same error comes out, it is the caller's, not the library's."""
        thrown = error[0] if error and isinstance(error[0], BaseException) else None
        return self._self_step(thrown, self.__wrapped__.throw, *error)


def proxy(value: Any, *, call: Listener | None = None, start: Start | None = None) -> Stream:
    """The proxy with just the methods that the iterator has."""
    if hasattr(value, "send") and hasattr(value, "throw"):
        return GeneratorStream(value, call, start)
    closes = hasattr(value, "close")
    return ClosingStream(value, call, start) if closes else Stream(value, call, start)
