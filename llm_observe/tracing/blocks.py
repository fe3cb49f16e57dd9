"""Blocks that are context managers and decorators, for functions of every shape but one.

A block says what context is current inside it and what happens at its end. Around a generator it
is current only while the generator's own code runs, never in the code of whoever steps it.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from opentelemetry.context import Context, attach, detach, get_current

from llm_observe.tracing.gate import gate
from llm_observe.tracing.streams import proxy, within

Function = TypeVar("Function", bound=Callable[..., Any])


class Block:
    """The two hooks, and the ``with`` statement made from them. One block may be nested in itself."""

    def __init__(self) -> None:
        self._tokens: list[Any] = []

    def enter(self) -> Context:
        """The context for inside."""
        return get_current()

    def leave(self, error: BaseException | None) -> None:
        """The end, in the context of outside."""

    def returned(self, value: Any) -> None:
        """The decorated function returned this."""

    def __enter__(self) -> Self:
        self._tokens.append(attach(self.enter()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        detach(self._tokens.pop())
        self.leave(error)


Make = Callable[[tuple[Any, ...], Mapping[str, Any]], Block]


def decorated(function: Function, make: Make) -> Function:
    """The function with a new block around each call.

    Async generator functions are left as they are, with a warning.
    """
    if inspect.isasyncgenfunction(function):
        warnings.warn("async generator functions cannot be decorated; use `with`", stacklevel=3)
        return function
    if inspect.iscoroutinefunction(function):
        return _awaited(function, make)
    if inspect.isgeneratorfunction(function):
        return _stepped(function, make)
    return _called(function, make)


def _called(function: Function, make: Make) -> Function:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with make(args, kwargs) as block:
            value = function(*args, **kwargs)
            block.returned(value)
            return value

    return called  # type: ignore[return-value]  # functools.wraps keeps the signature


def _awaited(function: Function, make: Make) -> Function:
    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        with make(args, kwargs) as block:
            value = await function(*args, **kwargs)
            block.returned(value)
            return value

    return awaited  # type: ignore[return-value]  # functools.wraps keeps the signature


def _stepped(function: Function, make: Make) -> Function:
    @functools.wraps(function)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        value = function(*args, **kwargs)
        with gate:
            return proxy(value, start=lambda: _Steps(make(args, kwargs)))
        return value

    return stepped  # type: ignore[return-value]  # functools.wraps keeps the signature


class _Steps:
    """A block around a generator: entered at its first step, left once."""

    def __init__(self, block: Block) -> None:
        self._context = block.enter()
        self._open = [block]  # pop() is atomic

    def step(self, function: Callable[..., Any], *args: Any) -> Any:
        return within(self._context, function, *args)

    def item(self, item: Any) -> None:
        """Nothing is kept of what passes."""

    def finish(self) -> None:
        self._leave(None)

    def fail(self, error: BaseException) -> None:
        self._leave(error)

    def abort(self) -> None:
        self._leave(None)

    def abandon(self) -> None:
        self._leave(None)

    def _leave(self, error: BaseException | None) -> None:
        if self._open:
            self._open.pop().leave(error)
