"""Scores on the pages: beside what they are about, in the list, in its filters."""

from __future__ import annotations

import re

import pytest

from llm_observe.control.ui import waterfall
from tests.control.ui.conftest import Browser
from tests.control.ui.seed import World
from tests.control.ui.spans import made

pytestmark = pytest.mark.anyio


def listed(page: str) -> set[str]:
    return set(re.findall(r'data-trace="([0-9a-f]{32})"', page))


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_score_stands_at_its_span_and_not_in_the_waterfall(
    here: World, browser: Browser, elsewhere: bool
) -> None:
    trace = here.call(nested=True)
    root = here.service._reader.trace(trace)[0].span_id
    assert "none yet" in await browser.text(f"/traces/{trace}")
    here.judge(trace, score=0, label="down", explanation="It is <wrong>.", elsewhere=elsewhere)
    page = await browser.text(f"/traces/{trace}?span={root}")
    assert "helpful <b>0</b>" in page
    assert "It is &lt;wrong&gt;." in page
    assert "2.80 s" in page  # the trace takes as long as before
    assert page.count('class="wf-row ') == 4  # the head and three spans
    assert ("said in another trace" in page) == elsewhere
    assert "none yet" not in page


async def test_a_score_that_was_replaced_is_told_as_such(here: World, browser: Browser) -> None:
    trace = here.call()
    here.judge(trace, score=1, late_s=10)
    here.judge(trace, score=0, late_s=20)
    page = await browser.text(f"/traces/{trace}")
    assert page.count("replaced by a later one") == 1
    assert page.index("<b>0</b>") < page.index("<b>1</b>")


async def test_the_list_shows_scores_and_filters_by_them(here: World, browser: Browser) -> None:
    good, bad, unjudged = here.call("good"), here.call("bad"), here.call("unjudged")
    assert "<th>Scores</th>" not in await browser.text("/traces")
    assert "None yet" in await browser.text("/traces")
    here.judge(good, score=1)
    here.judge(bad, score=0)
    here.judge(bad, name="tone", label="rude")
    page = await browser.text("/traces")
    assert "<th>Scores</th>" in page
    assert "tone <b>rude</b>" in page
    assert listed(page) == {good, bad, unjudged}
    for query, expected in {
        "score=helpful": {good, bad},
        "score=helpful&score_max=0": {bad},
        "score_min=0.5": {good},
        "score=tone": {bad},
        "score_label=rude": {bad},
        "score=helpful&score_min=7": set(),
    }.items():
        page = await browser.text(f"/traces?{query}")
        assert listed(page) == expected, query
    assert "No trace with such a score" in page
    assert "<option selected>helpful</option>" in page


async def test_a_session_shows_the_scores_of_its_turns(here: World, browser: Browser) -> None:
    trace = here.call()
    here.judge(trace, score=1)
    assert "helpful <b>1</b>" in await browser.text("/sessions/session-42")


async def test_a_trace_of_scores_alone_can_be_opened(here: World, browser: Browser) -> None:
    trace = here.call()
    here.judge(trace, score=1, elsewhere=True)
    page = await browser.text(f"/traces/{0xFEED:032x}")
    assert "score" in page
    assert f"/traces/{trace}" in page


async def test_the_waterfall_is_as_long_as_its_steps() -> None:
    spans = [
        made("a", 0, 100),
        made("b", 10, 50),
        made("c", 10**9, 0, feedback=True, parent_id="a"),
    ]
    assert waterfall.extent(spans) == (0, 100)
    assert [bar.span.span_id for bar in waterfall.rows(spans)] == ["a", "b"]
    alone = [made("c", 10, 5, feedback=True)]
    assert [bar.span.span_id for bar in waterfall.rows(alone)] == ["c"]
