"""The one recorder that takes calls, and whether calls are wanted here."""

from __future__ import annotations

from typing import Protocol

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import Span, TracerProvider

from llm_observe.tracing.call import Call


class Recorder(Protocol):
    """Takes calls; one per process, given by `connect`.

    Both methods run on the app's threads. ``finish`` may run inside a finalizer at any point of
    any thread: it must not take a lock that the thread it interrupts could hold
    (``deque.append`` and ``SimpleQueue.put`` are safe).
    """

    @property
    def tracer_provider(self) -> TracerProvider:
        """Where further spans of ours are made."""

    def start(self, call: Call, context: Context | None = None) -> Span:
        """Start the span, child of the context, at ``call.start_ns``. None: of the current one."""

    def finish(self, span: Span, call: Call) -> None:
        """End the span at ``call.end_ns`` and take the call over."""


_recorder: Recorder | None = None
_taking: Recorder | None = None
_paused = False


def connect(recorder: Recorder | None) -> None:
    """Give every wrapper its recorder; None makes them all transparent."""
    global _recorder
    _recorder = recorder
    pause(_paused)


def connected() -> Recorder | None:
    """The recorder of this process, whether or not it is paused."""
    return _recorder


def pause(paused: bool) -> None:
    """Let nothing new begin, or let it again. What has begun goes on with its own recorder."""
    global _paused, _taking
    _paused, _taking = paused, None if paused else _recorder


def taking() -> Recorder | None:
    """The recorder that takes what begins now."""
    return _taking


def suppressed(context: Context) -> bool:
    """Whether instrumentation is paused here.

    Both keys that OpenTelemetry and OpenInference set for it are known.
    """
    return bool(context) and bool(
        context.get(_SUPPRESS_INSTRUMENTATION_KEY) or context.get("suppress_instrumentation")
    )
