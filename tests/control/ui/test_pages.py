"""The pages as a browser gets them, over the whole application and real storage."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.control.ui.conftest import Browser
from tests.control.ui.seed import (
    BATCH,
    CHATBOT,
    COLLECTOR,
    SCRIPT,
    WORKER,
    World,
    collector_state,
    fill,
)

pytestmark = pytest.mark.anyio

PLACES = (
    "/", "/agents", "/traces", "/sessions", "/settings", "/grants", "/history", "/connect",
)  # fmt: skip


@pytest.mark.parametrize("path", PLACES)
async def test_every_page_of_an_empty_control_plane_tells_the_next_step(
    browser: Browser, path: str
) -> None:
    page = await browser.text(path)
    assert re.search(r"llm_observe\.observe|/connect|context\(session|/settings", page)
    assert '<html lang="en">' in page


@pytest.mark.parametrize("path", PLACES)
async def test_no_page_needs_an_inline_script_or_style(
    here: World, browser: Browser, path: str
) -> None:
    await fill(here)
    page = await browser.text(path)
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|javascript:", page)


async def test_the_policy_of_the_pages_allows_no_inline_code(browser: Browser) -> None:
    policy = (await browser.get("/")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_a_prompt_with_markup_stays_text_everywhere(here: World, browser: Browser) -> None:
    ids: dict[str, Any] = {"session.id": SCRIPT, "user.id": SCRIPT}
    trace = here.call(SCRIPT, SCRIPT, **ids)
    await here.app(CHATBOT, SCRIPT)
    await here.change(SCRIPT, set={"sampling.ratio": 0.5}, author=SCRIPT, comment=SCRIPT)
    for path in (
        *PLACES,
        f"/traces/{trace}",
        f"/agents/{CHATBOT}",
        "/history/1",
        "/history/1/undo",
    ):
        page = await browser.text(path)
        assert "<script>alert" not in page, path


async def test_the_overview_counts_and_every_count_leads_to_its_list(
    here: World, browser: Browser
) -> None:
    await fill(here)
    page = await browser.text("/")
    for link in ('href="/agents"', 'href="/agents?state=refused"', "/traces?error=yes"):
        assert link in page
    assert "Full capture is on." in page
    assert "What changed last" in page
    calls = re.search(r"Calls</span>\s*<span class=\"tile-value\"><span title=\"(\d+)\"", page)
    assert calls is not None
    assert 55 <= int(calls[1]) <= 60


async def test_the_red_banner_is_on_every_page_only_while_somebody_records_everything(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    assert "Full capture is on" not in await browser.text("/history")
    await here.change("bot", set={"capture.level": "full"})
    assert "Full capture is on" not in await browser.text("/history")  # wanted is not yet in force
    await here.take(CHATBOT)
    assert "Full capture is on" in await browser.text("/history")
    await here.leave(CHATBOT)
    assert "Full capture is on" not in await browser.text("/banner")


async def test_agents_are_listed_and_narrowed(here: World, browser: Browser) -> None:
    await fill(here)
    everybody = await browser.text("/agents")
    assert all(uid in everybody for uid in (CHATBOT, WORKER, COLLECTOR, BATCH))
    refused = await browser.text("/agents?state=refused")
    assert WORKER in refused
    assert f"/agents/{CHATBOT}" not in refused.split('id="agents"')[1]
    assert "No agent matches" in await browser.text("/agents?service=nobody")


async def test_an_unknown_state_is_a_page_with_a_sentence(browser: Browser) -> None:
    assert "expected one of" in await browser.text("/agents?state=asleep", 422)


async def test_an_agent_shows_the_three_truths_and_who_decided_each_key(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot", settings={"capture": {"level": "full"}})
    await here.change(set={"sampling.ratio": 0.25}, author="Ada")
    pending = _row(await browser.text(f"/agents/{CHATBOT}"), "sampling.ratio")
    assert "0.25" in pending
    assert "pending" in pending
    assert ">1.0<" in pending  # effective is what arrived, not what is desired
    await here.take(CHATBOT)
    page = await browser.text(f"/agents/{CHATBOT}")
    assert "acknowledged" in _row(page, "sampling.ratio")
    assert "remote" in _row(page, "sampling.ratio")
    assert "code" in _row(page, "capture.level")
    assert "Applied" in page
    assert "replicate" in page


async def test_a_refusal_has_a_line_for_each_key(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    await here.change(set={"destinations.p.endpoint": "http://127.0.0.1:1", "sampling.ratio": 0.5})
    await here.refuse(
        CHATBOT, "destinations.p.endpoint: found no answer, expected an OTLP endpoint"
    )
    page = await browser.text(f"/agents/{CHATBOT}")
    assert "found no answer, expected an OTLP endpoint" in _row(page, "destinations.p.endpoint")
    assert "not applied" in _row(page, "sampling.ratio")
    assert "Needs a look" in await browser.text("/")


async def test_a_refusal_does_not_doubt_a_key_that_holds_already(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    await here.change(set={"sampling.ratio": 0.5})
    await here.take(CHATBOT)
    await here.change(set={"destinations.p.endpoint": "http://127.0.0.1:1"})
    await here.refuse(CHATBOT, "destinations.p.endpoint: found no answer, expected an endpoint")
    page = await browser.text(f"/agents/{CHATBOT}")
    assert "holds from before" in _row(page, "sampling.ratio")


async def test_a_foreign_agent_is_shown_as_what_it_is(here: World, browser: Browser) -> None:
    await here.connect(COLLECTOR, collector_state(), "http")
    page = await browser.text(f"/agents/{COLLECTOR}")
    assert "OpenTelemetry Collector" in page
    assert "exporters: [otlphttp]" in page
    assert "exporter otlphttp: connection refused" in page
    assert "very-secret-token" not in page
    assert "does not accept remote configuration" in page


async def test_an_agent_that_is_gone_keeps_its_values_and_says_how_old_they_are(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    await here.leave(CHATBOT)
    page = await browser.text(f"/agents/{CHATBOT}")
    assert "What you see is what it reported last" in page
    assert "before it went away" in page
    assert "metadata" in _row(page, "capture.level")
    assert (await browser.submit(f"/agents/{CHATBOT}/forget")).status_code == 303
    await browser.text(f"/agents/{CHATBOT}", 404)


async def test_a_connected_agent_cannot_be_forgotten(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    assert (await browser.submit(f"/agents/{CHATBOT}/forget")).status_code == 409


async def test_the_history_tells_who_when_and_what(here: World, browser: Browser) -> None:
    await fill(here)
    page = await browser.text("/history")
    assert "Debug the slow answers" in page
    assert "by Grace" in page
    assert "env:PHOENIX_API_KEY" in page
    only = await browser.text("/history?service=llama-chatbot")
    assert "Version 2" in only
    assert "Version 3" not in only
    detail = await browser.text("/history/3")
    assert "destinations:" in detail
    assert "connection refused" in detail


async def test_old_versions_are_on_further_pages(here: World, browser: Browser) -> None:
    for number in range(35):
        await here.change(set={"sampling.ratio": (number + 1) / 100})
    first = await browser.text("/history")
    assert "/history/35" in first
    (older,) = re.findall(r'rel="next" href="(\?[^"]+)"', first)
    second = await browser.text("/history" + older.replace("&amp;", "&"))
    assert 'href="/history/1"' in second
    assert 'href="/history/35"' not in second


async def test_undo_shows_what_it_does_and_then_does_it(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    await here.change(set={"sampling.ratio": 0.5})
    await here.change(set={"sampling.ratio": 0.1})
    asked = await browser.text("/history/2/undo")
    assert "<code>0.1</code>" in asked
    assert "<code>0.5</code>" in asked
    assert (await here.service.settings()).version == 2  # asking changes nothing
    done = await browser.submit("/history/2/undo", author="Ada", comment="too few")
    assert done.headers["location"] == "/history/3"
    assert (await here.service.settings()).document == {"sampling": {"ratio": 0.5}}
    page = await browser.text("/history/3")
    assert "takes back" in page
    assert "too few" in page


async def test_an_undo_that_records_more_says_so(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    await here.change(set={"capture.level": "full"})
    await here.take(CHATBOT)
    await here.change(set={"capture.level": "off"})
    await here.take(CHATBOT)
    assert "This records more than now." in await browser.text("/history/2/undo")


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/agents/nobody", "/history/77", "/history/77/undo", "/history/99999999999999999999",
     "/traces/0000", "/traces/" + "a" * 32, "/sessions/none", "/settings/x"],
)  # fmt: skip
async def test_what_does_not_exist_is_a_page_in_the_same_look(browser: Browser, path: str) -> None:
    page = await browser.text(path, 404)
    assert "To the overview" in page
    assert "Traceback" not in page


async def test_an_open_page_of_a_deleted_session_says_so(browser: Browser) -> None:
    answer = await browser.get("/sessions/none", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "This session was deleted" in answer.text


async def test_a_fault_of_ours_is_a_page_that_tells_no_inside(
    here: World, browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(here.service, "status", broken)
    page = await browser.text("/history", 500)
    assert "Something broke" in page
    assert "secret of the inside" not in page
    assert "failed" in caplog.text


async def test_static_files_are_kept_by_browsers_only_under_their_hash(browser: Browser) -> None:
    page = await browser.text("/")
    (address,) = set(re.findall(r'"(/static/app\.css\?v=[0-9a-f]+)"', page))
    known = await browser.get(address)
    assert known.status_code == 200
    assert "immutable" in known.headers["cache-control"]
    assert (await browser.get("/static/app.css")).headers["cache-control"] == "no-cache"
    assert (await browser.get("/static/../ui/site.py")).status_code == 404


def _row(page: str, key: str) -> str:
    """The row of one key in the table of an agent's page."""
    for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL):
        if f'<code class="path">{key}</code>' in row:
            return str(row)
    raise AssertionError(f"no row for {key}")


async def test_an_agents_page_counts_what_went_to_each_destination_by_signal(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    page = await browser.text(f"/agents/{CHATBOT}")
    assert "destination:control-plane" in page
    assert "sent 1,280, queued 2" in page
    assert "sent 12<" in page
