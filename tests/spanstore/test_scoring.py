"""Scores in the store: beside what they are about, whenever and wherever from they arrive."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_observe.spanstore import schema
from llm_observe.spanstore.model import SpanFilter, TraceFilter, to_json
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.scores import ScoreFilter, ScoreLine, ScoreMean
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import START, Clock, llm, rows, span, write

TURN, CALL = 1, 2


@pytest.fixture
def reader(store: SpanStore) -> Iterator[SpanReader]:
    opened = store.reader()
    yield opened
    opened.close()


def turn(trace: int = 7, session: str = "", **more: Any) -> list[Span]:
    attributes = {
        "openinference.span.kind": "CHAIN",
        **({"session.id": session} if session else {}),
    }
    root = span(attributes, trace=trace, number=trace * 100 + TURN, name="turn", **more)
    call = llm(trace=trace, number=trace * 100 + CALL, parent=trace * 100 + TURN, session=session)
    return [root, call]


def said(
    value: float | None = 1.0,
    *,
    about: int = 7,
    span_id: int | None = None,
    name: str = "helpful",
    at_ms: float = 10_000,
    own_trace: int | None = None,
    scope: str = "",
    session: str = "",
    **fields: Any,
) -> Span:
    """A carrier, by default in the trace that it is about."""
    target = about * 100 + TURN if span_id is None else span_id
    fields = {"name": name, "annotator_kind": "HUMAN", **fields}
    fields |= {} if value is None else {"score": value}
    attributes = {f"{scope}annotations.0.annotation.{key}": item for key, item in fields.items()}
    attributes |= {"openinference.span.kind": "EVALUATOR"}
    attributes |= {"session.id": session} if session else {}
    made = span(
        attributes,
        trace=about if own_trace is None else own_trace,
        parent=target if own_trace is None else None,
        name="score",
        start_ms=at_ms,
        duration_ms=0,
    )
    made.links.add(trace_id=about.to_bytes(16, "big"), span_id=target.to_bytes(8, "big"))
    return made


def scores(reader: SpanReader, trace: int = 7) -> dict[str, list[tuple[Any, ...]]]:
    spans = reader.trace(f"{trace:032x}")
    return {
        span.name: [(s.name, s.value, s.explanation, s.latest) for s in span.scores]
        for span in spans
        if span.scores
    }


ONE = {"turn": [("helpful", 1.0, "since", True)]}


@pytest.mark.parametrize("own_trace", [None, 99])
@pytest.mark.parametrize("score_first", [False, True])
def test_a_score_stands_at_its_span_in_whatever_order_and_trace_it_comes(
    store: SpanStore, reader: SpanReader, own_trace: int | None, score_first: bool
) -> None:
    groups = [turn(), [said(explanation="since", own_trace=own_trace)]]
    for group in reversed(groups) if score_first else groups:
        write(store, *group)
    assert scores(reader) == ONE
    (summary,) = reader.traces().items
    assert summary.scores == (ScoreMean("helpful", 1.0, "", 1),)
    assert (summary.name, summary.spans, summary.duration_ms) == ("turn", 2, 100.0)
    assert reader.facets().scores == ("helpful",)


def test_a_trace_of_scores_alone_is_not_listed_but_can_be_opened(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, said(own_trace=99, session="s"))
    assert reader.traces().items == ()
    assert reader.sessions().items == ()
    (carrier,) = reader.trace(f"{99:032x}")
    assert carrier.feedback


def test_the_latest_of_one_judge_counts_and_the_former_is_told(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, *turn(), said(0, at_ms=300), said(1, at_ms=200))
    write(store, said(1, at_ms=100))
    found = [(value, latest) for _, value, _, latest in scores(reader)["turn"]]
    assert found == [(0.0, True), (1.0, False), (1.0, False)]
    assert reader.traces().items[0].scores == (ScoreMean("helpful", 0.0, "", 1),)


def test_several_judges_all_count(store: SpanStore, reader: SpanReader) -> None:
    write(
        store,
        *turn(),
        said(1, identifier="ann"),
        said(0, identifier="bob"),
        said(0.5, annotator_kind="LLM", label="so so"),
    )
    (mean,) = reader.traces().items[0].scores
    assert (mean.value, mean.count) == (0.5, 3)


def test_a_span_that_comes_twice_is_one_score(store: SpanStore, reader: SpanReader) -> None:
    carrier = said()
    write(store, *turn(), carrier)
    write(store, carrier)
    assert len(scores(reader)["turn"]) == 1


def test_what_is_about_the_trace_or_a_missing_span_stands_at_the_first_span(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, *turn(), said(scope="trace.", name="whole"), said(span_id=12345, name="lost"))
    assert {name for name, *_ in scores(reader)["turn"]} == {"whole", "lost"}


def test_a_session_is_judged_once_whatever_span_it_was_said_at(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, *turn(7, "s"), *turn(8, "s"))
    write(store, said(0, about=7, scope="session.", session="s", at_ms=1))
    write(store, said(1, about=8, scope="session.", session="s", at_ms=2))
    assert [(line.value, line.scope) for line in reader.scores().items] == [(1.0, "session")]


def test_a_score_of_a_span_about_itself(store: SpanStore, reader: SpanReader) -> None:
    judged = {"evaluations.0.evaluation.name": "fits", "evaluations.0.evaluation.score": 0.25}
    write(store, llm(trace=7, attributes=judged))
    (only,) = reader.trace(f"{7:032x}")
    assert not only.feedback
    assert [score.value for score in only.scores] == [0.25]
    assert len(reader.traces().items) == 1


# -- filters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (TraceFilter(score="helpful"), [1, 2, 3]),
        (TraceFilter(score="helpful", score_max=0.0), [1]),
        (TraceFilter(score="helpful", score_min=0.5), [2, 3]),
        (TraceFilter(score="helpful", score_min=0.25, score_max=0.75), [2]),
        (TraceFilter(score_max=0.5), [1, 2, 4]),
        (TraceFilter(score="fits"), [4]),
        (TraceFilter(score_label="good"), [3]),
        (TraceFilter(score="nothing"), []),
        (TraceFilter(score="helpful", service="other"), []),
        (TraceFilter(score="helpful", model="llama", score_max=0.5), [1, 2]),
        (TraceFilter(), [1, 2, 3, 4, 5]),
    ],
)
def test_traces_by_score(
    store: SpanStore, reader: SpanReader, where: TraceFilter, found: list[int]
) -> None:
    for number, score in enumerate((said(0, about=1), said(0.5, about=2), said(1, about=3, label="good"), said(0, about=4, name="fits"), None), 1):  # fmt: skip
        write(store, *turn(number), *([score] if score else []))
    listed = sorted(int(summary.trace_id, 16) for summary in reader.traces(where).items)
    assert listed == found


def test_a_score_that_no_longer_counts_is_not_found(store: SpanStore, reader: SpanReader) -> None:
    write(store, *turn(), said(0, at_ms=1), said(1, at_ms=2))
    assert not reader.traces(TraceFilter(score_max=0.0)).items
    assert reader.traces(TraceFilter(score_min=1.0)).items


def test_lines_of_scores_know_their_trace_and_go_page_by_page(
    store: SpanStore, reader: SpanReader
) -> None:
    for number in range(1, 8):
        write(store, *turn(number, f"s{number}"), said(number, about=number, at_ms=number))
    seen: list[ScoreLine] = []
    cursor: str | None = None
    for _ in range(10):
        page = reader.scores(limit=3, cursor=cursor)
        seen += page.items
        cursor = page.next
        if cursor is None:
            break
    assert [line.value for line in seen] == [7, 6, 5, 4, 3, 2, 1]
    line = seen[0]
    assert (line.service, line.model, line.session) == ("chatbot", "llama", "s7")
    assert line.trace_id == f"{7:032x}"
    for where in (
        ScoreFilter(name="helpful", value_min=3, value_max=3),
        ScoreFilter(session="s3"),
        ScoreFilter(trace_id=f"{3:032x}"),
        ScoreFilter(since=START / 1e9 + 0.0025, until=START / 1e9 + 0.0035),
    ):
        assert [item.value for item in reader.scores(where).items] == [3.0]
    assert not reader.scores(ScoreFilter(model="other")).items
    assert to_json(line)["name"] == "helpful"


def test_span_rows_have_what_was_said_about_them(store: SpanStore, reader: SpanReader) -> None:
    write(store, *turn(), said(1, identifier="a"), said(0, identifier="b"), said(None, name="tone", label="kind"))  # fmt: skip
    page = reader.spans(SpanFilter(name="turn"), ("name", "scores"))
    assert page.items == ({"name": "turn", "scores": {"helpful": 0.5, "tone": "kind"}},)
    assert reader.spans(SpanFilter(kind="llm")).items[0]["scores"] == {}


def test_reasons_are_searched(store: SpanStore, reader: SpanReader) -> None:
    write(store, *turn(), said(explanation="It names Peru."), *turn(8))
    found = reader.traces(TraceFilter(text="PERU")).items
    assert [int(summary.trace_id, 16) for summary in found] == [7]
    assert found[0].scores


# -- going -----------------------------------------------------------------------------------


@pytest.mark.parametrize("own_trace", [None, 99])
def test_a_session_takes_what_was_said_about_it_along(
    store: SpanStore, reader: SpanReader, own_trace: int | None
) -> None:
    canary = "CANARY-77"
    write(store, *turn(7, "private"), *turn(8, "public"))
    for number in range(2):
        write(store, said(number, explanation=canary, own_trace=own_trace, at_ms=number))
    if own_trace is not None:  # what else is in the judge's trace stays
        write(store, said(about=8, own_trace=99), span({}, trace=99, name="judging"))
    assert store.delete_session("private").result(60) == 1
    assert len(reader.scores().items) == (0 if own_trace is None else 1)
    assert not reader.traces(TraceFilter(text=canary)).items
    left = {span.name for span in reader.trace(f"{99:032x}")}
    assert left == (set() if own_trace is None else {"score", "judging"})
    assert reader.facets().services == ("chatbot",)
    stats, traces = reader.stats(), [7] if own_trace is None else [7, 99]
    assert stats.traces == len(traces)
    files = b"".join(file.read_bytes() for file in store.path.parent.glob("spans.db*"))
    assert canary.encode() not in files


def test_scores_go_with_their_trace_by_age(tmp_path: Path) -> None:
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", clock_ns=clock)
    write(store, *turn(), said())
    clock.forward(40 * 86400)
    store.expire().result(60)
    reader = store.reader()
    assert reader.scores().items == ()
    assert reader.stats().spans == reader.stats().traces == 0
    assert reader.facets().scores == ()
    reader.close()
    store.close()


orders = st.permutations(range(7))


@given(orders)
@settings(max_examples=25, deadline=None)
def test_any_order_of_arrival_makes_the_same_store(order: list[int]) -> None:
    made = [
        *turn(7, "s"),
        *turn(8),
        said(0, at_ms=5, about=7),
        said(1, at_ms=6, about=7, own_trace=99),
        said(1, about=8, scope="trace."),
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = SpanStore(Path(folder) / "spans.db", clock_ns=Clock())
        for at in order:
            write(store, made[at])
        reader = store.reader()
        summaries = {int(s.trace_id, 16): s for s in reader.traces().items}
        assert set(summaries) == {7, 8}
        assert summaries[7].scores == (ScoreMean("helpful", 1.0, "", 1),)
        assert (summaries[7].spans, summaries[7].start_ns) == (2, START)
        assert [session.session for session in reader.sessions().items] == ["s"]
        reader.close()
        store.close()


# -- files of before -------------------------------------------------------------------------

_OLD_SPANS = [name for name in schema.SPAN_FIELDS if name != "feedback"]


def test_a_file_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    db = schema.open_writer(path, schema.MIGRATIONS[:1])
    numbers = itertools.count(1)
    for row in rows(*turn()):
        number = next(numbers)
        values = [getattr(row, name) for name in _OLD_SPANS]
        columns = ", ".join(("id", "received_ns", *_OLD_SPANS))
        marks = ", ".join("?" * (len(values) + 2))
        db.execute(f"INSERT INTO spans ({columns}) VALUES ({marks})", (number, 1, *values))
        body = zstandard.compress(row.payload)
        db.execute("INSERT INTO payloads VALUES (?, ?, ?, ?)", (number, "", "", body))
    db.execute("UPDATE meta SET value = 2 WHERE key = 'spans'")
    db.close()
    store = SpanStore(path, clock_ns=Clock())
    write(store, said(explanation="since"))
    reader = store.reader()
    assert scores(reader) == ONE
    assert reader.traces().items[0].scores
    reader.close()
    store.close()
