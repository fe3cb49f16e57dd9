"""A released Phoenix: what it understands of our spans, asked through its own API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.harness import App, eventually
from tests.interop.backends import needs_peers, phoenix

pytestmark = [pytest.mark.interop, needs_peers]
PROJECT = "shop"
PROMPT = "Which llama eats the most?"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[httpx.Client]:
    folder = tmp_path / "phoenix"
    folder.mkdir()
    with (
        phoenix(folder) as url,
        httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client,
    ):
        yield client


def _spans(api: httpx.Client, count: int) -> dict[str, dict[str, Any]]:
    def look() -> list[dict[str, Any]]:
        answer = api.get(f"/v1/projects/{PROJECT}/spans", params={"limit": 100})
        found: list[dict[str, Any]] = answer.json()["data"] if answer.status_code == 200 else []
        return found if len(found) >= count else []

    found = eventually(look, f"{count} spans in Phoenix")
    assert len(found) == count
    return {span["name"]: span for span in found}


def test_phoenix_shows_sessions_messages_and_tokens(
    api: httpx.Client, start_app: Callable[..., App]
) -> None:
    settings = {
        "capture": {"level": "full"},
        "destinations": {"phoenix": {"endpoint": str(api.base_url), "signals": ["traces"]}},
    }
    app = start_app(settings=settings, resource={"openinference.project.name": PROJECT})
    answer = app.ask("turn", "s-42", PROMPT)
    assert app.ask("flush") is True
    spans = _spans(api, 2)
    turn, call = spans["turn"], spans["chat meta/llama-2-7b-chat"]
    assert (turn["span_kind"], call["span_kind"]) == ("CHAIN", "LLM")
    assert call["parent_id"] == turn["context"]["span_id"]
    assert (turn["status_code"], call["status_code"]) == ("UNSET", "UNSET")
    known = call["attributes"]
    assert known["llm.input_messages.0.message.content"] == PROMPT
    assert known["llm.output_messages.0.message.content"] == answer
    assert known["llm.token_count.completion"] == len(answer.split())
    assert known["llm.token_count.prompt"] > 0
    assert known["user.id"] == "ann"
    sessions = api.get(f"/v1/projects/{PROJECT}/sessions").json()["data"]
    assert [session["session_id"] for session in sessions] == ["s-42"]
    assert [trace["trace_id"] for trace in sessions[0]["traces"]] == [call["context"]["trace_id"]]
