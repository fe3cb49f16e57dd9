"""The same questions to a running control plane, with the same answers as from its file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx
import pandas as pd
import pytest

from llm_observe.cli.main import run
from llm_observe.cli.traces import new_traces
from llm_observe.control.client import ControlClient
from llm_observe.errors import NotFound, Unreachable
from llm_observe.explore import Traces, Truncated, open
from llm_observe.explore import sources as sources_module
from tests.cli.plane import serving
from tests.explore.seed import AFTER, TURNS


@pytest.fixture(scope="module")
def server(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("plane")) as address:
        for line in lines.read_bytes().splitlines():
            headers = {"content-type": "application/json"}
            answer = httpx.post(f"{address}/v1/traces", content=line, headers=headers)
            assert answer.status_code == 200, answer.text
        yield address


@pytest.fixture
def remote(server: str) -> Iterator[Traces]:
    with open(server) as found:
        yield found


def test_frames_are_those_of_the_file(remote: Traces, traces: Traces) -> None:
    pd.testing.assert_frame_equal(remote.spans(), traces.spans())
    pd.testing.assert_frame_equal(
        remote.calls(payload=True, config_hash=AFTER), traces.calls(payload=True, config_hash=AFTER)
    )
    pd.testing.assert_frame_equal(remote.compare(), traces.compare())


def test_frames_are_put_together_from_pages(
    remote: Traces, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "PAGE", 7)
    pd.testing.assert_frame_equal(remote.spans(), traces.spans())
    with pytest.warns(Truncated, match=f"^17 of {2 * TURNS}"):
        assert len(remote.spans(limit=17)) == 17


def test_traces_and_sessions_are_those_of_the_file(remote: Traces, traces: Traces) -> None:
    trace_id = f"{30:032x}"
    assert remote.trace(trace_id)._repr_html_() == traces.trace(trace_id)._repr_html_()
    assert repr(remote.session("session-3")) == repr(traces.session("session-3"))
    with pytest.raises(NotFound):
        remote.trace("f" * 32)


def test_series_are_answered(remote: Traces) -> None:
    assert list(remote.series("calls", hours=1).columns[:2]) == ["time", "label"]


def test_nobody_there_is_said_when_it_is_opened() -> None:
    with pytest.raises(Unreachable, match="no control plane answers"):
        open("http://127.0.0.1:1")


def test_the_command_line_lists_and_shows_the_same_traces(
    server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["traces", "--server", server, "-n", "3", "--session", "session-3"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 4
    assert f"{TURNS:032x}" in listed[1]
    assert run(["traces", "--server", server, "--error"]) == 0
    assert capsys.readouterr().out.count("ModelError") == 3
    assert run(["traces", "--server", server, "--text", "question <29>"]) == 0
    assert f"{30:032x}" in capsys.readouterr().out
    assert run(["trace", f"{30:032x}", "--server", server]) == 0
    shown = capsys.readouterr().out
    assert "user: question <29>" in shown
    assert "queue 40 ms" in shown


def test_following_gives_each_trace_once_oldest_first(server: str) -> None:
    with ControlClient(server) as client:
        found = [t["trace_id"] for t in islice(new_traces(client, {}, 10), 10)]
    assert found == [f"{number:032x}" for number in range(TURNS - 9, TURNS + 1)]
