"""Timed capture grants from the command line, against a real control plane."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from llm_observe.cli.main import run
from tests.cli.plane import agent

pytestmark = pytest.mark.usefixtures("addressed")
Out = pytest.CaptureFixture[str]


def wanted(service: str, out: Out) -> dict[str, Any]:
    """The one grant of this service, as a program reads it."""
    assert run(["capture", "grants", "-o", "json"]) == 0
    items: list[dict[str, Any]] = json.loads(out.readouterr().out)
    (found,) = [item for item in items if item["service"] == service]
    return found


def test_a_grant_says_whom_it_reaches_begins_and_is_revoked(
    server: str, service: str, capsys: Out
) -> None:
    asked = ["capture", "grant", "--service", service, "--for", "15m", "--user", "ann"]
    with agent(server, service):
        assert run([*asked, "--comment", "slow answers", "--wait", "--timeout", "60s"]) == 0
        said = capsys.readouterr()
        assert "This records more than before, by 1 agent:" in said.err
        assert "It ends by itself at" in said.err
        assert "Acknowledged by 1 agent." in said.out
        grant = wanted(service, capsys)
        assert f"capture revoke {grant['id']}" in said.out
        assert (grant["match"], grant["comment"]) == ({"user": "ann"}, "slow answers")
        assert grant["until"] == pytest.approx(time.time() + 900, abs=120)
        assert run(["capture", "grants"]) == 0
        assert grant["id"] in capsys.readouterr().out
        assert run(["capture", "revoke", grant["id"], "--wait", "--timeout", "60s"]) == 0
    capsys.readouterr()
    assert run(["capture", "revoke", grant["id"]]) == 1
    assert "there is no grant" in capsys.readouterr().err


def test_until_needs_a_time_zone(service: str, capsys: Out) -> None:
    assert run(["capture", "grant", "-s", service, "--until", "2030-01-01T00:00:00"]) == 1
    assert "with a time zone" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [[], ["--for", "1h", "--until", "2030-01-01T00:00Z"]])
def test_one_end_is_given(service: str, ending: list[str]) -> None:
    assert run(["capture", "grant", "-s", service, *ending]) == 64


def test_a_level_above_all_is_refused(service: str, capsys: Out) -> None:
    assert run(["capture", "grant", "-s", service, "--for", "5m", "--level", "everything"]) == 1
    assert "level" in capsys.readouterr().err
