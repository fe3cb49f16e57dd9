from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_observe.spanstore.feedback import MAX_RESULTS, explanation
from tests.spanstore.build import pairs, rows, span, spans


def result(collection: str, word: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    return {f"{collection}.{number}.{word}.{name}": value for name, value in fields.items()}


def linked(made: Span, trace: int, number: int) -> Span:
    made.links.add(trace_id=trace.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"))
    return made


@pytest.mark.parametrize(
    ("collection", "word", "scope"),
    [
        ("annotations", "annotation", "span"),
        ("evaluations", "evaluation", "span"),
        ("trace.annotations", "annotation", "trace"),
        ("trace.evaluations", "evaluation", "trace"),
        ("session.annotations", "annotation", "session"),
        ("session.evaluations", "evaluation", "session"),
    ],
)
def test_every_form_of_openinference(collection: str, word: str, scope: str) -> None:
    said = result(collection, word, name="helpful", score=1, label="good", annotator_kind="LLM",
                  identifier="judge", explanation="since")  # fmt: skip
    (row,) = rows(span(said | {"session.id": "s"}))
    (score,) = row.scores
    assert (score.scope, score.name, score.value, score.label) == (scope, "helpful", 1.0, "good")
    assert (score.annotator, score.identifier, score.session) == ("LLM", "judge", "s")
    assert explanation(row.payload, score.number) == "since"


def test_the_event_of_genai() -> None:
    made = span({})
    event = made.events.add(name="gen_ai.evaluation.result")
    event.attributes.extend(
        pairs(
            {
                "gen_ai.evaluation.name": "fits",
                "gen_ai.evaluation.score.value": 0.25,
                "gen_ai.evaluation.explanation": "since",
            }
        )
    )
    (row,) = rows(made)
    assert [(score.name, score.value) for score in row.scores] == [("fits", 0.25)]
    assert explanation(row.payload, 0) == "since"


def test_with_one_link_it_is_about_the_span_that_is_linked() -> None:
    said = result("annotations", "annotation", name="helpful", score=1)
    (row,) = rows(linked(span(said), 7, 8))
    assert row.feedback
    (score,) = row.scores
    assert (score.trace_id, score.span_id) == ((7).to_bytes(16, "big"), (8).to_bytes(8, "big"))


@pytest.mark.parametrize("links", [0, 2])
def test_without_one_link_it_is_about_itself(links: int) -> None:
    made = span(result("annotations", "annotation", name="helpful", score=1))
    for number in range(links):
        linked(made, 7, number + 1)
    (row,) = rows(made)
    assert not row.feedback
    assert (row.scores[0].trace_id, row.scores[0].span_id) == (row.trace_id, row.span_id)


def test_a_link_alone_is_no_feedback() -> None:
    (row,) = rows(linked(span({"openinference.span.kind": "LLM"}), 7, 8))
    assert (row.feedback, row.scores) == (False, ())


def test_a_carrier_whose_results_were_kept_away_is_still_one() -> None:
    evaluator = {"openinference.span.kind": "EVALUATOR"}
    (row,) = rows(linked(span(evaluator, trace=7, parent=8), 7, 8))
    assert (row.feedback, row.scores) == (True, ())
    for other in (
        linked(span(evaluator, trace=7, parent=9), 7, 8),  # it evaluates as a step of its own
        linked(span({"openinference.span.kind": "CHAIN"}, trace=7, parent=8), 7, 8),
        span(evaluator, trace=7, parent=8),
    ):
        assert not rows(other)[0].feedback


@pytest.mark.parametrize(
    "fields",
    [
        {"score": 1},
        {"name": "", "score": 1},
        {"name": "x"},
        {"name": "x", "score": float("nan")},
        {"name": "x", "score": "1"},
        {"name": "x", "label": "", "explanation": ""},
    ],
)
def test_what_is_no_result_is_left_out(fields: dict[str, Any]) -> None:
    (row,) = rows(span(result("annotations", "annotation", **fields)))
    assert row.scores == ()


def test_several_results_in_order_and_a_bound() -> None:
    said: dict[str, Any] = {}
    for number in range(MAX_RESULTS * 2):
        said |= result("annotations", "annotation", number, name=f"n{number}", score=number)
    (row,) = rows(span(said))
    assert [score.name for score in row.scores] == [f"n{n}" for n in range(MAX_RESULTS)]
    assert [score.number for score in row.scores] == list(range(MAX_RESULTS))


def test_odd_keys_are_nobodys_business() -> None:
    odd = {
        "annotations.x.annotation.name": "a",
        "annotations.0.evaluation.name": "a",
        "annotations.0": "a",
        "annotations.99999999999.annotation.name": "a",
        "annotations.²5.annotation.name": "a",
    }
    (row,) = rows(span(odd))
    assert row.scores == ()


@given(spans())
def test_any_span_can_be_read(made: Span) -> None:
    (row,) = rows(made)
    for score in row.scores:
        assert score.name
        explanation(row.payload, score.number)
