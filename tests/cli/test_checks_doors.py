"""Doctor on the ways into a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_observe.cli.checks_doors import OPENINFERENCE, OTEL, Point, here, points, taken
from llm_observe.cli.finding import State
from tests.cli.plane import serving, until
from tests.programs import RUN, World, servers

OURS = (
    Point(OTEL, "replicate", "llm_observe.instrumentor", "llm-observe"),
    Point(OPENINFERENCE, "replicate", "llm_observe.instrumentor", "llm-observe"),
)
BOTH = {OTEL: True, OPENINFERENCE: True}


def said(*found: Point, environ: dict[str, str] | None = None, has: Any = BOTH) -> list[str]:
    return [f"{f.state}: {f.sentence}" for f in here(found, environ or {}, has)]


def test_our_entry_points_are_found_in_this_environment() -> None:
    assert {*OURS} <= {*points()}


def test_all_doors_are_open() -> None:
    sentences = said(*OURS)
    assert len(sentences) == 4
    assert all(sentence.startswith("ok: ") for sentence in sentences)
    assert "llm-observe run" in sentences[1]
    assert "opentelemetry-instrument instruments replicate" in sentences[2]
    assert "register(auto_instrument=True)" in sentences[3]


def test_what_is_not_installed_is_no_fault() -> None:
    sentences = said(*OURS, has={OTEL: False, OPENINFERENCE: False})
    assert [sentence.partition(":")[0] for sentence in sentences] == ["ok", "ok", "note", "note"]


@pytest.mark.parametrize("left_out", ["replicate", "*", "flask , replicate"])
def test_an_instrumentor_that_is_left_out_is_a_warning(left_out: str) -> None:
    sentences = said(*OURS, environ={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": left_out})
    assert "warning: opentelemetry-instrument leaves out" in sentences[2]


def test_an_installation_from_before_the_entry_points_is_a_warning() -> None:
    assert any("install llm-observe anew" in sentence for sentence in said())


def test_others_are_named_and_rivals_are_a_warning() -> None:
    rival = Point(OTEL, "replicate", "opentelemetry.instrumentation.replicate", "otel-replicate")
    other = Point(OPENINFERENCE, "openai", "openinference.instrumentation.openai", "oi-openai")
    sentences = said(*OURS, rival, other)
    assert any(s.startswith("warning: otel-replicate instruments replicate too") for s in sentences)
    assert any(s.startswith("note: Others instrument openai") for s in sentences)


def agent(**about: Any) -> dict[str, Any]:
    parts = [
        {"name": "replicate", "version": "1.0.7", "state": "active"},
        {"name": "openai", "version": "", "state": "absent"},
    ]
    told = {"llm_observe.version": "1"} | about
    return {"description": {"non_identifying": told}, "instrumentors": parts}


def test_an_agent_says_by_which_door_it_came() -> None:
    assert taken(agent()) == "observed by observe(): replicate 1.0.7 active"
    run = taken(agent(**{"llm_observe.door": "run", "llm_observe.tracer_provider": "a.B"}))
    assert run == "observed by llm-observe run on the app's own a.B: replicate 1.0.7 active"
    assert taken({"description": {"non_identifying": {}}}) == ""
    assert taken({}) == ""


def test_states_are_those_of_doctor() -> None:
    assert {finding.state for finding in here(OURS, {}, BOTH)} == {State.OK}


def test_doctor_tells_it_of_a_program_that_runs(tmp_path: Path) -> None:
    with serving(tmp_path / "plane") as url, servers() as (replicate, sink, otlp):
        place = World(tmp_path, replicate, sink, otlp)
        program = subprocess.Popen(
            [*RUN, "--server", url, "--service-name", "shop", "python", "-c", "input()"],
            cwd=tmp_path, env=place.environ(LLM_OBSERVE_STATE_DIR=str(tmp_path / "state")),
            stdin=subprocess.PIPE,
        )  # fmt: skip
        doctor = (
            sys.executable,
            "-m",
            "llm_observe.cli",
            "doctor",
            "--service",
            "shop",
            "-o",
            "json",
        )

        def told() -> str:
            done = place.plain(*doctor, "--server", url)
            found = json.loads(done.stdout)
            return "\n".join(item["sentence"] for item in found if item["area"] == "agent")

        try:
            until(lambda: "observed by llm-observe run: replicate 1.0.7 waiting" in told())
        finally:
            program.communicate(b"\n")
        assert program.returncode == 0
