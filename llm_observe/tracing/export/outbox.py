"""A bounded queue whose items stay until somebody says what became of them.

Pure: no lock, no clock, no thread; the worker that owns it brings all three. The promise:
**what `offer` accepted is in the box until `acknowledge`, `discard` or `clear` counts it out.**
A batch that was taken is "in hand": it still counts against the bounds, so putting it back
never overflows.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """Items with sizes, first in, first out, bounded in number and bytes."""

    def __init__(self, most_items: int, most_bytes: int) -> None:
        self._most_items, self._most_bytes = most_items, most_bytes
        self._waiting: deque[tuple[T, int]] = deque()
        self._hand: tuple[tuple[T, int], ...] = ()
        self._bytes = 0

    def resize(self, most_items: int, most_bytes: int) -> None:
        """Other bounds from now on. What is in the box stays, also where it is beyond them."""
        self._most_items, self._most_bytes = most_items, most_bytes

    def __len__(self) -> int:
        return len(self._waiting) + len(self._hand)

    @property
    def bytes(self) -> int:
        """Size of all items, those in hand included."""
        return self._bytes

    @property
    def waiting(self) -> int:
        """Items that are not in hand."""
        return len(self._waiting)

    def offer(self, item: T, size: int) -> bool:
        """Take one more item, or refuse it: the oldest are never pushed out.

        An item larger than the byte bound is refused, so the bound holds whatever comes.
        """
        full = len(self) >= self._most_items or self._bytes + size > self._most_bytes
        if full:
            return False
        self._waiting.append((item, size))
        self._bytes += size
        return True

    def take(self, most_items: int, most_bytes: int) -> tuple[T, ...]:
        """Take a batch in hand: at least one item if any waits, then as many as fit.

        Follow it with `acknowledge`, `put_back` or `discard` before the next one.
        """
        batch: list[tuple[T, int]] = []
        room = most_bytes
        while self._waiting and len(batch) < most_items:
            size = self._waiting[0][1]
            if batch and size > room:
                break
            batch.append(self._waiting.popleft())
            room -= size
        self._hand = (*self._hand, *batch)
        return tuple(item for item, _ in batch)

    def acknowledge(self) -> int:
        """The batch in hand arrived; returns how many items it had."""
        return self._drop_hand()

    def discard(self) -> int:
        """The batch in hand will never be accepted; returns how many items it had."""
        return self._drop_hand()

    def put_back(self, *, behind: bool = False) -> None:
        """The batch in hand waits again, in its old order, before all others or behind them."""
        if behind:
            self._waiting.extend(self._hand)
        else:
            self._waiting.extendleft(reversed(self._hand))
        self._hand = ()

    def clear(self) -> int:
        """Empty the box, the hand included; returns how many items are gone."""
        gone = len(self)
        self._waiting.clear()
        self._hand, self._bytes = (), 0
        return gone

    def _drop_hand(self) -> int:
        gone = len(self._hand)
        self._bytes -= sum(size for _, size in self._hand)
        self._hand = ()
        return gone
