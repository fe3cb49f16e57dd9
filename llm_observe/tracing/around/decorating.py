"""Functions of every shape with a stay in a block around each of their calls.

Around a generator or a coroutine the block's context is current only while the function's own code
runs: it is attached for each step and taken off before the item or the suspension goes to whoever
steps it. What the function itself attached in one step is there again in the next one. So a span
that the consumer starts between two items is not a child, and a generator may be finished in
another task or thread.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import sys
import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import wrapt
from opentelemetry.context import Context

from llm_observe.tracing.around.blocks import Stay
from llm_observe.tracing.contexts import current, leave
from llm_observe.tracing.contexts import enter as make_current

logger = logging.getLogger(__name__)

Function = TypeVar(
    "Function", bound="Callable[..., Any] | classmethod[Any, Any, Any] | staticmethod[Any, Any]"
)
if TYPE_CHECKING:
    _FunctionWrapper = wrapt.FunctionWrapper[Any, Any]
else:
    _FunctionWrapper = wrapt.FunctionWrapper

_PLAIN = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    functools.partial,
)
Enter = Callable[[tuple[Any, ...], Mapping[str, Any]], Stay]


def decorated(function: Function, enter: Enter) -> Function:
    """The function with a new stay around each call; name, signature and shape are kept.

    Class and static methods are reached through their descriptor. What can be called and is more
    than a function (a task of Celery, a command of click, a tool of LangChain, `lru_cache`) keeps
    all else that it can. What cannot be called (a property), and a class, is left as it is, and
    the log says so.
    """
    if isinstance(function, classmethod | staticmethod):
        return type(function)(decorated(function.__func__, enter))
    if isinstance(function, type) or not callable(function):
        logger.warning("only functions can be decorated, not %r", type(function).__name__)
        return function
    wrap = next((make for test, make in _SHAPES if _answers(test, function)), _called)
    called = wrap(function, enter)
    wrapped: Any = called if isinstance(function, _PLAIN) else _Object(function, called)
    return cast("Function", wrapped)


def _answers(test: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    return test(function) or test(getattr(type(function), "__call__", None))  # noqa: B004  # its code, not whether


class _Object(_FunctionWrapper):
    """An object that can be called, with a stay around each call; all else goes to the object.

    Pickled and copied it is the object itself, or what its own way of pickling finds by name.
    """

    def __init__(self, wrapped: Any, called: Callable[..., Any]) -> None:
        def call(_: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
            return (
                called(*args, **kwargs) if instance is None else called(instance, *args, **kwargs)
            )

        super().__init__(wrapped, call)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)


def _called(function: Callable[..., Any], enter: Enter) -> Any:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        stay = enter(args, kwargs)
        token = make_current(stay.context)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            leave(token)
            stay.leave(error)
            raise
        leave(token)
        stay.returned(value)
        stay.leave(None)
        return value

    return called


def _awaited(function: Callable[..., Any], enter: Enter) -> Any:
    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        stay = enter(args, kwargs)
        try:
            value = await _Inside(_Steps(stay.context), function(*args, **kwargs))
        except BaseException as error:
            stay.leave(error)
            raise
        stay.returned(value)
        stay.leave(None)
        return value

    return awaited


def _stepped(function: Callable[..., Any], enter: Enter) -> Any:
    @functools.wraps(function)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        stay = enter(args, kwargs)
        try:
            body = function(*args, **kwargs)
            value = yield from _drive(_Steps(stay.context), body, stay.item)
        except BaseException as error:
            stay.leave(error)
            raise
        stay.returned(value)
        stay.leave(None)
        return value

    return stepped


def _async_stepped(function: Callable[..., Any], enter: Enter) -> Any:
    @functools.wraps(function)
    async def async_stepped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        stay = enter(args, kwargs)
        step: Any = None
        try:
            body: AsyncGenerator[Any, Any] = function(*args, **kwargs)
            steps, step = _Steps(stay.context), _begin(body)
            while True:
                item = await _Inside(steps, step)
                stay.item(item)
                try:
                    step = body.asend((yield item))
                except BaseException as thrown:  # noqa: BLE001  # whatever it is, it is for the body
                    step = body.athrow(thrown)
        except StopAsyncIteration:
            stay.returned(None)
            stay.leave(None)
        except BaseException as error:
            stay.leave(error)
            raise
        finally:
            step = None  # it may hold an exception whose traceback holds this frame

    return async_stepped


_SHAPES: tuple[tuple[Callable[[object], bool], Callable[[Callable[..., Any], Enter], Any]], ...] = (
    (inspect.isasyncgenfunction, _async_stepped),
    (inspect.iscoroutinefunction, _awaited),
    (inspect.isgeneratorfunction, _stepped),
)


class _Steps:
    """Runs the steps of one body in its own context, which rolls on from step to step."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __call__(self, step: Callable[..., Any], *args: Any) -> Any:
        token = make_current(self._context)
        try:
            return step(*args)
        finally:
            args = ()  # an exception that was thrown in would hold this frame, and it the exception
            self._context = current()
            leave(token)


def _drive(
    steps: _Steps, body: Generator[Any, Any, Any], seen: Callable[[Any], None] | None = None
) -> Generator[Any, Any, Any]:
    """As ``yield from body``, each step in its context.

    ``close`` and the garbage collector come as GeneratorExit, which goes to the body like any
    other exception that is thrown in: what the body makes of it is what the caller gets.
    """
    step: Callable[..., Any] = body.send
    argument: Any = None
    try:
        while True:
            item = steps(step, argument)
            if seen is not None:
                seen(item)
            try:
                step, argument = body.send, (yield item)
            except BaseException as thrown:  # noqa: BLE001  # whatever it is, it is for the body
                step, argument = body.throw, thrown
    except StopIteration as stop:
        return stop.value
    finally:
        argument = None  # it may be an exception whose traceback holds this frame


class _Inside:
    """An awaitable that is awaited step by step, each in its context."""

    def __init__(self, steps: _Steps, awaitable: Awaitable[Any]) -> None:
        self._steps, self._awaitable = steps, awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        iterator: Any = self._awaitable.__await__()
        return _drive(self._steps, iterator if hasattr(iterator, "throw") else _plain(iterator))


def _plain(iterator: Any) -> Generator[Any, Any, Any]:
    return (yield from iterator)


def _begin(body: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first step of a body, unseen by the event loop.

    A loop that ends closes all async generators that it saw begin, at the same time. It must see
    the outer one alone, which closes its body itself.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
    try:
        return body.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)
