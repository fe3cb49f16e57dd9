"""Pausing telemetry around a piece of the app."""

from __future__ import annotations

from typing import overload

from llm_observe.tracing.around.blocks import Block, Stay
from llm_observe.tracing.around.decorating import Function, decorated
from llm_observe.tracing.contexts import current, paused


class Suppression(Block):
    """A pause, made by `suppress_tracing`."""

    def __call__(self, function: Function) -> Function:
        """The pause around every call of a function."""
        return decorated(function, lambda args, kwargs: self.enter())

    def enter(self) -> Stay:
        """The present context with the pause in it."""
        return Stay(paused(current()))


@overload
def suppress_tracing(function: Function, /) -> Function: ...
@overload
def suppress_tracing() -> Suppression: ...
def suppress_tracing(function: Function | None = None) -> Function | Suppression:
    """No telemetry of the calls inside: no span, no metric, no score, nothing queued.

    A context manager (``with`` and ``async with``) and a decorator of any function, generators
    included: ``@suppress_tracing``, or ``@suppress_tracing()``. Our wrappers see it, and
    instrumentors of OpenTelemetry and OpenInference. Spans that the app starts by hand with a
    tracer of its own go on. It reaches neither other threads nor other processes.
    """
    return Suppression() if function is None else Suppression()(function)
