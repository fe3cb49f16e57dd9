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
from opentelemetry.context import Context

from llm_observe.tracing.contexts import enter, leave, reset, within
from llm_observe.tracing.gate import gate


class Ending(Protocol):
    """What is told how a function of the library went."""

    @property
    def context(self) -> Context | None:
        """Current while the library's code runs; None: whichever is."""

    def returned(self, value: Any) -> Any:
        """The function came to its end; what its caller gets."""

    def fail(self, error: BaseException) -> None:
        """The library raised."""

    def abort(self) -> None:
        """The caller ended it early."""

    def abandon(self) -> None:
        """The caller dropped it."""


class Listener(Ending, Protocol):
    """What is told how a stream goes."""

    @property
    def context(self) -> Context:
        """Current while the library's code runs."""

    @property
    def take(self) -> Callable[[Any], object]:
        """One item goes to the caller; read anew for each of them."""

    def finish(self) -> None:
        """The stream came to its end."""


if TYPE_CHECKING:
    Proxy = wrapt.ObjectProxy[Any]
else:
    Proxy = wrapt.ObjectProxy  # a type parameter exists only for checkers


class Stepped(Proxy):
    """Something that is stepped, of a call that has begun or begins at the first step."""

    def __init__(self, wrapped: Any, call: Any, start: Callable[[], Any] | None) -> None:
        super().__init__(wrapped)
        self._self_call = call
        self._self_start = [start] if start is not None else []  # pop() is atomic: it begins once

    def _self_begin(self) -> Any:
        """The call; begun now, if this is the first step. None: only pass on."""
        if self._self_start:
            try:
                start = self._self_start.pop()
            except IndexError:  # another thread was first
                return self._self_call
            self._self_call = start()
        return self._self_call

    def _self_begun(self) -> Any:
        """The call, if it has begun; if not, it never will: the library's code does not run."""
        self._self_start.clear()
        return self._self_call

    def __del__(self) -> None:
        if not sys.is_finalizing():
            with gate:
                call = self._self_call
                if call is not None:
                    call.abandon()


class Stream(Stepped):
    """An iterator."""

    def __init__(
        self, wrapped: Any, call: Listener | None, start: Callable[[], Listener | None] | None
    ) -> None:
        super().__init__(wrapped, call, start)
        self._self_next = wrapped.__next__

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:  # the path of every item: kept flat, each line of it is paid for
        call = self._self_call or self._self_begin()
        if call is None:
            return self._self_next()
        token = enter(call.context)
        try:
            item = self._self_next()
        except BaseException as error:
            leave(token)
            end(call, error, None)
            raise
        try:  # noqa: SIM105  # as `leave`, without the price of a call or a block
            reset(token)
        except ValueError:
            pass
        try:
            call.take(item)
        except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
            gate.caught(error)
        return item

    def _self_step(
        self, call: Listener | None, thrown: type | None, function: Callable[..., Any], *args: Any
    ) -> Any:
        if call is None:
            return function(*args)
        try:
            item = within(call.context, function, *args)
        except BaseException as error:
            end(call, error, thrown)
            raise
        with gate:
            call.take(item)
        return item


def end(call: Listener, error: BaseException, thrown: type | None) -> None:
    """Tell the call how its stream ended."""
    if isinstance(error, StopIteration | StopAsyncIteration):
        call.finish()
    else:
        broken(call, error, thrown)


_CANCELLED = ("CancelledError", "Cancelled")  # asyncio's and Trio's; neither is imported for it


def broken(call: Ending, error: BaseException, thrown: type | None) -> None:
    """Tell the call who ended it: its caller, by what was thrown in, or the library by failing."""
    if isinstance(error, GeneratorExit) or type(error) is thrown:
        call.abort()
    else:
        call.fail(error)


class _Lacking(AttributeError, TypeError):
    """What the wrapped object lacks: an attribute to who asks for one, a protocol to an operator."""


class _Own:
    """A special method that is there only where the wrapped object has it.

    `wrapt.ObjectProxy` has all of them, and who asks for one beforehand (``itertools.tee`` for
    ``__copy__``, a pool's ``map`` for ``__len__``) would use it, and fail.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, proxy: Any, owner: type) -> Any:
        kind = "type" if proxy is None else type(proxy.__wrapped__).__name__
        if proxy is None or not hasattr(proxy.__wrapped__, self._name):
            raise _Lacking(f"{kind!r} object has no {self._name}")
        return getattr(proxy.__wrapped__, self._name)


_UNLIKELY = """
    __copy__ __deepcopy__ __reduce__ __reduce_ex__ __len__ __getitem__ __reversed__ __enter__ __exit__
    __aenter__ __aexit__
"""
for _name in _UNLIKELY.split():
    setattr(Stepped, _name, _Own(_name))


class ClosingStream(Stream):
    """An iterator that can be closed."""

    def close(self) -> Any:
        """Close it; a call that had begun ends here."""
        call = self._self_begun()
        if call is None:
            return self.__wrapped__.close()
        try:
            return within(call.context, self.__wrapped__.close)
        finally:
            call.abort()


class GeneratorStream(ClosingStream):
    """A generator, with ``send`` and ``throw``."""

    def send(self, value: Any) -> Any:
        """Step it with a value."""
        call = self._self_call or self._self_begin()
        return self._self_step(call, None, self.__wrapped__.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise inside it; if the same error comes out, it is the caller's, not the library's."""
        return self._self_step(self._self_begun(), made(error), self.__wrapped__.throw, *error)


def made(error: tuple[Any, ...]) -> type | None:
    """The type of the exception that the arguments of ``throw`` stand for.

    Never the exception: its traceback holds the frames of everybody who sees it pass.
    """
    first = error[0] if error else None
    return first if isinstance(first, type) or first is None else type(first)


def proxy(
    value: Any, *, call: Listener | None = None, start: Callable[[], Listener | None] | None = None
) -> Stream:
    """The proxy with just the methods that the iterator has."""
    if hasattr(value, "send") and hasattr(value, "throw"):
        return GeneratorStream(value, call, start)
    closes = hasattr(value, "close")
    return ClosingStream(value, call, start) if closes else Stream(value, call, start)
