"""Spans as the store gives them, for tests of the pages' pure half."""

from __future__ import annotations

from typing import Any

from llm_observe.spanstore.model import Span, Timing

_EMPTY: dict[str, Any] = {
    "trace_id": "0" * 32, "parent_id": "", "name": "call", "kind": "llm", "service": "app",
    "scope": "", "start": 0.0, "status": "ok", "status_message": "", "error_type": "",
    "model": "llama", "provider": "", "operation": "", "session": "", "user": "",
    "tokens_in": None, "tokens_out": None, "tokens_total": None, "cost": None,
    "finish_reason": "", "capture_level": "", "config_hash": "", "input": (), "output": (),
    "output_text": "", "parameters": {}, "attributes": {}, "resource": {},
}  # fmt: skip


def made(span_id: str = "a", start_ms: float = 0, duration_ms: float = 100, **values: Any) -> Span:
    times = {
        "span_id": span_id,
        "start_ns": int(start_ms * 1e6),
        "end_ns": int((start_ms + duration_ms) * 1e6),
        "offset_ms": start_ms,
        "duration_ms": duration_ms,
        "timing": Timing(duration_ms),
    }
    return Span(**{**_EMPTY, **times, **values})
