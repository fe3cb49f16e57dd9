"""Spans written in place, held against OpenTelemetry's own encoder."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from llm_observe.tracing.export.cleaning import clean
from llm_observe.tracing.export.encoding import request

RESOURCES = (Resource({"service.name": "a", "n": 1}), Resource({}, "https://schema.test/1"))
SCOPES = (
    None,
    InstrumentationScope("plain"),
    InstrumentationScope("full", "1.2", "https://schema.test/2", {"a": True}),
)

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Whole spans are much to generate on a busy machine."""

odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.text(st.characters(categories=["Cs"])) | st.builds(object),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
    | st.tuples(inner),
    max_leaves=4,
)  # fmt: skip
good = odd.map(lambda value: clean({"k": value}).get("k", "")).filter(lambda value: value != [])
attributes = st.dictionaries(st.text(min_size=1), good, max_size=3)
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    st.sampled_from([TraceState(), TraceState([("v", "1"), ("w", "2")])]),
)
moments = st.integers(0, 2**62)
events = st.builds(Event, st.text(), attributes, moments)
links = st.builds(Link, contexts, attributes)
statuses = st.builds(Status, st.just(StatusCode.ERROR), st.text()) | st.builds(
    Status, st.sampled_from(StatusCode)
)
spans = st.builds(
    ReadableSpan,
    name=st.text(),
    context=contexts,
    parent=st.none() | contexts,
    resource=st.sampled_from(RESOURCES),
    attributes=attributes | attributes.map(lambda found: BoundedAttributes(2, found)),
    events=st.lists(events, max_size=1),
    links=st.lists(links, max_size=1),
    kind=st.sampled_from(SpanKind),
    status=statuses,
    start_time=moments,
    end_time=moments,
    instrumentation_scope=st.sampled_from(SCOPES),
)


@SLOW
@given(st.lists(spans, max_size=3))
def test_the_message_is_the_one_that_opentelemetry_would_make(batch: list[ReadableSpan]) -> None:
    assert request(batch) == encode_spans(batch)


@SLOW
@given(
    st.dictionaries(st.text(min_size=1) | st.just("\ud800"), odd, max_size=3).filter(
        lambda found: not {"?", "\ud800"} <= found.keys()  # the one would become the other
    )
)
def test_what_otlp_cannot_hold_is_as_if_it_had_been_cleaned_before(found: dict[str, Any]) -> None:
    raw, cleaned = span(found), span(clean(found))
    assert request([raw]) == request([cleaned]) == encode_spans([cleaned])


def span(attributes: dict[str, Any], **other: Any) -> ReadableSpan:
    context = SpanContext(1, 2, False)
    return ReadableSpan(
        "s",
        context,
        attributes=attributes,
        resource=RESOURCES[0],
        start_time=1,
        end_time=2,
        **other,
    )


class Word(StrEnum):
    HELLO = "hello"

    def __str__(self) -> str:
        raise AssertionError("asked for its text")


class Number(IntEnum):
    SEVEN = 7


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        (Word.HELLO, "string_value", "hello"),
        (Number.SEVEN, "int_value", 7),
        (2**63, "string_value", str(2**63)),
        (-(2**63), "int_value", -(2**63)),
        (False, "bool_value", False),
        (1.5, "double_value", 1.5),
        (b"\xff", "bytes_value", b"\xff"),
        ("half \ud83d", "string_value", "half ?"),
    ],
)
def test_each_kind_of_value(value: Any, field: str, expected: Any) -> None:
    (found,) = request([span({"k": value})]).resource_spans[0].scope_spans[0].spans[0].attributes
    assert found.value.WhichOneof("value") == field
    assert getattr(found.value, field) == expected


@pytest.mark.parametrize("value", [object(), None, deep()])
def test_what_has_no_place_in_otlp_goes_and_its_neighbours_stay(value: Any) -> None:
    message = request([span({"a": 1, "k": value, "z": [1, object(), None, "x"]})])
    made = message.resource_spans[0].scope_spans[0].spans[0].attributes
    assert [item.key for item in made] == ["a", "z"]
    assert len(made[1].value.array_value.values) == 2


def test_an_empty_list_is_there_and_empty() -> None:
    (found,) = request([span({"k": []})]).resource_spans[0].scope_spans[0].spans[0].attributes
    assert found.value.WhichOneof("value") == "array_value"


def test_names_and_texts_of_a_span_that_utf8_cannot_hold() -> None:
    half, mended = "half \ud83d", "half ?"
    broken = ReadableSpan(
        half,
        resource=RESOURCES[0],
        events=[Event(half, {half: half}, 1)],
        status=Status(StatusCode.ERROR, half),
    )
    found = request([broken]).resource_spans[0].scope_spans[0].spans[0]
    assert found.name == found.events[0].name == found.status.message == mended
    assert found.events[0].attributes[0].key == mended


def test_spans_of_one_scope_stay_together_however_they_come() -> None:
    scopes = [InstrumentationScope("a"), InstrumentationScope("b"), InstrumentationScope("a")]
    message = request([span({}, instrumentation_scope=scope) for scope in scopes])
    (resource,) = message.resource_spans
    assert [(x.scope.name, len(x.spans)) for x in resource.scope_spans] == [("a", 2), ("b", 1)]
