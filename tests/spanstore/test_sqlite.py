from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.errors import StoreError
from llm_observe.spanstore.model import Receipt, Retention, StoreBusy, TraceFilter
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import Clock, llm, point, rows, span, write


def test_what_was_acknowledged_is_there_for_a_reader(store: SpanStore) -> None:
    receipt = store.append(rows(llm(trace=1), llm(trace=1)), [point({0: 1})]).result(60)
    assert receipt == Receipt(spans=2, points=1)
    reader = SpanReader(store.path)
    assert reader.stats().spans == 2
    assert [summary.spans for summary in reader.traces().items] == [2]
    reader.close()


def test_a_span_that_comes_twice_is_stored_once(store: SpanStore) -> None:
    once = rows(llm(trace=1, number=5))
    assert store.append([*once, *once], []).result(60) == Receipt(spans=1, repeated=1)
    assert store.append(once, []).result(60) == Receipt(spans=0, repeated=1)
    reader = store.reader()
    assert reader.traces().items[0].tokens_total == 7
    assert len(reader.trace(f"{1:032x}")) == 1
    reader.close()


def test_newest_grows_with_each_commit(store: SpanStore) -> None:
    reader = store.reader()
    seen = [reader.newest()]
    for spans, points in ((rows(llm()), []), ([], [point({0: 1})])):
        store.append(spans, points).result(60)
        seen.append(reader.newest())
    assert seen == sorted(set(seen))
    reader.close()


def test_beyond_the_bound_in_bytes_the_store_is_busy(tmp_path: Path) -> None:
    store = SpanStore(tmp_path / "spans.db", max_pending_bytes=100_000)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # the writer has to wait
    waiting, busy = fill(store)
    assert "the limit is 100000" in str(busy)
    assert busy.retry_after_s > 0
    assert 1 < len(waiting) < 40
    other.execute("ROLLBACK")
    other.close()
    assert all(future.result(60).spans == 1 for future in waiting)
    assert store.append(rows(llm()), []).result(60).spans == 1
    store.close()


def fill(store: SpanStore) -> tuple[list[Future[Receipt]], StoreBusy]:
    waiting: list[Future[Receipt]] = []
    for _ in range(100):
        try:
            waiting.append(store.append(rows(llm("x" * 5000)), []))
        except StoreBusy as busy:
            return waiting, busy
    pytest.fail("the store took all")


def test_one_request_larger_than_the_bound_is_taken_when_nothing_waits(tmp_path: Path) -> None:
    store = SpanStore(tmp_path / "spans.db", max_pending_bytes=10)
    assert store.append(rows(llm()), []).result(60).spans == 1
    store.close()


def test_rows_that_cannot_be_written_fail_alone(store: SpanStore) -> None:
    unwritable: Any = object()
    poison = [replace(rows(llm())[0], name=unwritable)]
    results = [
        store.append(rows(llm()), []),
        store.append(poison, []),
        store.append(rows(llm()), []),
    ]
    assert results[0].result(60).spans == 1
    assert results[2].result(60).spans == 1
    with pytest.raises(StoreError, match="not written"):
        results[1].result(60)


def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    store = SpanStore(tmp_path / "spans.db")
    futures = [store.append(rows(llm()), []) for _ in range(50)]
    store.close()
    store.close()
    assert all(future.done() for future in futures)
    reader = SpanReader(tmp_path / "spans.db")
    assert reader.stats().spans == 50
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        store.append(rows(llm()), [])


def test_a_second_writer_is_refused(store: SpanStore) -> None:
    with pytest.raises(StoreError, match="in use by another llm-observe"):
        SpanStore(store.path)


def test_a_deleted_session_leaves_no_byte_behind(store: SpanStore) -> None:
    canary, kept = "canary-in-a-prompt-7141", "kept-in-a-prompt-2718"
    write(store, *(llm(canary, canary, session="private", trace=n) for n in range(1, 60)))
    write(store, llm(kept, session="public", trace=90), span(trace=1, parent=3))
    assert canary in in_files(store.path)
    assert store.delete_session("private").result(60) == 59
    assert canary not in in_files(store.path)
    assert kept in in_files(store.path)
    reader = store.reader()
    assert reader.stats().spans == 1
    assert reader.facets().sessions == ("public",)
    assert not reader.traces(TraceFilter(text=canary)).items
    assert store.delete_session("private").result(60) == 0
    assert store.delete_session("").result(60) == 0
    assert reader.stats().spans == 1
    reader.close()


def in_files(path: Path) -> str:
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    return "".join(file.read_bytes().decode("latin-1") for file in files)


def test_a_log_that_a_reader_holds_is_emptied_later(tmp_path: Path) -> None:
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", clock_ns=clock)
    write(store, llm("canary-4242", session="private"))
    reader = store.reader()
    with reader._connection() as db:
        db.execute("SELECT count(*) FROM spans").fetchone()
        store.delete_session("private").result(60)
    store.expire().result(60)
    assert "canary-4242" not in in_files(store.path)
    reader.close()
    store.close()


def test_whole_traces_go_when_they_are_too_old(tmp_path: Path) -> None:
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", Retention(max_age_s=3600), clock_ns=clock)
    write(store, *(llm(trace=n, session="old") for n in range(1, 300)))
    clock.forward(3000)
    write(store, llm(trace=1), llm(trace=500, session="new"))
    clock.forward(1000)
    store.expire().result(60)
    reader = store.reader()
    assert sorted(summary.spans for summary in reader.traces().items) == [1, 2]
    assert set(reader.facets().sessions) == {"old", "new"}
    clock.forward(3600)
    store.expire().result(60)
    assert reader.stats().spans == reader.stats().traces == 0
    assert reader.facets().services == reader.facets().sessions == ()
    reader.close()
    store.close()


def test_retention_is_applied_between_commits(tmp_path: Path) -> None:
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", Retention(max_age_s=60), clock_ns=clock)
    write(store, llm(trace=1))
    reader = store.reader()
    clock.forward(120)
    for _ in range(200):
        write(store, llm(trace=2))
        if reader.stats().traces == 1:
            break
    assert reader.stats().traces == 1
    reader.close()
    store.close()


def test_the_file_stays_within_its_size(tmp_path: Path) -> None:
    bound = 2 * 1024 * 1024
    clock = Clock()
    store = SpanStore(tmp_path / "spans.db", Retention(max_bytes=bound), clock_ns=clock)
    for start in range(0, 2000, 250):
        clock.forward(1)
        many = [llm(os.urandom(1500).hex(), trace=n + 1) for n in range(start, start + 250)]
        write(store, *many)
    store.expire().result(60)
    reader = store.reader()
    assert 0 < reader.stats().traces < 2000
    assert reader.trace(f"{2000:032x}")
    reader.close()
    store.close()
    assert store.path.stat().st_size < bound + 3 * 1024 * 1024


def test_metrics_are_kept_coarsely_for_longer(tmp_path: Path) -> None:
    clock = Clock()
    kept = Retention(max_age_s=0, fine_metrics_age_s=3600, metrics_age_s=7200)
    store = SpanStore(tmp_path / "spans.db", kept, clock_ns=clock)
    store.append([], [point({0: 5}, time_s=1)]).result(60)
    resolutions = []
    for _ in range(3):
        store.expire().result(60)
        reader = store.reader()
        with reader._connection() as db:
            found = db.execute("SELECT DISTINCT resolution FROM rollups ORDER BY 1").fetchall()
        resolutions.append([resolution for (resolution,) in found])
        reader.close()
        clock.forward(4000)
    assert resolutions == [[10, 600], [600], []]
    assert store.append([], [point({0: 5}, time_s=9000)]).result(60).points == 1
    store.close()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=6))
def test_any_batches_of_repeated_spans_store_each_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    known = {n: rows(llm(trace=n % 5 + 1, number=n + 1, start_ms=n))[0] for n in range(31)}
    store = SpanStore(tmp_path_factory.mktemp("spans") / "spans.db")
    futures = [store.append([known[n] for n in batch], []) for batch in batches]
    new = sum(future.result(60).spans for future in futures)
    distinct = {n for batch in batches for n in batch}
    reader = store.reader()
    assert new == len(distinct) == reader.stats().spans
    assert {s.trace_id: s.tokens_total for s in reader.traces().items} == {
        f"{trace:032x}": 7 * sum(n % 5 + 1 == trace for n in distinct)
        for trace in {n % 5 + 1 for n in distinct}
    }
    reader.close()
    store.close()


WRITER = """
import sys
from pathlib import Path
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import llm, rows

store = SpanStore(Path(sys.argv[1]))
number = 0
while number < 200_000:
    futures = []
    for _ in range(5):
        batch = [llm("x" * 300, trace=number + n + 1, number=number + n + 1) for n in range(20)]
        futures.append(store.append(rows(*batch), []))
        number += 20
    for future in futures:
        future.result(60)
    print(number, flush=True)
"""


def test_kill_9_under_load_loses_no_acknowledged_span(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    for _ in range(3):
        path.unlink(missing_ok=True)
        acknowledged = killed_after(path, 8)
        store = SpanStore(path)
        reader = store.reader()
        found = {number for number in range(1, acknowledged + 1) if reader.trace(f"{number:032x}")}
        assert len(found) == acknowledged > 0
        assert store.append(rows(llm(trace=10**6)), []).result(60).spans == 1
        with reader._connection() as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        reader.close()
        store.close()


def killed_after(path: Path, lines: int) -> int:
    """Run a writer, kill it hard in the middle of its work; returns what it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().splitlines()
    return max(int(line) for line in said if line.strip())


READER = """
import sys
from pathlib import Path
from llm_observe.spanstore.query import SpanReader

reader = SpanReader(Path(sys.argv[1]))
last, rounds = -1, 0
for line in sys.stdin:
    newest, stats, page = reader.newest(), reader.stats(), reader.traces(limit=10)
    assert newest >= last, (newest, last)
    assert all(reader.trace(item.trace_id) for item in page.items)
    last, rounds = newest, rounds + 1
    print(rounds, stats.spans, flush=True)
"""


def test_a_reader_in_another_process_works_while_this_one_writes(store: SpanStore) -> None:
    write(store, llm())
    command = [sys.executable, "-c", READER, str(store.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        seen = []
        for _ in range(20):
            futures = [store.append(rows(llm("x" * 500), llm()), []) for _ in range(10)]
            reader.stdin.write("look\n")
            reader.stdin.flush()
            seen.append(int(reader.stdout.readline().split()[1]))
            assert all(future.result(60).spans == 2 for future in futures)
        reader.stdin.close()
        assert reader.wait(60) == 0
    assert seen == sorted(seen)
    assert seen[-1] > 300


def test_age_counts_from_arrival_by_the_clock_here(tmp_path: Path) -> None:
    clock = Clock()
    clock.forward(10 * 86400)  # the span's own clock is ten days behind
    store = SpanStore(tmp_path / "spans.db", Retention(max_age_s=3600), clock_ns=clock)
    write(store, llm(trace=1))
    store.expire().result(60)
    reader = store.reader()
    assert reader.stats().traces == 1
    clock.forward(3601)
    store.expire().result(60)
    assert reader.stats().traces == 0
    reader.close()
    store.close()
