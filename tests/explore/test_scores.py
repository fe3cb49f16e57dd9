"""Scores in frames, pictures and comparisons, from a file and from a control plane's answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from llm_observe.explore import Traces, Truncated, open
from llm_observe.explore.frames import DEFAULT, SCORE_COLUMNS
from llm_observe.spanstore.model import UnknownColumn
from tests.cli.plane import serving
from tests.explore.seed import AFTER, BEFORE, attribute, request, span, turn
from tests.explore.test_notebook import executed, output_of

TURNS = 10


def judged(number: int, value: float | None, name: str = "helpful", label: str = "") -> Any:
    """A score of the whole turn, a day later."""
    said: dict[str, Any] = {"name": name, "annotator_kind": "HUMAN"}
    said |= {} if value is None else {"score": value}
    said |= {"label": label} if label else {}
    made = span(number, 20 + len(name), "score", 86_400_000, 0, {})
    made["attributes"] = [
        attribute(f"annotations.0.annotation.{key}", item) for key, item in said.items()
    ]
    made["links"] = [{"traceId": f"{number + 1:032x}", "spanId": f"{(number + 1) * 16:016x}"}]
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the turns before a change of the settings, half after; the later ones are better."""
    path = tmp_path_factory.mktemp("scores") / "lines.jsonl"
    numbers = [*range(TURNS // 2), *range(20, 20 + TURNS // 2)]
    requests = [request(turn(number)) for number in numbers]
    requests += [request([judged(number, float(number >= 20))]) for number in numbers[:-1]]
    requests.append(request([judged(0, None, "tone", "rude")]))
    path.write_text("\n".join(map(json.dumps, requests)))
    return path


@pytest.fixture
def traces(file: Path) -> Iterator[Traces]:
    with open(file) as opened:
        yield opened


def test_a_frame_has_a_column_for_each_score(traces: Traces) -> None:
    found = traces.spans(kind="chain")
    assert tuple(found.columns) == (*DEFAULT, "score.helpful", "score.tone")
    assert found["score.helpful"].dtype == "float64"
    assert found["score.helpful"].sum() == TURNS // 2 - 1
    assert found["score.helpful"].isna().sum() == 1
    assert found["score.tone"].dropna().tolist() == ["rude"]


def test_a_column_of_one_score_is_there_even_where_nothing_was_judged(traces: Traces) -> None:
    found = traces.calls(("trace_id", "score.helpful"))
    assert tuple(found.columns) == ("trace_id", "score.helpful")
    assert found["score.helpful"].isna().all()
    with pytest.raises(UnknownColumn):
        traces.calls(("score.",))


def test_scores_as_a_frame_of_their_own(traces: Traces) -> None:
    found = traces.scores("helpful")
    assert tuple(found.columns) == SCORE_COLUMNS
    assert len(found) == TURNS - 1
    assert found.groupby("config_hash")["value"].mean().to_dict() == {BEFORE: 0.0, AFTER: 1.0}
    assert str(found["time"].dtype).startswith("datetime64")
    assert len(traces.scores(value_min=0.5)) == TURNS // 2 - 1
    assert len(traces.scores(session="nobody")) == 0
    with pytest.raises(UnknownColumn, match="did you mean model"):
        traces.scores(modle="x")
    with pytest.warns(Truncated, match="scores are loaded"):
        assert len(traces.scores(limit=2)) == 2


def test_before_and_after_a_change_is_also_how_good(traces: Traces) -> None:
    found = traces.compare(score="helpful")
    assert found["score.helpful"].to_dict() == {BEFORE: 0.0, AFTER: 1.0}
    assert found["judged"].to_dict() == {BEFORE: TURNS // 2, AFTER: TURNS // 2 - 1}
    assert found["calls"].sum() == TURNS
    assert "judged" not in traces.compare().columns
    assert traces.compare(score="nothing")["judged"].sum() == 0


def test_a_trace_shows_what_was_said_about_it(traces: Traces) -> None:
    trace = traces.trace(f"{1:032x}")
    assert "chat turn" in repr(trace)
    assert "helpful 0" in repr(trace)
    assert "tone rude" in repr(trace)
    assert "2 span(s)" in repr(trace)
    assert "helpful 0" in trace._repr_html_()
    assert "1 d" not in trace._repr_html_()


def test_a_control_plane_answers_as_its_file_does(
    file: Path, traces: Traces, tmp_path: Path
) -> None:
    with serving(tmp_path) as address:
        for line in file.read_bytes().splitlines():
            headers = {"content-type": "application/json"}
            httpx.post(f"{address}/v1/traces", content=line, headers=headers).raise_for_status()
        with open(address) as remote:
            pd.testing.assert_frame_equal(remote.spans(), traces.spans())
            pd.testing.assert_frame_equal(remote.scores(), traces.scores())
            asked: dict[str, Any] = {"value_min": 0.5, "model": "meta/llama-2-7b-chat"}
            pd.testing.assert_frame_equal(remote.scores(**asked), traces.scores(**asked))
            pd.testing.assert_frame_equal(
                remote.compare(score="helpful"), traces.compare(score="helpful")
            )


def test_the_notebook_shows_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = output_of(executed(file, monkeypatch), "scores = ")
    assert "helpful" in shown
    assert AFTER in shown
