from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from llm_observe.spanstore.model import MalformedTelemetry
from llm_observe.spanstore.otlp import Limits, decode_metrics, decode_traces
from tests.spanstore.build import JSON, PROTOBUF, llm, otlp_json, pairs, request, rows, span, spans

KEYS = [
    "resourceSpans",
    "resource",
    "scopeSpans",
    "spans",
    "traceId",
    "spanId",
    "attributes",
    "key",
    "value",
    "stringValue",
    "startTimeUnixNano",
    "links",
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    "sum",
    "dataPoints",
    "exemplars",
    "histogram",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=20,
)


def is_read_or_refused(body: bytes, content_type: str) -> bool:
    for decode in (decode_traces, decode_metrics):
        try:
            decode(body, content_type)
        except MalformedTelemetry as error:
            if not str(error):
                return False
    return True


@settings(deadline=None, max_examples=60)
@given(st.lists(spans(), max_size=4))
def test_nothing_of_a_span_is_lost(made: list[Span]) -> None:
    sent = request(*made)
    batch = decode_traces(sent.SerializeToString(), PROTOBUF)
    assert len(batch) == len(made)
    for row, original in zip(batch, made, strict=True):
        kept = ResourceSpans.FromString(row.payload)
        assert kept.scope_spans[0].spans[0] == original
        assert kept.resource == sent.resource_spans[0].resource
        assert kept.scope_spans[0].scope == sent.resource_spans[0].scope_spans[0].scope
        assert (row.trace_id, row.span_id) == (original.trace_id, original.span_id)
        assert row.end_ns - row.start_ns == (
            original.end_time_unix_nano - original.start_time_unix_nano
        )


@settings(deadline=None, max_examples=60)
@given(st.lists(spans(), max_size=3))
def test_json_and_protobuf_give_the_same_rows(made: list[Span]) -> None:
    sent = request(*made)
    from_json = decode_traces(json.dumps(otlp_json(sent)).encode(), JSON)
    assert list(from_json) == list(decode_traces(sent.SerializeToString(), PROTOBUF))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_a_sentence(body: bytes) -> None:
    assert is_read_or_refused(body, PROTOBUF)
    assert is_read_or_refused(body, JSON)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_damaged_request_is_read_or_refused_with_a_sentence(data: st.DataObject) -> None:
    body = bytearray(request(llm(session="s"), span(error="x")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert is_read_or_refused(bytes(body[: data.draw(st.integers(0, len(body)))]), PROTOBUF)


@settings(deadline=None, max_examples=200)
@given(json_values)
def test_any_json_is_read_or_refused_with_a_sentence(document: Any) -> None:
    assert is_read_or_refused(json.dumps(document).encode(), JSON)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[" * 100_000, JSON),
        (b'{"resourceSpans":' * 5000 + b"1" + b"}" * 5000, JSON),
        (b"[]", JSON),
        (b'{"resourceSpans": NaN}', JSON),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}', JSON),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\\ud800"}]}]}]}', JSON),
        (b"\x0a\xff", PROTOBUF),
        (b"", "text/plain"),
    ],
)
def test_what_is_no_otlp_is_refused_whole(body: bytes, content_type: str) -> None:
    with pytest.raises(MalformedTelemetry):
        decode_traces(body, content_type)


def test_unknown_json_keys_are_ignored() -> None:
    document = otlp_json(request(llm()))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["somethingNew"] = {"a": [1]}
    assert len(decode_traces(json.dumps(document).encode(), JSON)) == 1


def test_a_span_that_cannot_be_stored_is_refused_alone() -> None:
    short, zero, late = span(), span(), span()
    short.trace_id, zero.span_id = b"12", bytes(8)
    late.start_time_unix_nano = 2**64 - 1
    batch = decode_traces(request(short, llm(), zero, late).SerializeToString(), PROTOBUF)
    assert len(batch) == 1
    assert batch.refused == 3
    assert "trace id" in batch.reason


def test_large_spans_and_large_requests_are_refused() -> None:
    body = request(llm("x" * 2000), llm()).SerializeToString()
    assert decode_traces(body, PROTOBUF, Limits(row_bytes=1000)).refused == 1
    assert decode_traces(body, PROTOBUF, Limits(attributes=1)).refused == 2
    with pytest.raises(MalformedTelemetry, match="the limit is 1"):
        decode_traces(body, PROTOBUF, Limits(rows=1))


def test_an_exception_event_names_the_error() -> None:
    failed = llm(error="boom")
    event = failed.events.add(name="exception")
    event.attributes.extend(pairs({"exception.type": "TimeoutError"}))
    assert rows(failed)[0].error_type == "TimeoutError"
    assert rows(llm(error="boom"))[0].error_type == "error"
    assert rows(llm(attributes={"error.type": "x"}))[0].error_type == ""


def test_the_first_token_is_read_from_attribute_or_event() -> None:
    told = llm(attributes={"gen_ai.response.time_to_first_chunk": 0.25})
    older = llm(attributes={"llm_observe.time_to_first_chunk": 0.25})
    shown = llm()
    shown.events.add(
        name="First Token Stream Event", time_unix_nano=shown.start_time_unix_nano + 40_000_000
    )
    assert rows(told)[0].ttft_ms == rows(older)[0].ttft_ms == 250
    assert rows(shown)[0].ttft_ms == 40
    assert rows(shown)[0].tokens_per_s == pytest.approx(4 / 0.06)


def test_previews_are_of_the_last_prompt_and_the_answer() -> None:
    row = rows(llm("question\nof two lines", "a" * 1000))[0]
    assert row.input_preview == "question of two lines"
    assert row.output_preview == "a" * 239 + "…"


def test_content_in_genai_events_is_found() -> None:
    told = span({"gen_ai.operation.name": "chat"})
    event = told.events.add(name="gen_ai.client.inference.operation.details")
    messages = [{"role": "user", "parts": [{"type": "text", "content": "from the event"}]}]
    event.attributes.extend(pairs({"gen_ai.input.messages": json.dumps(messages)}))
    assert rows(told)[0].input_preview == "from the event"
    assert rows(told)[0].kind == "llm"
