"""What Replicate answers: text or files, tokens, times, and why it ended.

A stream's events carry no numbers, so one request after its end fetches them, on a worker. Where
they cannot be had, output tokens are counted from the pieces and marked so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.providers.replicate_request import limit_of, short, without_files
from llm_observe.tracing.snapshots import snapshot

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
HIDDEN = "hidden"
"""What a model that Replicate runs itself says of its version."""
LOGS_TAIL = 4096
"""Characters of a failed prediction's logs that are kept: the end says why."""

_FILES = ("FileOutput", "AsyncFileOutput")


class Handle:
    """What belongs to one call on Replicate's side."""

    __slots__ = (
        "client",
        "given",
        "output",
        "prediction",
        "reason",
        "seen",
        "sent_events",
        "status",
    )

    def __init__(self, client: Any, given: dict[str, Any], sent_events: bool) -> None:
        self.client, self.given = client, given
        self.sent_events = sent_events
        """The answer comes as server-sent events, not by polling."""
        self.prediction: dict[str, Any] | None = None
        """The prediction's own fields, which follow it when it is read again. Not the object: the
        call must not keep alive what the app has dropped."""
        self.seen: dict[str, Any] = {}
        """What the prediction knew when the call was over."""
        self.output: Any = None
        """The answer of a call that returned it."""
        self.status = ""
        """The prediction's status, as last seen."""
        self.reason = ""
        """Why the stream says it ended."""


def kept(value: Any) -> Any:
    """An answer as it is now; what the caller does with it later does not reach it."""
    if isinstance(value, list):
        return [x if type(x) is str or _is_file(x) else snapshot(x) for x in value]
    return value if isinstance(value, str) or _is_file(value) else snapshot(value)


def output_messages(value: Any) -> list[Message]:
    """The answer of a call that returned a value."""
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    files = tuple(item.url for item in items if _is_file(item))
    if files and len(files) == len(items):
        return [Message("assistant", "", tuple(map(short, files)))]
    if all(isinstance(item, str) or _is_file(item) for item in items):
        return [Message("assistant", "".join(map(piece_text, items)))]
    return [Message("assistant", json.dumps(without_files(value), ensure_ascii=False))]


def received_text(item: Any) -> str | None:
    """The text of a piece, or of a server-sent event, which is kept as its kind and its data."""
    if not isinstance(item, tuple):
        return piece_text(item)
    kind, data = item
    return piece_text(data) if getattr(kind, "value", kind) == "output" else None


def piece_text(item: Any) -> str:
    """One piece of an answer. The client turns a piece that begins like a URL into a file."""
    if isinstance(item, str):
        return short(item)
    return short(item.url) if _is_file(item) else json.dumps(without_files(item))


def stream_done(call: Call, handle: Handle) -> None:
    """Read a stream's ``done`` event: it holds a reason unless all went well."""
    last = call.received[-1][1] if call.received else None
    kind, data = last if isinstance(last, tuple) else (None, "")
    if getattr(kind, "value", kind) != "done":
        return
    try:
        body = json.loads(data)
    except (TypeError, ValueError):
        body = {}
    handle.reason = str(body.get("reason") or "") if isinstance(body, dict) else ""
    handle.status = "" if handle.reason else "succeeded"


def read_prediction(call: Call, handle: Handle, prediction: Mapping[str, Any]) -> None:
    """Fill in what a prediction knows; what it does not know stays as it is."""
    if not (handle.sent_events and handle.status in TERMINAL):  # the stream knew better
        handle.status = str(prediction.get("status") or "")
    metrics = prediction.get("metrics") or {}
    tokens_in, tokens_out = (
        _count(metrics, "input_token_count"),
        _count(metrics, "output_token_count"),
    )
    call.input_tokens = call.input_tokens if tokens_in is None else tokens_in
    if tokens_out is not None:
        call.output_tokens, call.tokens_estimated = tokens_out, False
    call.predict_s = _number(metrics, "predict_time") or call.predict_s
    call.server_first_token_s = _number(metrics, "time_to_first_token") or call.server_first_token_s
    call.queue_ms = _between_ms(prediction, "created_at", "started_at", call.queue_ms)
    call.response_model = str(prediction.get("model") or call.response_model)
    version = str(prediction.get("version") or "")
    if version != HIDDEN:
        call.model_version = version or call.model_version
    if handle.status == "failed":
        _failed(call, prediction)


def _failed(call: Call, prediction: Mapping[str, Any]) -> None:
    """The client raises this error from ``run``, and from nothing else."""
    call.error_type = call.error_type or "ModelError"
    call.error_message = call.error_message or str(prediction.get("error") or "")
    call.logs = str(prediction.get("logs") or "")[-LOGS_TAIL:]


def estimate(call: Call, handle: Handle) -> None:
    """Count output tokens from the pieces, where the server has not told them."""
    pieces = len(call.chunks) or (len(handle.output) if isinstance(handle.output, list) else 0)
    if call.output_tokens is None and pieces and call.operation != "generate_content":
        call.output_tokens, call.tokens_estimated = pieces, True


def finish_reason(call: Call, handle: Handle) -> str:
    """Why it ended. ``stop`` and ``length`` only where limit and true count are known."""
    if handle.status == "canceled":
        return handle.status
    if call.aborted or call.error_type:
        return "aborted" if call.aborted else "error"
    if handle.reason:
        return handle.reason
    limit, tokens = limit_of(call), call.output_tokens
    if limit is not None and tokens is not None and not call.tokens_estimated:
        return "length" if tokens >= limit else "stop"
    return handle.status if handle.status in TERMINAL else ""


def _is_file(item: Any) -> bool:
    return type(item).__name__ in _FILES and isinstance(getattr(item, "url", None), str)


def _number(values: Any, name: str) -> float | None:
    value = values.get(name) if isinstance(values, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return None


def _count(values: Any, name: str) -> int | None:
    value = _number(values, name)
    return None if value is None else int(value)


def _between_ms(
    values: Mapping[str, Any], first: str, last: str, known: float | None
) -> float | None:
    try:
        begin = datetime.fromisoformat(str(values.get(first)))
        end = datetime.fromisoformat(str(values.get(last)))
        return max(0.0, (end - begin).total_seconds() * 1000)
    except (ValueError, TypeError):  # absent, malformed, or one of them without a time zone
        return known
