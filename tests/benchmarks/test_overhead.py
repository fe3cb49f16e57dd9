"""The overhead benchmark runs, measures what it says, and counts what was exported."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, str(HERE / "backend.py")]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        assert server.wait(60) == 0
        server.stdout.close()


@pytest.fixture(scope="module")
def benchmark() -> Iterator[Any]:
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module("overhead")
    finally:
        sys.path.remove(str(HERE))


def job(benchmark: Any, url: str, measure: str) -> dict[str, Any]:
    """One job for our own row, in the environment of the tests."""
    ours = benchmark.CONTENDERS[0]
    asked = {
        "measure": measure,
        "client": ours.client,
        "setup": ours.setup,
        "url": url,
        "calls": 3,
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "traffic.py"), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"PYTHONPATH": str(HERE.parent), "PATH": ""},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_callers_thread_is_measured_with_and_without(benchmark: Any, url: str) -> None:
    found = job(benchmark, url, "thread")
    assert found["before"].keys() == found["after"].keys()
    assert found["before"].keys() >= {"call_us", "short_us", "long_us", "peak_kib"}
    assert all(value > 0 for value in found["before"].values())


def test_every_call_of_ours_is_exported_with_prompt_and_answer(benchmark: Any, url: str) -> None:
    found = job(benchmark, url, "process")
    exported = found["exported"]
    assert exported["spans"] == found["calls"] >= 6
    assert min(exported["prompts"], exported["answers"]) >= found["calls"]
    assert exported["attributes"] > found["calls"] * 30
    row = benchmark._process([found])
    assert row["content"]
    assert row["spans"] == 1


def test_start_up_is_measured(benchmark: Any, url: str) -> None:
    assert job(benchmark, url, "startup")["wall_ms"] > 0


def test_the_openai_compatible_service_answers_whole_and_in_pieces(url: str) -> None:
    script = "import json, sys, urllib.request as u\nfor s in (False, True):\n"
    script += " b = json.dumps({'stream': s}).encode()\n"
    script += " print(u.urlopen(u.Request(sys.argv[1], b)).read().count(b'canary-answer'))"
    target = f"{url}/openai/v1/chat/completions"
    done = subprocess.run(
        [sys.executable, "-c", script, target], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1"]


def test_of_each_side_the_least_disturbed_round_counts(benchmark: Any) -> None:
    runs = [
        {"before": {"x": 10.0}, "after": {"x": 19.0}},
        {"before": {"x": 12.0}, "after": {"x": 17.0}},
    ]
    assert benchmark._least(runs) == {"x": 7.0}


def test_a_row_of_ours_is_the_measure_of_the_others(
    benchmark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    same = {**dict.fromkeys(benchmark.COLUMNS, 2.0), "content": True}
    rows = [
        {"name": benchmark.OURS, "client": "replicate", **same},
        {"name": "Peer", "client": "openai", **same, "call_us": 3.0, "content": False},
    ]
    benchmark.show(rows)
    shown = capsys.readouterr().out
    assert "3.0 (1.50)" in shown
    assert "Peer exported calls without prompt or answer" in shown
    assert "not instrumented yet" in shown


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--calls", "999999"], ["--rounds", "x"]])
def test_counts_are_bounded(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "overhead.py"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert arguments[0] in done.stderr


@pytest.mark.parametrize("program", ["overhead.py", "startup.py"])
def test_the_programs_say_how_they_are_used(program: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / program), "--help"], capture_output=True, text=True, check=True
    )
    assert "--json" in done.stdout


def test_every_contender_has_an_environment_and_leaves_a_flush(benchmark: Any) -> None:
    for contender in benchmark.CONTENDERS:
        assert contender.client in ("replicate", "openai")
        assert "flush" in contender.setup
        assert "URL" in contender.setup
        compile(contender.setup, "<set-up>", "exec")
