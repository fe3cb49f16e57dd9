"""Our own traffic is nobody's telemetry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llm_observe.tracing.contexts import current, enter, leave, paused


@contextmanager
def quiet() -> Iterator[None]:
    """No instrumentor records what this thread does inside."""
    token = enter(paused(current()))
    try:
        yield
    finally:
        leave(token)
