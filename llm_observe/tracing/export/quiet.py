"""Our own traffic is nobody's telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
)

_OPENINFERENCE_KEY = "suppress_instrumentation"


@contextmanager
def quiet() -> Iterator[None]:
    """No instrumentor records what this thread does inside."""
    suppressed = context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True)
    suppressed = context.set_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, suppressed)
    suppressed = context.set_value(_OPENINFERENCE_KEY, True, suppressed)
    token = context.attach(suppressed)
    try:
        yield
    finally:
        context.detach(token)


def is_quiet() -> bool:
    """Whether instrumentation is suppressed here."""
    return bool(context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))
