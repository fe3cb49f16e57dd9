from __future__ import annotations

from hypothesis import given, settings
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_observe.spanstore.detail import read_span, search_texts
from llm_observe.spanstore.model import to_json
from llm_observe.spanstore.wire import attributes
from tests.spanstore.build import MS, START, llm, pairs, rows, span, spans


@settings(deadline=None, max_examples=60)
@given(spans())
def test_a_stored_span_is_shown_with_all_that_arrived(made: Span) -> None:
    row = rows(made)[0]
    shown = read_span(row.payload, START)
    assert shown.trace_id == made.trace_id.hex()
    assert shown.attributes == attributes(made.attributes)
    assert [event.name for event in shown.events] == [event.name for event in made.events]
    assert [link.span_id for link in shown.links] == [link.span_id.hex() for link in made.links]
    assert START + round(shown.offset_ms * MS) == made.start_time_unix_nano
    assert (shown.kind, shown.error_type) == (row.kind, row.error_type)
    assert to_json(shown)["name"] == made.name
    assert made.name in search_texts(row.payload)


def test_timings_that_contradict_each_other_are_never_negative() -> None:
    told = {"gen_ai.response.time_to_first_chunk": 5.0, "llm_observe.queue_ms": 9000}
    timing = read_span(rows(llm(attributes=told, duration_ms=100))[0].payload).timing
    assert (timing.prefill_ms, timing.generation_ms, timing.tokens_per_s) == (0, 0, None)


def test_what_is_not_known_is_left_out() -> None:
    timing = read_span(rows(span(duration_ms=7))[0].payload).timing
    assert (timing.duration_ms, timing.ttft_ms, timing.generation_ms) == (7, None, None)


def test_a_search_sees_words_not_keys_or_places() -> None:
    made = llm("question", "answer", error="it broke")
    event = made.events.add(name="exception")
    event.attributes.extend(pairs({"exception.message": "boom", "exception.stacktrace": "line 7"}))
    texts = " ".join(search_texts(rows(made)[0].payload))
    assert all(word in texts for word in ("question", "answer", "it broke", "boom"))
    assert "llm.model_name" not in texts
    assert "line 7" not in texts
