"""OTLP requests and rows for the tests of the span store."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_observe.spanstore.model import MetricRow, SpanRow
from llm_observe.spanstore.otlp import decode_traces
from llm_observe.spanstore.sqlite import SpanStore

PROTOBUF, JSON = "application/x-protobuf", "application/json"
START = 1_790_000_000 * 10**9
MS = 10**6
SECOND = 10**9

_ids = itertools.count(1)


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, dict):
        made = AnyValue()
        made.kvlist_value.values.extend(pairs(value))
        return made
    if isinstance(value, list):
        made = AnyValue()
        made.array_value.values.extend(any_value(item) for item in value)
        return made
    if value is None:
        return AnyValue()
    kinds: dict[type, str] = {int: "int", float: "double", str: "string", bytes: "bytes"}
    return AnyValue(**{f"{kinds[type(value)]}_value": value})


def pairs(attributes: Mapping[str, Any]) -> Iterator[KeyValue]:
    for key, value in attributes.items():
        yield KeyValue(key=key, value=any_value(value))


def span(
    attributes: Mapping[str, Any] | None = None,
    *,
    trace: int | None = None,
    number: int | None = None,
    parent: int | None = None,
    name: str = "chat",
    start_ms: float = 0,
    duration_ms: float = 100,
    error: str | None = None,
) -> Span:
    """A span; ids are counted where none is given, times are relative to START."""
    own = number if number is not None else next(_ids)
    start_ns = START + int(start_ms * MS)
    made = Span(
        trace_id=(trace if trace is not None else own).to_bytes(16, "big"),
        span_id=own.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + int(duration_ms * MS),
    )
    made.attributes.extend(pairs(attributes or {}))
    if error is not None:
        made.status.code, made.status.message = 2, error  # type: ignore[assignment]  # an enum's number
    return made


def request(*spans: Span, service: str = "chatbot") -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    holder = made.resource_spans.add()
    holder.resource.attributes.extend(
        pairs({"service.name": service, "service.instance.id": "instance-1"})
    )
    scope = holder.scope_spans.add()
    scope.scope.name, scope.scope.version = "tests", "1"
    scope.spans.extend(spans)
    return made


def rows(*spans: Span, service: str = "chatbot") -> list[SpanRow]:
    batch = decode_traces(request(*spans, service=service).SerializeToString(), PROTOBUF)
    assert not batch.refused, batch.reason
    return list(batch)


def llm(
    prompt: str = "hello",
    answer: str = "hi",
    *,
    model: str = "llama",
    session: str = "",
    **more: Any,
) -> Span:
    """A call as OpenInference writes it."""
    attributes: dict[str, Any] = {
        "openinference.span.kind": "LLM",
        "llm.model_name": model,
        "input.value": prompt,
        "output.value": answer,
        "llm.token_count.prompt": 3,
        "llm.token_count.completion": 4,
        **({"session.id": session} if session else {}),
        **more.pop("attributes", {}),
    }
    return span(attributes, **more)


def otlp_json(message: ExportTraceServiceRequest) -> dict[str, Any]:
    """The request as OTLP/JSON: protobuf's JSON, with ids in hex."""
    document: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    spans = (s for r in message.resource_spans for c in r.scope_spans for s in c.spans)
    items = (
        item
        for resource in document.get("resourceSpans", ())
        for scope in resource.get("scopeSpans", ())
        for item in scope.get("spans", ())
    )
    for made, item in zip(spans, items, strict=True):
        _hex(item, traceId=made.trace_id, spanId=made.span_id, parentSpanId=made.parent_span_id)
        for link, entry in zip(made.links, item.get("links", ()), strict=True):
            _hex(entry, traceId=link.trace_id, spanId=link.span_id)
    return document


def _hex(item: dict[str, Any], **ids: bytes) -> None:
    item.update({key: value.hex() for key, value in ids.items() if value})


def metrics_request(*metrics: metrics_pb2.Metric) -> ExportMetricsServiceRequest:
    made = ExportMetricsServiceRequest()
    holder = made.resource_metrics.add()
    holder.resource.attributes.extend(pairs({"service.name": "chatbot"}))
    holder.scope_metrics.add().metrics.extend(metrics)
    return made


def point(
    values: Mapping[int, int],
    *,
    time_s: float = 0,
    start_s: float = 0,
    cumulative: bool = False,
    stream: bytes = b"stream",
    bounds: tuple[float, ...] = (1.0, 2.0, 4.0),
    metric: str = "gen_ai.client.operation.duration",
    **dimensions: str,
) -> MetricRow:
    """A histogram row from ``bucket number → count``; times are seconds after START."""
    counts = tuple(values.get(index, 0) for index in range(len(bounds) + 1))
    return MetricRow(
        metric=metric,
        unit="s",
        stream=stream,
        start_ns=START + int(start_s * SECOND),
        time_ns=START + int(time_s * SECOND),
        cumulative=cumulative,
        count=sum(counts),
        sum=float(sum(counts)),
        bounds=bounds,
        counts=counts,
        **{"service": "chatbot", "model": "llama", **dimensions},
    )


class Clock:
    """Time that moves when told to."""

    def __init__(self, now_ns: int = START) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def forward(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)


def write(store: SpanStore, *spans: Span, service: str = "chatbot") -> None:
    store.append(rows(*spans, service=service), []).result(60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SpanStore]:
    opened = SpanStore(tmp_path / "spans.db", clock_ns=Clock())
    yield opened
    opened.close()


scalars = st.one_of(
    st.text(max_size=20),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=10),
    st.none(),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
attribute_maps = st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=6)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """Any span that can be stored."""
    number = st.integers(1, 2**64 - 1)
    made = span(
        draw(attribute_maps),
        trace=draw(st.integers(1, 2**128 - 1)),
        number=draw(number),
        parent=draw(st.none() | number),
        name=draw(st.text(max_size=30)),
        start_ms=draw(st.integers(0, 10**6)),
        duration_ms=draw(st.integers(0, 10**6)),
        error=draw(st.none() | st.text(max_size=10)),
    )
    for name in draw(st.lists(st.text(max_size=5), max_size=2)):
        event = made.events.add(name=name, time_unix_nano=made.start_time_unix_nano)
        event.attributes.extend(pairs(draw(attribute_maps)))
    for other in draw(st.lists(number, max_size=2)):
        made.links.add(trace_id=other.to_bytes(16, "big"), span_id=other.to_bytes(8, "big"))
    return made
