"""The current OpenTelemetry context and the span in it, at the price that every call pays.

What OpenTelemetry's own functions do, without their layers: ``attach`` and ``detach`` cost twice
what setting and resetting their variable does. Its private names are used only where they are what
they are taken for; elsewhere its functions are called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    attach,
    detach,
    get_current,
    set_value,
)
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    get_current_span,
    propagation,
    set_span_in_context,
)

current: Callable[[], Context] = get_current
"""The current context."""
enter: Callable[[Context], Token[Context]] = attach
"""Make a context current."""
reset: Callable[[Token[Context]], object] = detach
"""Put back what was current before; raises where that cannot be. See `leave`."""

_variable = getattr(otel_context._RUNTIME_CONTEXT, "_current_context", None)
if isinstance(_variable, ContextVar):
    current, enter, reset = _variable.get, _variable.set, _variable.reset

_KEY: Any = getattr(propagation, "_SPAN_KEY", None)
_PLAIN = _KEY is not None and set_span_in_context(INVALID_SPAN, Context()) == {_KEY: INVALID_SPAN}

_PAUSES = (
    _SUPPRESS_INSTRUMENTATION_KEY,
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    "suppress_instrumentation",
)
"""Every key that instrumentors of OpenTelemetry and OpenInference, old and new, look at."""


def leave(token: Token[Context] | None) -> None:
    """Put back what was current before `enter`; None: nothing was entered.

    What ends in another context of Python's than it began in (a task, a thread) changed nothing
    there, so there is nothing to put back; OpenTelemetry's own ``detach`` would log an error.
    """
    if token is None:
        return
    try:
        reset(token)
    except (ValueError, RuntimeError):
        return


def within(context: Context | None, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function with a context current, and put the former one back. None: as it is."""
    if context is None:
        return function(*args, **kwargs)
    token = enter(context)
    try:
        return function(*args, **kwargs)
    finally:
        leave(token)


def paused(context: Context) -> Context:
    """The context in which no instrumentor records."""
    return Context({**context, **dict.fromkeys(_PAUSES, True)})


def has_span(context: Context) -> bool:
    """Whether a span stands in the context; it may be an invalid one."""
    return _KEY in context if _PLAIN else get_current_span(context).get_span_context().is_valid


def with_span(context: Context, span: Span, key: str, value: object) -> Context:
    """The context with this span current, and one more value."""
    if _PLAIN:
        return Context({**context, _KEY: span, key: value})
    return set_value(key, value, set_span_in_context(span, context))
