"""What waits in a queue: a span that has ended, still as data."""

from __future__ import annotations

from collections.abc import Sized
from typing import NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from llm_observe.tracing.call import Call
from llm_observe.tracing.sampling.held import HeldTrace


class Entry(NamedTuple):
    """One ended span. Its attributes are made when it leaves, not before.

    ``call`` is the LLM call that the span stands for; None for a span of another instrumentor,
    which is scrubbed instead of rendered.
    """

    span: ReadableSpan
    call: Call | None = None
    held: HeldTrace | None = None
    """Its trace, where the head dropped it and it may yet be kept."""
    kept: str = ""
    """The rule by which it was kept all the same."""

    @property
    def size(self) -> int:
        """Approximate bytes held, for the queue's bound."""
        return self.call.size if self.call is not None else _foreign_size(self.span)


def _foreign_size(span: ReadableSpan) -> int:
    values: list[object] = [*(span.attributes or {}).values()]
    for event in span.events:
        values.extend((event.attributes or {}).values())
    return 1024 + sum(len(value) if isinstance(value, Sized) else 8 for value in values)
