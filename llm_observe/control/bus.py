"""Who watches is told that something changed: notices, coalesced, in bounded memory.

A watcher that is slow gets each different notice once, however often it was published; one that
is very slow gets "anything of this topic". So no meaning is lost and nothing grows.
"""

from __future__ import annotations

import asyncio
import weakref

from llm_observe.control.rules.model import Notice

MAX_PENDING = 256
"""Different notices that wait for one watcher before their keys are given up."""


class Bus:
    """Publish and watch on the event loop's thread. A watcher that is dropped is forgotten."""

    def __init__(self) -> None:
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self._closed = False

    def publish(self, notice: Notice) -> None:
        """Tell every watcher; never blocks."""
        for watcher in list(self._watchers):
            watcher.put(notice)

    def close(self) -> None:
        """End every watch, now and in the future, after what is pending was taken."""
        self._closed = True
        for watcher in list(self._watchers):
            watcher.close()

    def watch(self) -> Watcher:
        """Notices from this call on, until `close`."""
        watcher = Watcher()
        self._watchers.add(watcher)
        if self._closed:
            watcher.close()
        return watcher

    def __len__(self) -> int:
        return len(self._watchers)


class Watcher:
    """An async iterator of notices; waiting for the next one may be cancelled and repeated."""

    def __init__(self) -> None:
        self._pending: dict[Notice, None] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, notice: Notice) -> None:
        """Add one notice, unless it waits already."""
        if Notice(notice.topic) not in self._pending:
            self._pending[notice] = None
        if len(self._pending) > MAX_PENDING:
            self._pending = {Notice(n.topic): None for n in self._pending}
        self._wake.set()

    def close(self) -> None:
        """No more notices will come."""
        self._closed = True
        self._wake.set()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Notice:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        notice = next(iter(self._pending))
        del self._pending[notice]
        return notice
