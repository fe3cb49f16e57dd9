"""Frames, traces and sessions from files."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest

from llm_observe.errors import NotFound, StoreError
from llm_observe.explore import Traces, Truncated, open
from llm_observe.explore.frames import DEFAULT
from llm_observe.spanstore.model import UnknownColumn
from tests.explore.seed import AFTER, BEFORE, MODELS, TURNS


def test_lines_and_store_hold_the_same_spans(lines: Path, stored: Path) -> None:
    with open(lines) as from_lines, open(stored) as from_store:
        pd.testing.assert_frame_equal(from_lines.spans(), from_store.spans())


def test_a_frame_has_fixed_columns_and_types(traces: Traces) -> None:
    found = traces.spans()
    assert tuple(found.columns) == DEFAULT
    assert len(found) == found.attrs["total"] == 2 * TURNS
    assert str(found["start"].dtype) == "datetime64[ns, UTC]"
    assert found["start"].is_monotonic_increasing
    assert found["tokens_total"].dtype == "Int64"
    assert found["error"].dtype == bool
    assert found["ttft_ms"].dtype == "float64"


def test_an_empty_frame_has_the_same_columns_and_types(traces: Traces) -> None:
    empty, full = traces.spans(service="nobody"), traces.spans()
    assert empty.empty
    assert {*empty.columns} == {*full.columns}
    assert str(empty["start"].dtype) == str(full["start"].dtype)


def test_calls_are_the_model_calls_with_their_figures(traces: Traces) -> None:
    calls = traces.calls(config_hash=AFTER)
    assert len(calls) == TURNS // 2
    assert set(calls["kind"]) == {"llm"}
    assert set(calls["queue_ms"]) == {40.0}
    assert set(calls["ttft_ms"]) == {200.0}


def test_payload_comes_only_on_demand(traces: Traces) -> None:
    assert "input" not in traces.calls().columns
    calls = traces.calls(("trace_id",), payload=True, config_hash=AFTER)
    assert tuple(calls.columns) == ("trace_id", "input", "output", "parameters")
    assert "question <20>" in calls["input"].iloc[0]
    assert calls["output"].iloc[0] == "answer & 20"


def test_what_is_cut_off_is_said_with_numbers(traces: Traces) -> None:
    with pytest.warns(Truncated, match=f"^10 of {2 * TURNS} spans"):
        found = traces.spans(limit=10)
    assert len(found) == 10
    assert found.attrs["total"] == 2 * TURNS


def test_the_exact_number_is_not_called_cut_off(traces: Traces) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(traces.spans(limit=2 * TURNS)) == 2 * TURNS


@pytest.mark.parametrize(
    ("filters", "meant"), [({"modell": "x"}, "model"), ({"sesion": "x"}, "session")]
)
def test_a_misspelt_filter_is_refused_with_what_was_meant(
    traces: Traces, filters: dict[str, str], meant: str
) -> None:
    with pytest.raises(UnknownColumn, match=f"did you mean .*{meant}"):
        traces.spans(**filters)  # type: ignore[arg-type]  # wrong on purpose


def test_a_misspelt_column_is_refused_with_what_was_meant(traces: Traces) -> None:
    with pytest.raises(UnknownColumn, match=r"did you mean .*ttft_ms"):
        traces.spans(["tftt_ms"])
    with pytest.raises(UnknownColumn, match="config_hash"):
        traces.plot_latency(by="config_hsh")


def test_times_may_be_written_as_people_write_them(traces: Traces) -> None:
    middle = traces.calls()["start"].iloc[TURNS // 2].floor("s")
    assert len(traces.calls(since=middle)) == TURNS // 2
    assert len(traces.calls(until=str(middle))) == TURNS // 2
    assert len(traces.calls(since=middle.timestamp())) == TURNS // 2


def test_errors_can_be_filtered(traces: Traces) -> None:
    failed = traces.calls(error=True)
    assert set(failed["error_type"]) == {"ModelError"}
    assert len(failed) + len(traces.calls(error=False)) == TURNS


def test_before_and_after_a_change_is_a_group_by(traces: Traces) -> None:
    table = traces.compare()
    assert list(table.index) == [BEFORE, AFTER]
    assert list(table["calls"]) == [TURNS // 2, TURNS // 2]
    medians = table["p50_ms"].to_dict()
    assert medians[AFTER] < medians[BEFORE]
    assert table["errors"].sum() == 3


def test_a_trace_says_where_the_time_went(traces: Traces) -> None:
    trace = traces.trace(f"{1:032x}")
    assert len(trace.spans) == 2
    assert "queue and cold start 900 ms (35%)" in trace.why()
    assert trace.why().endswith("most of it generation.")
    assert "replicate.run" in repr(trace)


def test_a_trace_or_session_that_is_not_there_is_said(traces: Traces) -> None:
    with pytest.raises(NotFound, match="no trace"):
        traces.trace("f" * 32)
    with pytest.raises(NotFound, match="no session"):
        traces.session("nobody")


def test_a_session_is_a_chat_in_order(traces: Traces) -> None:
    turns = list(traces.session("session-3").turns())
    assert [content for role, content, _ in turns if role == "user"] == [
        f"question <{number}>" for number in range(30, 40)
    ]
    assert all(
        "first token after 200 ms" in facts for role, _, facts in turns if role == "assistant"
    )


def test_a_session_without_content_names_the_level_that_hid_it(traces: Traces) -> None:
    assert "capture.level was metadata" in repr(traces.session("session-0"))


def test_plots_have_a_colour_per_group_and_both_percentiles(traces: Traces) -> None:
    names = {line.name for line in traces.plot_latency().data}
    assert names == {name for model in MODELS for name in (model, f"{model} p50", f"{model} p95")}
    by_config = traces.plot_ttft(by="config_hash")
    fastest = {line.name: min(line.y) for line in by_config.data}
    assert fastest[f"{AFTER} p50"] == 0.2
    assert fastest[f"{BEFORE} p50"] == 1.3


def test_tokens_are_counted_whole(traces: Traces) -> None:
    figure = traces.plot_tokens(by=None)
    calls = traces.calls()
    drawn = {bars.name: sum(bars.y) for bars in figure.data}
    assert drawn == {"in": calls["tokens_in"].sum(), "out": calls["tokens_out"].sum()}


def test_nothing_to_draw_is_said_in_the_plot(traces: Traces) -> None:
    for figure in (traces.plot_latency(model="none"), traces.plot_tokens(model="none")):
        assert figure.layout.annotations[0].text == "no calls to draw"


def test_a_series_without_metrics_is_an_empty_frame(traces: Traces) -> None:
    found = traces.series("calls", by="model", hours=1)
    assert list(found.columns) == ["time", "label", "count", "sum", "p50", "p95", "p99"]
    assert found["count"].sum() == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not json\n", "line 1"), (b'\n{"resourceSpans": 7}\n', "line 2")],
)
def test_a_file_that_is_no_otlp_is_refused_with_its_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "other.jsonl"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=reason):
        open(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no file"):
        open(tmp_path / "nothing.db")


def test_a_folder_stands_for_the_store_in_it(stored: Path) -> None:
    with open(stored.parent) as found:
        assert len(found.calls()) == TURNS
