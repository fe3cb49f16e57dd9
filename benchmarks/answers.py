"""What the services of the benchmark answer. Standard library only: it runs in every environment."""

from __future__ import annotations

import json
from typing import Any

PROMPT = "Where do llamas live, and what do they eat? canary-prompt"
MODEL = "meta/llama-2-7b-chat"
PIECES = 50
USAGE = {"prompt_tokens": 12, "completion_tokens": PIECES, "total_tokens": 12 + PIECES}

_ENVELOPE = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_CHUNK = {**_ENVELOPE, "object": "chat.completion.chunk"}


def words(count: int = PIECES) -> list[str]:
    """An answer in pieces."""
    return [*(f"word{number} " for number in range(count - 1)), "canary-answer"]


def openai_answer() -> dict[str, Any]:
    """A whole answer."""
    message = {"role": "assistant", "content": "".join(words())}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**_ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def openai_events(count: int = PIECES) -> str:
    """The events of an answer in pieces, usage at its end."""
    deltas = [{"content": word} for word in words(count)]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices += [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    chunks = [{**_CHUNK, "choices": [choice], "usage": None} for choice in choices]
    chunks.append({**_CHUNK, "choices": [], "usage": USAGE})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def prediction(status: str) -> dict[str, Any]:
    """A prediction of Replicate."""
    done = status == "succeeded"
    metrics = {"input_token_count": 12, "output_token_count": PIECES, "predict_time": 0.5}
    return {
        "id": "p1",
        "model": MODEL,
        "version": "v1",
        "status": status,
        "input": {},
        "output": words() if done else None,
        "error": None,
        "logs": "",
        "metrics": metrics if done else None,
        "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": "2026-01-01T00:00:01.000Z" if done else None,
        "urls": {"stream": "https://stream.test/stream", "get": "https://x.test/"},
    }


def replicate_events(count: int = PIECES) -> str:
    """The events of a prediction that streams."""
    events = [f"event: output\nid: {n}\ndata: {word}\n\n" for n, word in enumerate(words(count))]
    return "".join([*events, "event: done\nid: d\ndata: {}\n\n"])
