"""A thumb in the chatbot's page arrives beside the turn it is about, in a real browser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.harness import ControlPlane, eventually
from tests.e2e.test_demo import Demo, chat, demo, page

__all__ = ["demo", "page"]

pytestmark = pytest.mark.e2e


def test_a_thumb_stands_at_its_turn_and_another_one_replaces_it(demo: Demo, page: Page) -> None:
    call = chat(demo, page, "Why is the sea salty?")
    path = f"/api/v1/traces/{call['trace_id']}"

    def counting() -> list[dict[str, Any]]:
        spans = demo.http.get(path).json()["spans"]
        (turn,) = (span for span in spans if span["name"] == "chat turn")
        return [score for score in turn["scores"] if score["latest"]]

    for icon, value in (("thumb_down", 0.0), ("thumb_up", 1.0)):
        page.get_by_test_id("stFeedback").get_by_text(icon).click()
        eventually(lambda v=value: [s["value"] for s in counting()] == [v], f"{icon} arrived")  # type: ignore[misc]  # bound now
    judged = demo.http.get("/api/v1/traces", params={"score": "helpful", "score_min": 1}).json()
    assert [trace["trace_id"] for trace in judged["items"]] == [call["trace_id"]]
    browser = page.context.browser
    assert browser is not None
    shown = browser.new_page()
    shown.goto(f"{demo.url('port')}/traces/{call['trace_id']}")
    assert shown.get_by_text("helpful 1").count() >= 1
    shown.goto(f"{demo.url('port')}/traces?score=helpful&score_max=0")
    shown.get_by_text("No trace with such a score").wait_for()
    shown.close()


TURN = """
import sys, llm_observe
llm_observe.observe(service_name="turns", server=sys.argv[1])
with llm_observe.context(session="s-1"), llm_observe.trace("turn") as step:
    step.output = "an answer"
print(step.reference)
"""
JUDGE = """
import sys, llm_observe
llm_observe.observe(service_name="judge", server=sys.argv[1])
print(llm_observe.score("helpful", 0.5, explanation="CANARY", target=sys.argv[2]))
"""


def program(tmp_path: Path, code: str, *arguments: str) -> str:
    """What a short program prints; it flushes when it ends."""
    environ = {**os.environ, "LLM_OBSERVE_STATE_DIR": str(tmp_path / "state")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_score_from_another_process_arrives_and_goes_with_its_session(
    plane: ControlPlane, tmp_path: Path
) -> None:
    reference = program(tmp_path, TURN, plane.url)
    assert program(tmp_path, JUDGE, plane.url, reference) == "True"

    def judged() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = plane.get("/scores", name="helpful")["items"]
        return [item for item in items if item["service"] == "turns"]

    (score,) = eventually(judged, "the score stands at the turn of the other process")
    assert (score["value"], score["session"]) == (0.5, "s-1")
    assert score["trace_id"] == reference.split("-")[1]
    assert len(plane.traces()) == 1
    assert "CANARY" not in plane.http.get(f"/api/v1/traces/{score['trace_id']}").text
    assert plane.http.delete("/api/v1/sessions/s-1").json() == {"deleted": 1}
    assert plane.get("/scores")["items"] == []


def test_at_ratio_zero_there_is_neither_turn_nor_score(plane: ControlPlane, tmp_path: Path) -> None:
    unsampled = TURN.replace("server=sys.argv[1]", 'server=sys.argv[1], settings={"sampling": {"ratio": 0.0}}')  # fmt: skip
    reference = program(tmp_path, unsampled, plane.url)
    assert reference.endswith("-00")
    assert program(tmp_path, JUDGE, plane.url, reference) == "False"
    assert plane.traces() == []
    assert plane.get("/scores")["items"] == []
