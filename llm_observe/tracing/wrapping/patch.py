"""The one wrapper around every client library.

It turns one call of a library into one `Call` and one span: started once and ended once, whether
the call returns, fails, streams to its end, is broken off, cancelled, closed, or left to the
garbage collector, in whatever thread or task. The caller gets the library's own value, type and
exceptions.

The span's context is current only while the library's code runs. It is set for each step of a
stream or a coroutine and never held across a ``yield`` or an ``await``, so that spans of the
caller between two pieces do not become children of the call, and a stream may be finished in
another thread or task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from opentelemetry.context import Context

from llm_observe.tracing.contexts import current, enter, leave
from llm_observe.tracing.gate import gate
from llm_observe.tracing.providers.base import Kind, Provider, Target
from llm_observe.tracing.wrapping import inflight
from llm_observe.tracing.wrapping.active import ACTIVE_KEY, Active, begin
from llm_observe.tracing.wrapping.async_streams import Awaited, async_proxy
from llm_observe.tracing.wrapping.endings import Following, Inside, Opening
from llm_observe.tracing.wrapping.recorder import Recorder, connect, connected, suppressed, taking
from llm_observe.tracing.wrapping.streams import Ending, proxy

__all__ = ["Patch", "Recorder", "connect", "connected", "suppressed"]

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]
Start = Callable[[], Any]
"""Begins the call, at its first step, and gives what is told how it goes; None: only pass on."""


class Patch:
    """The wrapper of one target, in the shape that wrapt calls.

    ``on`` False lets no call begin: it is the one thing that is looked at then. Those under way go
    on to their end, through the wrappers of their later steps.
    """

    def __init__(self, provider: Provider, target: Target) -> None:
        self.on = True
        self._provider, self._target = provider, target
        self._request: Any = target.request
        role, self._drive = _KINDS[target.kind]
        self._goes_on = role != "begins"
        if role in ("begins", "opens") and target.request is None:
            raise TypeError(f"{target.name} begins a call and has no request")
        self._prepare: Callable[[Any, Args, Kwargs], Start | None] = getattr(self, role)

    def __call__(
        self, wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: Kwargs
    ) -> Any:
        """One call of the target, as the app made it."""
        start = None
        if self.on or (self._goes_on and inflight.any_running()):
            try:
                start = self._prepare(instance, args, kwargs)
            except Exception as error:  # noqa: BLE001  # as `with gate`, at no cost where nothing is raised
                gate.caught(error)
        return self._drive(start, wrapped, args, kwargs)

    # -- what part a target plays: how to begin, if this is wanted here -----------------------

    def begins(self, instance: Any, args: Args, kwargs: Kwargs) -> Start | None:
        """A call of its own, unless one surface of the library is built on this one."""
        context = current()
        if taking() is None or suppressed(context) or self._around(context) is not None:
            return None
        start = _stream if self._target.kind in ("lazy", "async_lazy") else begin
        return partial(start, self._provider, context, self._request, instance, args, kwargs)

    def opens(self, instance: Any, args: Args, kwargs: Kwargs) -> Start | None:
        """A call that the app goes on with, or a part of the call around it."""
        context = current()
        around = self._around(context)
        if around is not None:  # as it mostly is: the library's own step, in a call that is wanted
            return partial(Inside, around)
        if not self.on or taking() is None or suppressed(context):
            return None
        return partial(_open, self._provider, context, self._request, instance, args, kwargs)

    def follows(self, instance: Any, args: Args, kwargs: Kwargs) -> Start | None:
        """A step of an opened call, or of the call around it."""
        context = current()
        around = self._around(context)
        if around is not None:
            return partial(Inside, around)
        call = self._followed(instance, args, kwargs)
        if call is None:
            return None
        return partial(Following, call, self._target.ends, instance, context)

    def streams(self, instance: Any, args: Args, kwargs: Kwargs) -> Start | None:
        """The answer of an opened call, piece by piece."""
        call = self._followed(instance, args, kwargs)
        return None if call is None else partial(_resume, call, instance)

    def _around(self, context: Context) -> Active | None:
        around: Any = context.get(ACTIVE_KEY)
        if around is None or around.provider is not self._provider or not around.running:
            return None
        call: Active = around
        return call

    def _followed(self, instance: Any, args: Args, kwargs: Kwargs) -> Active | None:
        if not inflight.any_open() or self._around(current()) is not None:
            return None  # one step is made of others
        subject = self._target.subject
        if subject is None:
            call = inflight.of(instance)
        else:
            call = inflight.named((self._provider.name, subject(instance, args, kwargs)))
        return call if isinstance(call, Active) else None


def _open(*request: Any) -> Opening | None:
    call = begin(*request)
    return None if call is None else Opening(call)


def _stream(*request: Any) -> Active | None:
    call = begin(*request)
    if call is not None:
        with gate:
            call.reads()
    return call


def _resume(call: Active, instance: Any) -> Active | None:
    if not call.running:
        return None
    call.part(instance)
    with gate:
        call.streams()
    return call


# -- what shape a target has: when it begins, and how it is stepped -------------------------------


def _plain(start: Start | None, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    ending: Ending | None = start() if start is not None else None
    if ending is None:
        return function(*args, **kwargs)
    token = None if ending.context is None else enter(ending.context)
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        leave(token)
        ending.fail(error)
        raise
    leave(token)
    return ending.returned(value)


def _coroutine(
    start: Start | None, function: Callable[..., Any], args: Args, kwargs: Kwargs
) -> Any:
    value = function(*args, **kwargs)
    if start is not None:
        with gate:
            return Awaited(value, start)
    return value


def _generator(
    start: Start | None, function: Callable[..., Any], args: Args, kwargs: Kwargs
) -> Any:
    value = function(*args, **kwargs)
    if start is not None:
        with gate:
            return proxy(value, start=start)
    return value


def _async_generator(
    start: Start | None, function: Callable[..., Any], args: Args, kwargs: Kwargs
) -> Any:
    value = function(*args, **kwargs)
    if start is not None:
        with gate:
            return async_proxy(value, start=start)
    return value


_Drive = Callable[[Start | None, Callable[..., Any], Args, Kwargs], Any]

_KINDS: dict[Kind, tuple[str, _Drive]] = {
    "call": ("begins", _plain),
    "async_call": ("begins", _coroutine),
    "lazy": ("begins", _generator),
    "async_lazy": ("begins", _async_generator),
    "open": ("opens", _plain),
    "async_open": ("opens", _coroutine),
    "follow": ("follows", _plain),
    "async_follow": ("follows", _coroutine),
    "follow_lazy": ("streams", _generator),
    "async_follow_lazy": ("streams", _async_generator),
}
