"""What is being sent, and the one timer that gives up on peers that do not read."""

from __future__ import annotations

import asyncio
from typing import Protocol

SEND_S = 30.0
"""How long one message may wait for the peer to read."""


class Closable(Protocol):
    """A line that can be ended."""

    def close(self, code: int, reason: str) -> None:
        """End it, with a WebSocket close code and a reason for people."""


class Sending:
    """The lines that are sending now, the one that waits longest first.

    Most messages are sent at once: a timer for each of them would cost an idle line more memory
    than the rest of it. One line sends one message at a time.
    """

    def __init__(self) -> None:
        self._since: dict[Closable, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def began(self, line: Closable) -> None:
        """A line is about to send a message."""
        loop = asyncio.get_running_loop()
        self._since[line] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(SEND_S, self._look)

    def ended(self, line: Closable) -> None:
        """It was sent, or never will be."""
        self._since.pop(line, None)

    def stop(self) -> None:
        """Let go of the event loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._since:
            line, since = next(iter(self._since.items()))
            if since + SEND_S > loop.time():
                self._timer = loop.call_at(since + SEND_S, self._look)
                return
            del self._since[line]
            line.close(1008, "the agent does not read")
