"""From the attributes of one span, of any instrumentor, to the columns of the store.

Pure: attributes in, values out. Where both conventions are there, the first key that has a
usable value wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Attributes = Mapping[str, Any]

PREVIEW_CHARS = 240
_MAX_TEXT = 512
_MAX_NUMBER = 2**53

# Column → keys, the best first. The request's model is what the user chose and filters by; the
# response's may carry a date.
_TEXTS: dict[str, tuple[str, ...]] = {
    "model": (
        "gen_ai.request.model",
        "llm.request.model_name",
        "llm.model_name",
        "gen_ai.response.model",
        "llm.response.model_name",
        "embedding.model_name",
        "reranker.model_name",
    ),
    "provider": ("gen_ai.provider.name", "llm.provider", "gen_ai.system", "llm.system"),
    "operation": ("gen_ai.operation.name",),
    "session": ("session.id", "gen_ai.conversation.id"),
    "user": ("user.id", "enduser.id"),
    "finish_reason": ("gen_ai.response.finish_reasons", "llm.finish_reason"),
    "capture_level": ("llm_observe.capture.level",),
    "config_hash": ("llm_observe.config.hash",),
}
_COUNTS: dict[str, tuple[str, ...]] = {
    "tokens_in": (
        "gen_ai.usage.input_tokens",
        "llm.token_count.prompt",
        "gen_ai.usage.prompt_tokens",
    ),
    "tokens_out": (
        "gen_ai.usage.output_tokens",
        "llm.token_count.completion",
        "gen_ai.usage.completion_tokens",
    ),
    "tokens_total": (
        "llm.token_count.total",
        "gen_ai.usage.total_tokens",
        "llm.usage.total_tokens",
    ),
}
_NUMBERS: dict[str, tuple[str, ...]] = {
    "queue_ms": ("llm_observe.queue_ms",),
    "tokens_per_s": ("llm_observe.output.tokens_per_second",),
    "cost": ("llm.cost.total", "gen_ai.usage.cost"),
}
_FIRST_CHUNK_S = ("gen_ai.response.time_to_first_chunk",)
_KIND = "openinference.span.kind"
_OPERATIONS = {
    "chat": "llm",
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
    found: dict[str, Any] = {name: text(attributes, keys) for name, keys in _TEXTS.items()}
    found |= {name: whole(attributes, keys) for name, keys in _COUNTS.items()}
    found |= {name: number(attributes, keys) for name, keys in _NUMBERS.items()}
    if found["tokens_total"] is None:
        found["tokens_total"] = _total(found["tokens_in"], found["tokens_out"])
    return found


def kind(attributes: Attributes) -> str:
    """``llm``, ``chain``, ``tool`` …; ``span`` for a span that says neither."""
    said = attributes.get(_KIND)
    if isinstance(said, str) and said:
        return said.lower()[:32]
    operation = attributes.get("gen_ai.operation.name")
    return _OPERATIONS.get(operation, "span") if isinstance(operation, str) else "span"


def first_chunk_ms(attributes: Attributes) -> float | None:
    """Time to first token, where an attribute tells it."""
    seconds = number(attributes, _FIRST_CHUNK_S)
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
