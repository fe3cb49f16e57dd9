from __future__ import annotations

import re
from typing import Any

import pytest

from tests.control.ui.conftest import Browser
from tests.control.ui.seed import CHATBOT, World
from tests.spanstore.build import rows, span

pytestmark = pytest.mark.anyio


def _traces(page: str) -> list[str]:
    return re.findall(r'data-trace="([0-9a-f]{32})"', page)


async def test_a_call_shows_its_model_tokens_times_session_and_state(
    here: World, browser: Browser
) -> None:
    here.call("Why is the sky blue?")
    page = await browser.text("/traces")
    for text in ("meta/llama-2-7b-chat", "Why is the sky blue?", ">41<", ">64<", ">105<",
                 "2.40 s", "710 ms", "stop", "/sessions/session-42", ">ok<"):  # fmt: skip
        assert text in page, text


async def test_filters_are_kept_in_the_address_and_narrow_the_list(
    here: World, browser: Browser
) -> None:
    failed: dict[str, Any] = {"error.type": "ModelError", "llm.model_name": "tiny",
                              "gen_ai.request.model": "tiny"}  # fmt: skip
    good = here.call("about penguins")
    bad = here.call("about bears", error="out of memory", **failed)
    other: dict[str, Any] = {"session.id": "another"}
    far = here.call("about foxes", ago_s=5 * 86400, **other)
    for query, expected in {
        "": {good, bad},
        "range=all": {good, bad, far},
        "error=yes": {bad},
        "error=no": {good},
        "model=tiny": {bad},
        "text=penguins": {good},
        "session=another&range=30d": {far},
        "service=nobody": set(),
        "min_duration_ms=1000000": set(),
    }.items():
        page = await browser.text(f"/traces?{query}")
        assert set(_traces(page)) == expected, query
    page = await browser.text("/traces?text=penguins&error=no")
    assert 'value="penguins"' in page
    assert 'hx-get="/traces/rows?text=penguins&amp;error=no"' in page


async def test_more_than_one_page_is_reached_by_a_cursor_that_keeps_the_filters(
    here: World, browser: Browser
) -> None:
    for number in range(55):
        here.call(f"question {number}", ago_s=100 - number)
    first = await browser.text("/traces?error=no")
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    assert "error=no" in older
    second = await browser.text(older.replace("&amp;", "&"))
    assert len(_traces(first)) == 50
    assert len(_traces(second)) == 5
    assert not set(_traces(first)) & set(_traces(second))
    assert 'data-page="older"' in second


async def test_the_rows_alone_are_what_an_open_page_asks_for(here: World, browser: Browser) -> None:
    trace = here.call()
    rows = await browser.text("/traces/rows")
    assert _traces(rows) == [trace]
    assert "<html" not in rows


async def test_without_spans_the_page_says_why(here: World, browser: Browser) -> None:
    assert "No traces in this time" in await browser.text("/traces")
    assert "No trace yet" in await browser.text("/traces?range=all")
    await here.app(CHATBOT, "bot", settings={"sampling": {"ratio": 0.0}})
    assert "Sampling is at 0" in await browser.text("/traces")
    assert "No trace matches" in await browser.text("/traces?text=zebra")


async def test_charts_come_from_metrics_and_go_on_without_spans(
    here: World, browser: Browser
) -> None:
    here.measure(calls=40, every_s=10, errors=2)
    data = (await browser.get("/traces/charts.json")).json()
    count = {s["key"]: sum(v or 0 for _, v in s["points"]) for s in data["calls"]["series"]}
    assert count == {"calls": 40, "errors": 2}
    assert {s["key"] for s in data["tokens"]["series"]} == {"input", "output"}
    assert max(v for _, v in data["latency"]["series"][0]["points"] if v) > 1
    assert data["latency"]["summary"].startswith("Latency over time: p50 up to ")
    assert (data["calls"]["until"] - data["calls"]["since"]) / 1000 <= 700  # not a day of nothing
    assert not _traces(await browser.text("/traces"))


async def test_charts_of_nothing_are_empty_not_broken(browser: Browser) -> None:
    data = (await browser.get("/traces/charts.json?range=all")).json()
    assert "nothing measured" in data["latency"]["summary"]


@pytest.mark.parametrize(
    "query", ["range=ever", "since=x", "cursor=%00broken", "min_duration_ms=x"]
)
async def test_a_filter_that_cannot_be_read_is_a_page_with_a_sentence(
    browser: Browser, query: str
) -> None:
    answer = await browser.get(f"/traces?{query}")
    assert answer.status_code in (422, 503)
    assert "To the overview" in answer.text


async def test_a_trace_is_a_waterfall_with_the_call_in_detail(
    here: World, browser: Browser
) -> None:
    trace = here.call("Why is the sky blue?", nested=True)
    page = await browser.text(f"/traces/{trace}")
    names = re.findall(r'text-truncate">([^<]+)</span>', page)
    assert names == ["answer the user", "replicate.run", "search the docs"]
    assert "Why it took 2.40 s" in page
    assert "70 % of the time went into writing the answer" in page
    for part in ("Queue and cold start", "Time to first token", "38.2 tokens/s", "temperature"):
        assert part in page
    assert re.search(r'bubble-me">.*?Why is the sky blue\?', page, re.DOTALL)
    assert re.search(r'bubble-model">.*?air scatters', page, re.DOTALL)


async def test_a_trace_that_is_too_long_for_a_page_says_so(here: World, browser: Browser) -> None:
    steps = (
        span({}, trace=7, number=n, start_ms=n, name=f"step {n}", duration_ms=1)
        for n in range(1, 1003)
    )
    here.store.append(rows(*steps), []).result(60)
    page = await browser.text(f"/traces/{7:032x}")
    assert "The first 1,000 of 1,002 spans are shown" in page
    assert "step 1000" in page
    assert "step 1001" not in page


async def test_another_span_of_the_trace_can_be_chosen(here: World, browser: Browser) -> None:
    trace = here.call(nested=True)
    page = await browser.text(f"/traces/{trace}")
    spans = re.findall(r'href="\?span=([0-9a-f]{16})"', page)
    chosen = await browser.text(f"/traces/{trace}?span={spans[2]}")
    assert "Why it took" not in chosen
    assert "tool.name" in chosen


@pytest.mark.parametrize("level", ["off", "metadata"])
async def test_a_call_without_content_says_which_level_hid_it_and_where_to_change_it(
    here: World, browser: Browser, level: str
) -> None:
    page = await browser.text(f"/traces/{here.call(level=level)}")
    assert f"The capture level “{level}”, in force when this call was exported" in page
    assert "/settings?service=chatbot#capture" in page
    assert "sky" not in page


async def test_a_failed_call_tells_its_error(here: World, browser: Browser) -> None:
    failed: dict[str, Any] = {"error.type": "ModelError"}
    page = await browser.text(f"/traces/{here.call(error='out of memory', **failed)}")
    assert "ModelError" in page
    assert "out of memory" in page


async def test_a_span_leads_to_the_version_it_was_made_under(here: World, browser: Browser) -> None:
    await here.change(set={"sampling.ratio": 0.5})
    known = (await here.service.version(1)).hash[:16]
    made: dict[str, Any] = {"llm_observe.config.hash": known}
    page = await browser.text(f"/traces/{here.call(**made)}")
    assert 'href="/history/1"' in page
    found = await browser.text(f"/traces?config_hash={known}&range=all")
    assert len(_traces(found)) == 1


async def test_a_session_reads_like_a_chat_and_does_not_repeat_itself(
    here: World, browser: Browser
) -> None:
    here.call("first question", "first answer", ago_s=60)
    here.call("second question", "second answer", ago_s=30)
    here.call(level="metadata", ago_s=10)
    page = await browser.text("/sessions/session-42")
    order = ["first question", "first answer", "second question", "second answer"]
    assert [page.index(text) for text in order] == sorted(page.index(text) for text in order)
    assert page.count("You are a helpful assistant.") == 1
    assert "The capture level “metadata”" in page


async def test_a_deleted_session_is_gone_with_its_content(here: World, browser: Browser) -> None:
    other: dict[str, Any] = {"session.id": "a/b c"}
    trace = here.call("a secret question", **other)
    listed = await browser.text("/sessions")
    assert 'href="/sessions/a/b%20c"' in listed
    page = await browser.text("/sessions/a/b%20c")
    assert "data-confirm" in page
    answer = await browser.submit("/sessions/a/b%20c/delete")
    assert answer.headers["location"] == "/sessions?deleted=1"
    await browser.text(f"/traces/{trace}", 404)
    assert "secret question" not in await browser.text("/traces?range=all")
    assert "1 trace deleted" in await browser.text("/sessions?deleted=1")


async def test_a_span_shows_what_redaction_found_in_it_by_rule(
    here: World, browser: Browser
) -> None:
    finds = {f"llm_observe.redaction.finds.{rule}": n for rule, n in (("email", 2), ("a.b", 1))}
    trace = here.call("to [email]", level="redacted", **finds)
    page = await browser.text(f"/traces/{trace}")
    assert re.search(r"<dt>Redacted</dt>.*a\.b 1</span>.*email 2</span>", page, re.DOTALL)
    quiet = here.call("hello", level="redacted")
    assert "<dt>Redacted</dt>" not in await browser.text(f"/traces/{quiet}")
