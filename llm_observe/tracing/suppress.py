"""Pausing telemetry around a piece of the app."""

from __future__ import annotations

from typing import overload

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    get_current,
    set_value,
)

from llm_observe.tracing.blocks import Block, Stay
from llm_observe.tracing.decorating import Function, decorated

_KEYS = (
    _SUPPRESS_INSTRUMENTATION_KEY,
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    "suppress_instrumentation",
)
"""Every key that instrumentors of OpenTelemetry and OpenInference, old and new, look at."""


class Suppression(Block):
    """A pause, made by `suppress_tracing`."""

    def __call__(self, function: Function) -> Function:
        """The pause around every call of a function."""
        return decorated(function, lambda args, kwargs: self.enter())

    def enter(self) -> Stay:
        """The present context with the pause in it."""
        context: Context = get_current()
        for key in _KEYS:
            context = set_value(key, True, context)
        return Stay(context)


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
