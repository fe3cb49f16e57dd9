"""The current OpenTelemetry context and the span in it, at the price that every call pays.

What OpenTelemetry's own functions do, without their layers. Its two private names are used only
where they are what they are taken for; elsewhere its functions are called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import (
    INVALID_SPAN,
    Span,
    get_current_span,
    propagation,
    set_span_in_context,
)

current: Callable[[], Context] = get_current
"""The current context."""

_variable = getattr(otel_context._RUNTIME_CONTEXT, "_current_context", None)
if isinstance(_variable, ContextVar):
    current = _variable.get

_KEY: Any = getattr(propagation, "_SPAN_KEY", None)
_PLAIN = _KEY is not None and set_span_in_context(INVALID_SPAN, Context()) == {_KEY: INVALID_SPAN}


def has_span(context: Context) -> bool:
    """Whether a span stands in the context; it may be an invalid one."""
    return _KEY in context if _PLAIN else get_current_span(context).get_span_context().is_valid


def with_span(context: Context, span: Span, key: str, value: object) -> Context:
    """The context with this span current, and one more value."""
    if _PLAIN:
        return Context({**context, _KEY: span, key: value})
    return set_value(key, value, set_span_in_context(span, context))
