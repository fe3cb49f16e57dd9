from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.errors import StoreError
from llm_observe.spanstore import tracequery
from llm_observe.spanstore.model import (
    Page,
    SpanFilter,
    TraceFilter,
    TraceSummary,
    UnknownColumn,
    to_json,
)
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import MS, START, llm, rows, span, write


@pytest.fixture
def reader(store: SpanStore) -> Iterator[SpanReader]:
    opened = store.reader()
    yield opened
    opened.close()


def walk(ask: Callable[[str | None], Page[Any]], bound: int = 500) -> list[Any]:
    """All pages, one after the other."""
    found: list[Any] = []
    cursor = None
    for _ in range(bound):
        page = ask(cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            return found
    pytest.fail("the pages do not end")


@dataclass(frozen=True)
class Made:
    """What a made trace is, as the filters see it."""

    number: int
    service: str
    model: str
    session: str
    failed: bool
    start_ms: int
    duration_ms: int
    word: str


made_traces = st.lists(
    st.builds(
        Made,
        number=st.integers(1, 10**6),
        service=st.sampled_from(["chatbot", "search"]),
        model=st.sampled_from(["llama", "other"]),
        session=st.sampled_from(["", "a", "b"]),
        failed=st.booleans(),
        start_ms=st.integers(0, 5),
        duration_ms=st.sampled_from([10, 500]),
        word=st.sampled_from(["apple", "Äpfel", "pear"]),
    ),
    max_size=25,
    unique_by=lambda made: made.number,
)
filters = st.builds(
    TraceFilter,
    service=st.sampled_from(["", "chatbot", "search", "nowhere"]),
    model=st.sampled_from(["", "llama", "other"]),
    session=st.sampled_from(["", "a"]),
    error=st.sampled_from([None, True, False]),
    text=st.sampled_from(["", "APPLE", "äpfel", "zebra"]),
    since=st.sampled_from([None, START / 1e9 + 0.002]),
    until=st.sampled_from([None, START / 1e9 + 0.004]),
    min_duration_ms=st.sampled_from([None, 100.0]),
)


def fits(made: Made, where: TraceFilter) -> bool:
    start_s = (START + made.start_ms * MS) / 1e9
    return (
        where.service in ("", made.service)
        and where.model in ("", made.model)
        and where.session in ("", made.session)
        and where.error in (None, made.failed)
        and where.text.lower() in made.word.lower()
        and (where.since is None or start_s >= where.since)
        and (where.until is None or start_s < where.until)
        and made.duration_ms >= (where.min_duration_ms or 0)
    )


@contextmanager
def stored(folder: Path, made: list[Made]) -> Iterator[tuple[SpanStore, SpanReader]]:
    store = SpanStore(folder / "spans.db")
    for each in made:
        shown = llm(
            f"an {each.word}",
            model=each.model,
            session=each.session,
            trace=each.number,
            start_ms=each.start_ms,
            duration_ms=each.duration_ms,
            error="broken" if each.failed else None,
        )
        store.append(rows(shown, service=each.service), [])
    store.append(rows(), []).result(60)
    reader = store.reader()
    yield store, reader
    reader.close()
    store.close()


@settings(deadline=None, max_examples=40)
@given(made_traces, filters, st.integers(1, 7))
def test_pages_cover_what_fits_once_and_newest_first(
    tmp_path_factory: pytest.TempPathFactory, made: list[Made], where: TraceFilter, limit: int
) -> None:
    with stored(tmp_path_factory.mktemp("spans"), made) as (_, reader):
        found = walk(lambda cursor: reader.traces(where, limit, cursor))
        expected = sorted(
            ((each.start_ms, f"{each.number:032x}") for each in made if fits(each, where)),
            reverse=True,
        )
        assert [item.trace_id for item in found] == [trace_id for _, trace_id in expected]


@settings(deadline=None, max_examples=20)
@given(made_traces, st.integers(1, 7))
def test_pages_stay_right_while_newer_traces_arrive(
    tmp_path_factory: pytest.TempPathFactory, made: list[Made], limit: int
) -> None:
    with stored(tmp_path_factory.mktemp("spans"), made) as (store, reader):

        def ask(cursor: str | None) -> Page[TraceSummary]:
            page = reader.traces(limit=limit, cursor=cursor)
            write(store, llm(start_ms=10))
            return page

        found = [item.trace_id for item in walk(ask)]
        assert sorted(found) == sorted(f"{each.number:032x}" for each in made)


@settings(deadline=None, max_examples=20)
@given(made_traces, st.integers(1, 7))
def test_span_pages_cover_everything_once(
    tmp_path_factory: pytest.TempPathFactory, made: list[Made], limit: int
) -> None:
    with stored(tmp_path_factory.mktemp("spans"), made) as (_, reader):
        where = SpanFilter(service="chatbot")
        found = walk(lambda c: reader.spans(where, ["trace_id", "output"], limit, c))
        expected = [f"{each.number:032x}" for each in made if each.service == "chatbot"]
        assert sorted(row["trace_id"] for row in found) == sorted(expected)
        assert all(row == {"trace_id": row["trace_id"], "output": "hi"} for row in found)


def test_a_trace_is_found_by_the_model_or_service_of_any_of_its_spans(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, span(trace=1, number=1, name="turn"))
    write(store, llm(trace=1, parent=1, model="small"), service="engine")
    write(store, llm(trace=1, parent=1, model="large", start_ms=5), service="engine")
    for where in (
        TraceFilter(model="small"),
        TraceFilter(model="large"),
        TraceFilter(service="engine"),
        TraceFilter(service="chatbot", model="large"),
    ):
        (summary,) = reader.traces(where).items
        assert (summary.name, summary.model, summary.models) == ("turn", "small", 2)
    assert reader.facets().models == ("large", "small")
    assert reader.facets().services == ("chatbot", "engine")


def test_a_root_that_comes_late_moves_the_trace_but_does_not_double_it(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, llm(trace=1, number=2, parent=1, start_ms=50, name="inner"))
    write(store, span(trace=1, number=1, start_ms=0, duration_ms=200, name="turn"))
    for where in (TraceFilter(), TraceFilter(model="llama"), TraceFilter(service="chatbot")):
        (summary,) = reader.traces(where).items
        assert (summary.name, summary.start_ns, summary.duration_ms) == ("turn", START, 200)


def test_a_trace_is_read_whole_with_content_and_timings(
    store: SpanStore, reader: SpanReader
) -> None:
    timed = {"gen_ai.response.time_to_first_chunk": 0.04, "llm_observe.queue_ms": 15}
    inner = llm("why?", "because", trace=1, parent=1, start_ms=20, attributes=timed)
    write(store, inner, span(trace=1, number=1, name="turn"))
    root, call = reader.trace(f"{1:032x}")
    assert (root.name, root.parent_id, call.parent_id) == ("turn", "", root.span_id)
    assert (call.offset_ms, call.duration_ms, call.kind) == (20, 100, "llm")
    assert [message.content for message in call.input] == ["why?"]
    assert call.output_text == "because"
    timing = call.timing
    assert (timing.queue_ms, timing.ttft_ms, timing.prefill_ms) == (15, 40, 25)
    assert timing.generation_ms == 60
    assert timing.tokens_per_s == pytest.approx(4 / 0.06)
    assert call.resource["service.name"] == "chatbot"
    assert to_json(call)["attributes"]["llm.model_name"] == "llama"


@pytest.mark.parametrize("trace_id", ["", "zz", "00", f"{9:032x}", "ü" * 32])
def test_a_trace_that_is_not_there_is_empty(reader: SpanReader, trace_id: str) -> None:
    assert reader.trace(trace_id) == []
    assert reader.trace_size(trace_id) == 0


def test_a_long_trace_is_read_from_its_start_and_its_size_is_known(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, *(span(trace=1, number=n, start_ms=n, name=f"step {n}") for n in range(1, 6)))
    assert [found.name for found in reader.trace(f"{1:032x}", 2)] == ["step 1", "step 2"]
    assert reader.trace_size(f"{1:032x}") == 5


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "ü", "A" * 4000])
def test_a_foreign_cursor_is_refused(reader: SpanReader, cursor: str) -> None:
    for ask in (reader.traces, reader.spans, reader.sessions):
        with pytest.raises(StoreError, match="cursor"):
            ask(cursor=cursor)


def test_an_unknown_column_is_refused_with_the_nearest(reader: SpanReader) -> None:
    with pytest.raises(UnknownColumn, match=r"'ttft'; there is .*ttft_ms"):
        reader.spans(columns=["ttft"])


def test_spans_are_filtered_by_the_session_of_their_trace(
    store: SpanStore, reader: SpanReader
) -> None:
    write(store, span({"session.id": "s"}, trace=1, number=1), llm(trace=1, parent=1, number=2))
    write(store, llm(trace=3))
    page = reader.spans(SpanFilter(session="s", kind="llm"), ["span_id", "parent_id", "error"])
    assert page.items == ({"span_id": f"{2:016x}", "parent_id": f"{1:016x}", "error": False},)


def test_the_default_columns_need_no_payload(store: SpanStore, reader: SpanReader) -> None:
    write(store, llm("secret words"))
    (row,) = reader.spans().items
    assert "secret" not in str(row)
    assert row["tokens_total"] == 7


def test_a_page_of_large_payloads_is_shorter_and_goes_on(
    store: SpanStore, reader: SpanReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_observe.spanstore.spanquery.MAX_PAYLOAD_BYTES", 1000)
    write(store, *(llm("word " * 40, start_ms=n) for n in range(20)))
    page = reader.spans(columns=["input"], limit=20)
    assert 0 < len(page.items) < 20
    assert len(walk(lambda c: reader.spans(columns=["input"], limit=20, cursor=c))) == 20


def test_text_is_found_wherever_content_is(store: SpanStore, reader: SpanReader) -> None:
    quoted = (
        '[{"role": "user", "parts": [{"type": "text", "content": "a \\"quoted\\" w\\u00f6rd"}]}]'
    )
    write(store, llm("x" * 500 + "deep inside", trace=1))
    write(store, span({"gen_ai.input.messages": quoted}, trace=2))
    write(store, llm(trace=3, error="connection RESET by peer"))
    write(store, span(trace=4, name="GET /weather"))

    def found(text: str) -> list[int]:
        return sorted(
            int(item.trace_id, 16) for item in reader.traces(TraceFilter(text=text)).items
        )

    assert found("Deep Inside") == [1]
    assert found('"quoted" WÖRD') == [2]
    assert found("reset by") == [3]
    assert found("weather") == [4]
    assert found("llm.model_name") == []


def test_a_search_stops_at_its_bound_and_can_go_on(
    store: SpanStore, reader: SpanReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracequery, "SEARCH_SPANS", 10)
    monkeypatch.setattr(tracequery, "_SEARCH_TRACES", 4)
    write(store, llm("needle"), *(llm("hay", start_ms=n) for n in range(1, 36)))
    first = reader.traces(TraceFilter(text="needle"))
    assert (first.items, first.partial) == ((), True)
    assert len(walk(lambda c: reader.traces(TraceFilter(text="needle"), cursor=c))) == 1


def test_sessions_are_listed_last_active_first(store: SpanStore, reader: SpanReader) -> None:
    write(store, *(llm(session=f"s{n}", start_ms=n, trace=n) for n in range(1, 8)))
    write(store, llm(session="s1", start_ms=100, trace=50, error="x"))
    write(store, llm(session="other", trace=60), service="search")
    found = walk(lambda cursor: reader.sessions("chatbot", 3, cursor))
    assert [item.session for item in found] == ["s1", "s7", "s6", "s5", "s4", "s3", "s2"]
    assert (found[0].traces, found[0].errors, found[0].tokens_total) == (2, 1, 14)
    assert [item.session for item in reader.sessions("search").items] == ["other"]


def test_facets_are_bounded(store: SpanStore, reader: SpanReader) -> None:
    write(store, *(llm(model=f"m{n:04}", session=f"s{n}") for n in range(300)))
    facets = reader.facets()
    assert len(facets.models) == len(facets.sessions) == 200


def test_many_threads_ask_one_reader(store: SpanStore, reader: SpanReader) -> None:
    write(store, *(llm(trace=n) for n in range(1, 30)))
    with ThreadPoolExecutor(12) as pool:
        pages = list(pool.map(lambda _: reader.traces(limit=100), range(60)))
    assert all(len(page.items) == 29 for page in pages)


def test_a_question_that_takes_too_long_is_given_up(store: SpanStore) -> None:
    write(store, *(llm(trace=n) for n in range(1, 1500)))
    hurried = SpanReader(store.path, timeout_s=-1)
    with pytest.raises(StoreError, match="narrow it down"):
        walk(lambda _: hurried.traces(TraceFilter(min_duration_ms=10**9), limit=1))
    hurried.close()


def test_a_closed_reader_opens_again_when_asked(store: SpanStore, reader: SpanReader) -> None:
    write(store, llm())
    reader.close()
    assert reader.stats().spans == 1


def test_a_copy_on_a_read_only_disk_can_be_read(store: SpanStore, tmp_path: Path) -> None:
    write(store, llm())
    store.close()
    folder = tmp_path / "archive"
    folder.mkdir()
    copy = folder / "spans ?#%.db"
    copy.write_bytes(store.path.read_bytes())
    folder.chmod(0o500)
    reader = SpanReader(copy)
    assert reader.stats().spans == 1
    reader.close()
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "where",
    [
        TraceFilter(),
        TraceFilter(model="m"),
        TraceFilter(service="s"),
        TraceFilter(session="s"),
        TraceFilter(user="u"),
        TraceFilter(config_hash="c"),
        TraceFilter(error=True),
        TraceFilter(service="s", model="m", error=True),
    ],
)
def test_every_filter_of_the_list_walks_an_index_in_order(
    store: SpanStore, where: TraceFilter
) -> None:
    plan = explained(store.path, where)
    assert "USING INDEX" in plan or "USING PRIMARY KEY" in plan
    assert "TEMP B-TREE" not in plan


def explained(path: Path, where: TraceFilter) -> str:
    """SQLite's plan for the second page of the traces list."""
    db = sqlite3.connect(path)
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    tracequery.list_traces(db, where, 50, (START, bytes(16)))
    db.set_trace_callback(None)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]
    db.close()
    return "; ".join(plan)


def test_finds_of_redaction_are_a_column_by_rule_and_one_in_all(
    store: SpanStore, reader: SpanReader
) -> None:
    finds = {"llm_observe.redaction.finds.email": 2, "llm_observe.redaction.finds.a.b": 1}
    write(store, llm("to [email]", attributes=finds), llm("hello"))
    found = reader.spans(columns=["finds", "finds_total"]).items
    told = {tuple(sorted(row["finds"].items())) for row in found}
    assert told == {(("a.b", 1), ("email", 2)), ()}
    assert sorted(row["finds_total"] for row in found) == [0, 3]
