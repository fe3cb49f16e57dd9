"""A day of chatbot calls as OTLP/JSON lines: before and after a change of settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BASE_NS = 1_764_000_000_000_000_000
BEFORE, AFTER = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
MODELS = ("meta/llama-2-7b-chat", "meta/llama-2-70b-chat")
TURNS = 40


def attribute(key: str, value: Any) -> dict[str, Any]:
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return {"key": key, "value": {kinds[type(value)]: value}}


def span(
    number: int, part: int, name: str, start_ms: int, took_ms: int, said: dict[str, Any]
) -> dict[str, Any]:
    start = BASE_NS + number * 60_000_000_000 + start_ms * 1_000_000
    found = {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{(number + 1) * 16 + part:016x}",
        "name": name,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + took_ms * 1_000_000),
        "attributes": [attribute(key, value) for key, value in said.items()],
        "status": {},
    }
    if part:
        found["parentSpanId"] = f"{(number + 1) * 16:016x}"
    return found


def turn(number: int) -> list[dict[str, Any]]:
    """One chat turn: a chain around a call. The later half runs under other settings."""
    after = number >= TURNS // 2
    queue, ttft, took = (40, 200, 900) if after else (900, 1300, 2600)
    took += number * 7
    call = {
        "openinference.span.kind": "LLM",
        "llm.model_name": MODELS[number % 2],
        "llm.token_count.prompt": 100 + number,
        "llm.token_count.completion": 20,
        "llm.finish_reason": "stop",
        "session.id": f"session-{number // 10}",
        "llm_observe.queue_ms": float(queue),
        "gen_ai.response.time_to_first_chunk": ttft / 1000,
        "llm_observe.output.tokens_per_second": 20_000 / (took - ttft),
        "llm_observe.config.hash": AFTER if after else BEFORE,
        "llm_observe.capture.level": "full" if after else "metadata",
    }
    if after:
        call |= {
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": f"question <{number}>",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": f"answer & {number}",
        }
    chain = {"openinference.span.kind": "CHAIN", "session.id": f"session-{number // 10}"}
    spans = [
        span(number, 0, "chat turn", 0, took + 20, chain),
        span(number, 1, "replicate.run", 10, took, call),
    ]
    if number % 13 == 12:
        spans[1]["status"] = {"code": 2, "message": "model is overloaded"}
        spans[1]["attributes"].append(attribute("error.type", "ModelError"))
    return spans


def request(spans: list[dict[str, Any]]) -> dict[str, Any]:
    resource = {"attributes": [attribute("service.name", "llama2-chatbot")]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}


def write_lines(path: Path, turns: int = TURNS) -> Path:
    with path.open("w") as file:
        for number in range(turns):
            file.write(json.dumps(request(turn(number))) + "\n")
    return path
