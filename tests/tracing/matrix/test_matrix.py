"""Every surface of the client, to every ending: one span, and a caller that sees no difference."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.tracing.export.drive import attributes
from tests.tracing.matrix.clients import WANTED, surfaces
from tests.tracing.matrix.table import (
    ANSWER,
    ASKED,
    ENDINGS,
    INPUT_TOKENS,
    MODEL,
    NARROW,
    WORDS,
    Case,
    cases,
    reason,
)
from tests.tracing.matrix.world import OTHER_SCOPE, Recorded, World

SURFACES = surfaces().SURFACES
# Connections that a client leaves to the collector are its own affair.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
CALLERS_OWN = ("Mine", "CancelledError")
EVERYTHING = bool(os.environ.get("LLM_OBSERVE_FULL") or WANTED)
CASES = [pytest.param(case, id=case.name) for case in cases(SURFACES, all_of_them=EVERYTHING)]


@pytest.mark.parametrize("case", CASES)
def test_one_call_is_one_span_and_its_caller_sees_no_difference(case: Case, world: World) -> None:
    bare, observed = world.bare(case), world.observed(case)
    assert observed.seen == bare.seen
    check_requests(case, bare, observed)
    check_counts(case, observed)
    check_current(case, observed)
    for span in calls_of(observed):
        check_span(case, observed, span)


def calls_of(recorded: Recorded) -> list[Span]:
    return [span for span in recorded.spans if span.name != "chain"]


def check_requests(case: Case, bare: Recorded, observed: Recorded) -> None:
    """The same ones, and one more after a stream; how often is polled is a matter of chance."""
    assert observed.requests["create"] == bare.requests["create"]
    if case.ending.how == "cancel":
        return  # it may come before one more request, or after it
    reads = observed.requests.pop("read", 0), bare.requests.get("read", 0)
    assert observed.requests == bare.requests - Counter(read=reads[1])
    wanted = case.surface.sends_events and case.ending.under != "suppressed"
    if wanted or not reads[1]:
        assert 0 <= reads[0] - reads[1] <= wanted


def check_counts(case: Case, observed: Recorded) -> None:
    """One span, one duration; none of what was not wanted."""
    exported = case.begins and case.ending.under not in ("unsampled", "suppressed")
    measured = case.begins and case.ending.under != "suppressed"
    assert len(calls_of(observed)) == exported
    assert observed.durations == measured
    assert not measured or observed.tokens.get("output", 0) in (0, len(WORDS), 1)


def check_times(case: Case, observed: Recorded, span: Span, found: Mapping[str, Any]) -> None:
    """A first piece has its moment where pieces arrive while they are made."""
    seen, inside = observed.seen, case.surface.live and case.surface.shape == "value"
    if inside and not seen.text:
        return  # whether pieces came before it was broken off, the caller cannot know
    live = case.surface.live and bool(seen.items or inside)
    assert ("gen_ai.response.time_to_first_chunk" in found) == live
    assert observed.firsts == live
    moments = [e.time_unix_nano for e in span.events if e.name == "First Token Stream Event"]
    assert len(moments) == live
    assert all(span.start_time_unix_nano <= m <= span.end_time_unix_nano for m in moments)


def check_current(case: Case, observed: Recorded) -> None:
    """The caller's code runs in the caller's span, the library's requests in ours."""
    outer = [span for span in observed.spans if span.name == "chain"]
    wanted = int(outer[0].span_id.hex(), 16) if outer else 0
    assert set(observed.seen.current) <= {wanted}
    if observed.within and calls_of(observed):
        (span,) = calls_of(observed)
        assert span.span_id.hex() in observed.within


def check_span(case: Case, observed: Recorded, span: Span) -> None:
    found = attributes(span)
    check_name(case, observed, span, found)
    assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    assert found["llm_observe.capture.level"] == "full"
    assert found["openinference.span.kind"] == "LLM"
    check_input(case, found)
    check_answer(case, observed, found)
    check_status(case, observed, span, found)
    check_parent(observed, span)
    check_times(case, observed, span, found)


def check_name(case: Case, observed: Recorded, span: Span, found: Mapping[str, Any]) -> None:
    """By the model that was asked for; where that is a version, by the model that answered."""
    model = case.surface.asks or found.get("gen_ai.response.model", "")
    assert span.name == f"chat {model}".strip()
    if observed.requests["create"] and "gen_ai.response.id" in found:
        assert found["gen_ai.response.model"] == MODEL


def check_input(case: Case, found: Mapping[str, Any]) -> None:
    given = {**ASKED, **case.ending.given()}
    assert found["llm.input_messages.0.message.content"] == given["system_prompt"]
    assert found["llm.input_messages.1.message.content"] == given["prompt"]
    turns = given.get("messages", [])
    assert [found[f"llm.input_messages.{2 + n}.message.content"] for n in range(len(turns))] == [
        turn["content"] for turn in turns
    ]
    assert found["gen_ai.request.max_tokens"] == 64


def check_answer(case: Case, observed: Recorded, found: Mapping[str, Any]) -> None:
    seen = observed.seen
    answer = found.get("llm.output_messages.0.message.content", "")
    if case.surface.shape == "stream" and not case.surface.live and not seen.items:
        assert ANSWER.startswith(answer)  # it was there, as far as it got, and nobody looked
    elif not seen.raised or seen.text:
        assert answer == seen.text
    if not seen.raised and case.ending.whole and case.surface.fault is None:
        check_tokens(case, observed, found)
    if "llm_observe.tokens_estimated" in found:
        assert "output" not in observed.tokens


def check_tokens(case: Case, observed: Recorded, found: Mapping[str, Any]) -> None:
    """The server's numbers, not ours."""
    surface, under = case.surface, case.ending.under
    if surface.sends_events and surface.is_async and under == "nested":
        return  # its loop is over, and a client with hooks is not gone around: see `replicate_fetch`
    assert "llm_observe.tokens_estimated" not in found
    assert found["llm.token_count.completion"] == len(WORDS) == observed.tokens["output"]
    if not case.ending.given():
        assert found["gen_ai.usage.input_tokens"] == INPUT_TOKENS == observed.tokens["input"]


def check_status(case: Case, observed: Recorded, span: Span, found: Mapping[str, Any]) -> None:
    """An error where the library raised one of its own, or the model failed."""
    raised = observed.seen.raised
    wanted = "" if raised in CALLERS_OWN else raised
    if not raised and case.fault.fail_after is not None:
        wanted = "ModelError"
    assert (span.status.code == Status.STATUS_CODE_ERROR) == bool(wanted)
    assert found.get("error.type", "") == wanted
    if wanted:
        (why,) = found["gen_ai.response.finish_reasons"].values
        assert why.string_value == "error"


def check_parent(observed: Recorded, span: Span) -> None:
    outer = [each for each in observed.spans if each.name == "chain"]
    assert span.parent_span_id == (outer[0].span_id if outer else b"")
    assert all(span.trace_id == each.trace_id for each in outer)


def test_every_pair_is_run_or_has_its_reason() -> None:
    run = {case.name for case in cases(SURFACES)}
    pairs = [Case(surface, ending) for surface in SURFACES for ending in ENDINGS]
    assert len({pair.name for pair in pairs}) == len(pairs)
    assert all((pair.name in run) != bool(reason(*pair)) for pair in pairs)
    known = {ending.name for ending in ENDINGS}
    assert known >= NARROW
    assert all(set(surface.lacks) <= known for surface in SURFACES)
    names = {surface.name for surface in SURFACES if not surface.alike}
    assert all(surface.alike in names for surface in SURFACES if surface.alike)


def test_the_outer_instrumentor_is_not_ours() -> None:
    assert not OTHER_SCOPE.startswith("llm_observe")
