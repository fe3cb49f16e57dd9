"""A call's attributes within the limit of a span that is not ours.

The SDK's default is 128 attributes, and what is beyond it pushes the *oldest* ones out; other
implementations drop the newest. So what does not fit is left out beforehand, message by message,
and what matters most is written last: a long chat never costs a span its kind, model, tokens or
status. Whatever is left out of the flat list of messages stands in ``gen_ai.input.messages`` and
``input.value`` too, which are one attribute each.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import Span

from llm_observe.conventions import SPAN_KIND, Kind, kind_of

_MESSAGE = re.compile(r"(.+?)\.(\d+)\.")
_RANKS = {Kind.CORE: 1, Kind.METADATA: 2, Kind.LABEL: 3}
_LAST_RANK = 4

Attributes = Mapping[str, Any]


def limit_of(span: Span) -> int | None:
    """How many attributes a span takes; None for any number.

    A span of the SDK knows its limits; of any other the specification's default is assumed, or
    what the environment says (SDK, "Span Limits").
    """
    limits = getattr(span, "_limits", None) or SpanLimits()
    found = getattr(limits, "max_span_attributes", 128)
    return found if isinstance(found, int) else None


def room_on(span: Span, attributes: Attributes) -> int | None:
    """How many attributes fit beside those that others have put on the span."""
    limit = limit_of(span)
    if limit is None:
        return None
    there = getattr(span, "attributes", None) or {}
    return max(0, limit - sum(key not in attributes for key in there))


def fitted(attributes: Attributes, room: int | None) -> dict[str, Any]:
    """The most important attributes, at most ``room``; the most important ones come last."""
    if room is not None and len(attributes) <= room:
        return dict(attributes)  # nothing is pushed out, and the order does not matter
    kept = sorted(attributes, key=_rank) if room is None else _chosen(attributes, room)
    return {key: attributes[key] for key in reversed([*kept])}


def _chosen(attributes: Attributes, room: int) -> list[str]:
    single = [key for key in attributes if not _MESSAGE.match(key)]
    kept = sorted(single, key=_rank)[:room]
    for keys in _messages(key for key in attributes if _MESSAGE.match(key)):
        if len(kept) + len(keys) > room:
            break
        kept += keys
    return kept


def _messages(keys: Iterable[str]) -> list[list[str]]:
    """The keys of one message each: answers first, then the first message and the newest ones."""
    found: dict[tuple[str, int], list[str]] = {}
    for key in keys:
        match = _MESSAGE.match(key)
        if match:
            found.setdefault((match[1], int(match[2])), []).append(key)
    return [found[message] for message in sorted(found, key=_message_rank)]


def _message_rank(message: tuple[str, int]) -> tuple[bool, bool, int]:
    name, number = message
    answer = name.endswith(("output_messages", "choices"))
    return not answer, number != 0, -number


def _rank(key: str) -> int:
    if key == SPAN_KIND:
        return 0
    kind = kind_of(key)
    return _LAST_RANK if kind is None else _RANKS.get(kind, _LAST_RANK)
