"""From the attributes of one span, of any instrumentor, to the columns of the store.

Pure: attributes in, values out, by the one table in `llm_observe.conventions`. Where both
conventions are there, the first key that has a usable value wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llm_observe.conventions import PROMOTED

Attributes = Mapping[str, Any]

PREVIEW_CHARS = 240
_MAX_TEXT = 512
_MAX_NUMBER = 2**53

# Our column → its name in the table of conventions.
_TEXTS = {
    name: name
    for name in (
        "model",
        "provider",
        "operation",
        "session",
        "user",
        "finish_reason",
        "capture_level",
        "config_hash",
    )
}
_COUNTS = {
    "tokens_in": "input_tokens",
    "tokens_out": "output_tokens",
    "tokens_total": "total_tokens",
}
_NUMBERS = {"queue_ms": "queue_ms", "tokens_per_s": "tokens_per_second", "cost": "cost_usd"}
_KINDS = {"generation": "llm", "workflow": "chain", "task": "chain"}
_OPERATIONS = {
    "chat": "llm",
    "completion": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
    "embeddings": "embedding",
    "retrieval": "retriever",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "invoke_workflow": "chain",
}


def columns(attributes: Attributes) -> dict[str, Any]:
    """All columns that attributes alone decide, except kind, content and time to first token."""
    found: dict[str, Any] = {ours: text(attributes, PROMOTED[n]) for ours, n in _TEXTS.items()}
    found |= {ours: whole(attributes, PROMOTED[name]) for ours, name in _COUNTS.items()}
    found |= {ours: number(attributes, PROMOTED[name]) for ours, name in _NUMBERS.items()}
    if found["tokens_total"] is None:
        found["tokens_total"] = _total(found["tokens_in"], found["tokens_out"])
    return found


def kind(attributes: Attributes) -> str:
    """``llm``, ``chain``, ``tool`` …; ``span`` for a span that says neither."""
    said = text(attributes, PROMOTED["kind"]).lower()[:32]
    if said:
        return _KINDS.get(said, said)
    return _OPERATIONS.get(text(attributes, PROMOTED["operation"]), "span")


def first_chunk_ms(attributes: Attributes) -> float | None:
    """Time to first token, where an attribute tells it."""
    seconds = number(attributes, PROMOTED["time_to_first_chunk_s"])
    return None if seconds is None else seconds * 1000


def text(attributes: Attributes, keys: tuple[str, ...]) -> str:
    """The first key with a text; lists are joined."""
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value[:8])
        if value is not None and value != "":
            return str(value)[:_MAX_TEXT]
    return ""


def number(attributes: Attributes, keys: tuple[str, ...]) -> float | None:
    """The first key with a finite number that is not negative."""
    for key in keys:
        value = attributes.get(key)
        if isinstance(value, int | float) and _usable(value):
            return float(value)
    return None


def whole(attributes: Attributes, keys: tuple[str, ...]) -> int | None:
    """As `number`, for counts."""
    value = number(attributes, keys)
    return None if value is None else int(value)


def preview(value: str) -> str:
    """The beginning of a text, on one line."""
    flat = " ".join(value[: PREVIEW_CHARS * 4].split())
    return flat if len(flat) <= PREVIEW_CHARS else flat[: PREVIEW_CHARS - 1] + "…"


def _usable(value: float) -> bool:
    return not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= _MAX_NUMBER


def _total(tokens_in: int | None, tokens_out: int | None) -> int | None:
    if tokens_in is None and tokens_out is None:
        return None
    return (tokens_in or 0) + (tokens_out or 0)
