"""The application's threads get their turn while we work through many items.

Python passes the turn by itself only every 5 ms, and to a thread that has just been on the network
for some microseconds that is an age: measured with a batch of 256 spans, its 99th percentile fell
from 8 ms to 2 ms.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_ITEMS_A_TURN = 8
"""Less than a millisecond of work."""


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """The items, with a moment for other threads after every few."""
    for number, item in enumerate(items, 1):
        yield item
        if number % _ITEMS_A_TURN == 0:
            time.sleep(0)
