"""A thumb in the chatbot's page arrives beside the turn it is about, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.harness import eventually
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
