from __future__ import annotations

import json

from llm_observe.spanstore.model import (
    Message,
    Page,
    Point,
    Series,
    SpanEvent,
    StoreBusy,
    to_json,
)


def test_every_value_becomes_plain_json() -> None:
    event = SpanEvent("e", 1, {"bytes": b"\x01\xff", "nan": float("nan"), "deep": [{"x": (1,)}]})
    page = Page(
        (event, Series("llama", "s", (Point(1.0, p50=float("inf")),)), Message("user", "ä"))
    )
    plain = to_json(page)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["items"][0]["attributes"] == {"bytes": "01ff", "nan": None, "deep": [{"x": [1]}]}
    assert plain["items"][1]["points"][0]["p50"] is None
    assert plain["next"] is None


def test_a_busy_store_says_how_busy() -> None:
    assert str(StoreBusy(70, 64)) == "70 bytes wait to be written, the limit is 64"
