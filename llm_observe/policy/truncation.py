"""Long values made short without breaking their shape: text is cut, JSON stays JSON.

In JSON text, strings are cut, all at the same length, until the whole fits; names and the number of
items stay as far as that is possible. What was cut says so with an ellipsis and a count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

SHORTEST = 64
"""Characters below which no bound is taken to be meant."""

_MARK = "… ({} more)"
_MARK_ROOM = 24


def shorten(text: str, most: int) -> str:
    """The text in at most about ``most`` characters; 0 for no bound."""
    if not most or len(text) <= max(most, SHORTEST):
        return text
    most = max(most, SHORTEST)
    if text[:1] in ("{", "["):
        try:
            return _json(json.loads(text), most)
        except (ValueError, RecursionError):
            return _cut(text, most)
    return _cut(text, most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    kept = max(0, most - _MARK_ROOM)
    return text[:kept] + _MARK.format(len(text) - kept)


def _json(value: Any, most: int) -> str:
    """JSON text that fits, found by halving the length that each string may have."""
    low, high = 0, max((len(text) for text in _strings(value)), default=0)
    best = None
    while low <= high:
        middle = (low + high) // 2
        text = json.dumps(_with_strings(value, middle), ensure_ascii=False)
        if len(text) <= most:
            best, low = text, middle + 1
        else:
            high = middle - 1
    return best if best is not None else json.dumps({"truncated": f"{_count(value)} items"})


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _with_strings(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return _cut(value, most) if len(value) > most + _MARK_ROOM else value
    if isinstance(value, Mapping):
        return {name: _with_strings(item, most) for name, item in value.items()}
    return [_with_strings(item, most) for item in value] if isinstance(value, list) else value


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list | Mapping) else 1
