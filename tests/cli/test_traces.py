"""Traces and scores in the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from llm_observe.cli.main import run
from llm_observe.cli.trace import tree
from llm_observe.cli.traces import COLUMNS, row, scores
from tests.cli.plane import serving
from tests.control.api.test_traces import TRACE, request, scored


def test_a_line_shows_what_a_trace_got() -> None:
    judged = [{"name": "helpful", "value": 0.5, "label": ""}, {"name": "tone", "value": None, "label": "kind"}]  # fmt: skip
    line = dict(zip(COLUMNS, row({"trace_id": "a" * 32, "scores": judged}), strict=True))
    assert line["scores"] == "helpful 0.5, tone kind"
    bare = dict(zip(COLUMNS, row({"trace_id": "a" * 32}), strict=True))
    assert bare["scores"] is None
    assert scores([{"name": "x", "value": None, "label": ""}]) == "x –"


def span(span_id: str, **more: Any) -> dict[str, Any]:
    return {"trace_id": "a" * 32, "span_id": span_id, "name": span_id, "duration_ms": 5.0, **more}


def test_a_tree_shows_scores_at_what_they_are_about() -> None:
    score = {
        "name": "helpful", "value": 0.0, "label": "thumb down", "annotator": "HUMAN",
        "identifier": "ada", "explanation": "It says \x1b[31mnothing.", "latest": True,
    }  # fmt: skip
    former = {**score, "value": 1.0, "latest": False}
    spans = [
        span("turn", scores=[score, former]),
        span("score", parent_id="turn", feedback=True),
    ]
    out = io.StringIO()
    Console(file=out, width=120).print(tree(spans))
    text = out.getvalue()
    assert "score: helpful 0 (thumb down), human ada: It says" in text
    assert "helpful 1" not in text
    assert "\x1b" not in text
    assert text.count("score") == 1


def test_filters_by_score_reach_the_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as server:
        monkeypatch.setenv("LLM_OBSERVE_SERVER", server)
        for body in (request(), scored(0.5)):
            httpx.post(f"{server}/v1/traces", json=body, trust_env=False).raise_for_status()
        for options, found in {
            ("--score", "helpful"): 1,
            ("--score", "helpful", "--score-max", "0.4"): 0,
            ("--score-min", "0.5"): 1,
            ("--score", "other"): 0,
        }.items():
            assert run(["traces", *options, "-o", "json"]) == 0
            assert len(json.loads(capsys.readouterr().out)) == found, options
        assert run(["trace", TRACE]) == 0
        assert "score: helpful 0.5: since" in capsys.readouterr().out
