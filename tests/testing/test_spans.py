from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode
from replicate.exceptions import ModelError

import llm_observe
from llm_observe.testing import FakeReplicate, Fault, ScriptedEngine, capture_spans
from llm_observe.tracing.wrapping import patch
from tests.testing.conftest import Connect

MODEL = "meta/llama-2-7b-chat"
ASK = {"prompt": "Tell me the canary"}


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def test_a_call_is_one_finished_span_with_its_numbers(connect: Connect) -> None:
    client = connect(FakeReplicate(ScriptedEngine(["one two three"])))
    with capture_spans() as captured:
        client.run(MODEL, input=ASK)
        (span,) = captured.spans
    assert attributes(span)["llm.token_count.completion"] == 3
    assert attributes(span)["gen_ai.request.model"] == MODEL
    assert "canary" in str(attributes(span))
    assert span.end_time is not None


def test_a_stream_is_completed_with_what_only_the_server_knows(connect: Connect) -> None:
    client = connect(FakeReplicate(ScriptedEngine(["one two three"])))
    with capture_spans() as captured:
        list(client.stream(MODEL, input=ASK))
    (span,) = captured.calls
    assert attributes(span)["llm.token_count.completion"] == 3
    assert attributes(span)["llm.token_count.prompt"] == 4


def test_a_call_inside_a_trace_is_its_child(connect: Connect) -> None:
    client = connect(FakeReplicate(ScriptedEngine(["ok"])))
    with (
        capture_spans() as captured,
        llm_observe.context(session="s1"),
        llm_observe.trace("chat turn"),
    ):
        client.run(MODEL, input=ASK)
    turn, call = captured.spans
    assert (turn.name, captured.calls) == ("chat turn", (call,))
    assert call.parent is not None
    assert turn.context is not None
    assert call.parent.span_id == turn.context.span_id
    assert attributes(call)["session.id"] == "s1"


def test_the_level_hides_what_it_hides(connect: Connect) -> None:
    client = connect(FakeReplicate(ScriptedEngine(["ok"])))
    with capture_spans(level="metadata") as captured:
        client.run(MODEL, input=ASK)
    assert captured.calls
    assert "canary" not in str(attributes(captured.calls[0]))


def test_a_failed_call_is_an_error(connect: Connect) -> None:
    fake = FakeReplicate(ScriptedEngine(["ok"]))
    fake.script(Fault(fail_after=0, error="no more memory"))
    client = connect(fake)
    with capture_spans() as captured, pytest.raises(ModelError):
        client.run(MODEL, input=ASK)
    assert captured.calls[0].status.status_code is StatusCode.ERROR


def test_the_recorder_before_comes_back_and_nothing_more_is_captured(connect: Connect) -> None:
    client = connect(FakeReplicate(ScriptedEngine(["ok"])))
    before = patch.connected()
    with capture_spans() as captured:
        client.run(MODEL, input=ASK)
        captured.clear()
    assert patch.connected() is before
    client.run(MODEL, input=ASK)
    assert captured.spans == ()
