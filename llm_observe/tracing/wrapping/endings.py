"""What is told how a function of the library went, where that is not the call itself.

All of them implement `streams.Ending`.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context

from llm_observe.tracing.wrapping.active import Active
from llm_observe.tracing.wrapping.recorder import suppressed


class Opening:
    """The function that opens a call: after it, the app goes on by itself."""

    def __init__(self, call: Active) -> None:
        self.context, self._call = call.context, call
        self.fail, self.abort, self.abandon = call.fail, call.abort, call.abandon

    def returned(self, value: Any) -> Any:
        """The object with which the app goes on."""
        self._call.stays(value)
        return value


class Inside:
    """A function of the library inside a call of its own: what it makes is a part of that."""

    context = None

    def __init__(self, call: Active) -> None:
        self._call = call

    def returned(self, value: Any) -> Any:
        """The part."""
        self._call.part(value)
        return value

    def fail(self, error: BaseException) -> None:
        """The call around it sees the error."""

    def abort(self) -> None:
        """The call around it sees that."""

    def abandon(self) -> None:
        """The call around it sees that."""


class Following:
    """A function that goes on with an opened call. A failure of it may be followed by another try."""

    def __init__(self, call: Active, ends: bool, instance: Any, context: Context) -> None:
        # Where instrumentation is paused, it stays so inside.
        self.context = context if suppressed(context) else call.context
        self._call, self._ends, self._instance = call, ends, instance
        call.works()

    def returned(self, value: Any) -> Any:
        """It worked; perhaps the answer is there now."""
        call = self._call
        if call.running:
            call.note(None)
            call.call.aborted = self._ends
            call.stays(self._instance if value is None else value, self._ends)
        return value

    def fail(self, error: BaseException) -> None:
        """It failed; if nothing comes after this, the call did."""
        if self._call.running:
            self._call.stumbled(error)

    def abort(self) -> None:
        """The caller no longer waits."""
        self._call.touch()

    abandon = abort
