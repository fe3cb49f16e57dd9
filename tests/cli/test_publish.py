"""Changing settings from the command line, against a real control plane and agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from llm_observe.cli.main import run
from tests.cli.plane import REASON, agent

pytestmark = pytest.mark.usefixtures("addressed")
Out = pytest.CaptureFixture[str]


def data(out: Out) -> Any:
    return json.loads(out.readouterr().out)


def test_zero_when_every_matched_agent_acknowledged(server: str, service: str, capsys: Out) -> None:
    with agent(server, service), agent(server, service), agent(server, "other", "is silent"):
        assert run(["set", "sampling.ratio=0.5", "-s", service, "--wait", "--timeout", "60s"]) == 0
    out = capsys.readouterr().out
    assert "sampling.ratio: (not set) → 0.5" in out
    assert "Acknowledged by 2 agents." in out


def test_one_with_path_and_reason_when_one_refused(server: str, service: str, capsys: Out) -> None:
    with agent(server, service), agent(server, service, "refuses") as uid:
        assert run(["set", "sampling.ratio=0.4", "-s", service, "--wait"]) == 1
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith(uid))
    assert "refused" in line
    assert REASON in line


def test_two_on_a_time_out_naming_the_silent(server: str, service: str, capsys: Out) -> None:
    with agent(server, service, "is silent") as uid:
        assert run(["set", "sampling.ratio=0.3", "-s", service, "-w", "--timeout", "300ms"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == f"No answer within 0.3 s from: {uid}"


def test_no_agent_matched_is_said(service: str, capsys: Out) -> None:
    assert run(["set", "sampling.ratio=0.2", "-s", service, "--wait"]) == 0
    assert "nobody to wait for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["sampling.ratio=1.5"], "sampling.ratio"),
        (["sampling.rato=1"], "sampling.rato"),
        (["destinations.x.headers.key=hunter2"], "destinations.x.headers.key"),
    ],
)
def test_what_the_server_refuses_is_one_with_a_line_per_key(
    service: str, capsys: Out, words: list[str], path: str
) -> None:
    assert run(["set", *words, "-s", service, "--wait"]) == 1
    printed = capsys.readouterr()
    assert f"  {path}: found " in printed.err
    assert "hunter2" not in printed.err + printed.out
    assert run(["set", *words, "-s", service, "-o", "json"]) == 1
    answer = data(capsys)
    assert answer["state"] == "refused"
    assert [problem["path"] for problem in answer["problems"]] == [path]


def test_json_holds_the_version_and_who_acknowledged(
    server: str, service: str, capsys: Out
) -> None:
    with agent(server, service) as uid:
        assert run(["set", "capture.level=off", "-s", service, "--wait", "-o", "json"]) == 0
    answer = data(capsys)
    assert answer["document"] == {"capture": {"level": "off"}}
    assert answer["progress"]["state"] == "acknowledged"
    assert [a["uid"] for a in answer["progress"]["agents"]] == [uid]


def test_apply_replaces_what_the_file_lacks(service: str, tmp_path: Path, capsys: Out) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("capture:\n  level: off\n")
    assert run(["set", "sampling.ratio=0.5", "-s", service]) == 0
    assert run(["apply", "-f", str(file), "-s", service]) == 0
    capsys.readouterr()
    assert run(["settings", "show", "-s", service, "-o", "json"]) == 0
    assert data(capsys)["document"] == {"capture": {"level": "off"}}


def test_undo_and_history_tell_the_same_story(service: str, capsys: Out) -> None:
    assert run(["set", "sampling.ratio=0.5", "-s", service, "-m", "less"]) == 0
    assert run(["set", "sampling.ratio=0.1", "-s", service]) == 0
    assert run(["undo", "-s", service]) == 0
    capsys.readouterr()
    assert run(["history", "-s", service, "-o", "json"]) == 0
    newest, second, first = data(capsys)
    assert newest["undone_of"] == second["version"]
    assert newest["changes"] == [{"path": "sampling.ratio", "before": 0.1, "after": 0.5}]
    assert first["comment"] == "less"
    assert run(["history", "-s", service]) == 0
    assert f"(undoes {second['version']})" in capsys.readouterr().out


def test_nothing_to_undo_is_said(service: str, capsys: Out) -> None:
    assert run(["undo", "-s", service]) == 1
    assert "nothing was ever set" in capsys.readouterr().err


def test_recording_more_is_said_and_recording_less_is_not(
    server: str, service: str, capsys: Out
) -> None:
    with agent(server, service):
        assert run(["set", "capture.level=full", "-s", service, "--wait"]) == 0
        assert "records more than before, by 1 agent" in capsys.readouterr().err
        assert run(["set", "capture.level=off", "-s", service, "--wait"]) == 0
        assert "more" not in capsys.readouterr().err
        assert run(["set", "capture.level=redacted", "-s", service, "--yes"]) == 0
        assert "more" not in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_on_a_terminal_it_asks_first(
    server: str, service: str, capsys: Out, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("llm_observe.cli.publish.at_a_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", asked(answer))
    with agent(server, service):
        assert run(["set", "capture.level=full", "-s", service]) == code
    capsys.readouterr()
    run(["settings", "show", "-s", service, "-o", "json"])
    assert bool(data(capsys)["document"]) is (code == 0)


def asked(answer: str) -> Any:
    def confirm(text: str, *, abort: bool, err: bool) -> None:
        if answer.startswith("n") and abort:
            raise typer.Abort

    return confirm


def test_agents_and_one_of_them_are_shown(server: str, service: str, capsys: Out) -> None:
    with agent(server, service) as uid:
        assert run(["agents", "-s", service]) == 0
        assert uid in capsys.readouterr().out
        assert run(["agent", uid[:13]]) == 0
        out = capsys.readouterr().out
        assert "sampling.ratio" in out
        assert "ReportsHealth" in out
        assert run(["agents", "-s", service, "-o", "json"]) == 0
        assert [a["uid"] for a in data(capsys)] == [uid]


def test_no_agent_and_no_trace_say_the_next_step(service: str, capsys: Out) -> None:
    assert run(["agents", "-s", service]) == 0
    assert "LLM_OBSERVE_SERVER=" in capsys.readouterr().out
    assert run(["traces", "-s", service]) == 0
    assert "sampling.ratio" in capsys.readouterr().out


def test_who_will_refuse_is_said_and_why(server: str, service: str, capsys: Out) -> None:
    with agent(server, service) as uid:
        assert run(["set", "redaction.detectors.id-pl.enabled=true", "-s", service]) == 0
        assert f"{uid} will refuse it: redaction.detectors.id-pl" in capsys.readouterr().out
        assert run(["set", "redaction.detectors.email.enabled=true", "-s", service, "-u",
                    "redaction.detectors.id-pl"]) == 0  # fmt: skip
        assert "will refuse" not in capsys.readouterr().out
