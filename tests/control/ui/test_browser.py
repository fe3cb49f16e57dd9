"""The pages in a real browser: live changes, no errors on the console, phone and dark."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from llm_observe.control.assembly import ServeOptions, assembled
from tests.control.ui.seed import CHATBOT, SCRIPT, WORKER, World, fill

pytestmark = pytest.mark.e2e

CHROMIUM = "/usr/bin/chromium"
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DEADLINE_S = 60


class Live:
    """A control plane on a socket, in a thread of its own, with what happens in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.url = ""
        self.here: World

    def __enter__(self) -> Live:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(DEADLINE_S)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let something happen on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def call(self, *texts: str, **values: Any) -> str:
        """A call arrives."""

        async def arrive() -> str:
            return await asyncio.to_thread(self.here.store_call, *texts, **values)

        trace: str = self.do(arrive())
        self._loop.call_soon_threadsafe(self.here.service.traces_changed)
        return trace

    def judge(self, trace: str, **values: Any) -> None:
        """A score arrives."""

        async def arrive() -> None:
            await asyncio.to_thread(self.here.store_score, trace, **values)

        self.do(arrive())
        self._loop.call_soon_threadsafe(self.here.service.traces_changed)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with assembled(ServeOptions(data_dir=self._folder)) as plane:
            self.here = World(plane.service, plane.service._store)
            config = uvicorn.Config(
                plane.app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1
            )
            self._server = uvicorn.Server(config)
            self._service = plane.service
            serving = asyncio.create_task(self._server._serve())
            while not self._server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
            port = self._server.servers[0].sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            self._ready.set()
            await serving

    def _stop(self) -> None:
        self._service.stopping()
        self._server.should_exit = True


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
    yield from _page(chromium, live)


@pytest.fixture
def phone(chromium: Browser, live: Live) -> Iterator[Page]:
    yield from _page(chromium, live, viewport={"width": 375, "height": 720}, color_scheme="dark")


def _page(chromium: Browser, live: Live, **options: Any) -> Iterator[Page]:
    """A page whose errors on the console fail the test."""
    context = chromium.new_context(base_url=live.url, **options)
    context.set_default_timeout(DEADLINE_S * 1000)
    expect.set_options(timeout=DEADLINE_S * 1000)
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert not wrong


PLACES = ("/", "/agents", f"/agents/{WORKER}", "/traces", "/sessions", "/sessions/session-42",
          "/settings?service=batch-summaries", "/grants", "/history", "/history/2", "/history/2/undo", "/connect")  # fmt: skip


def test_every_page_fits_a_phone_and_runs_without_an_error(live: Live, phone: Page) -> None:
    live.do(fill(live.here))
    trace = live.call("How are you?", nested=True)
    for place in (*PLACES, f"/traces/{trace}"):
        phone.goto(place)
        expect(phone.locator("#live-state")).to_have_attribute("data-live", "yes")
        wide = phone.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, place
        assert phone.evaluate("document.documentElement.dataset.bsTheme") == "dark"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_pages_can_be_used_with_a_screen_reader_and_read_in_either_theme(
    live: Live, chromium: Browser, colours: Literal["light", "dark"]
) -> None:
    live.do(fill(live.here))
    trace = live.call("How are you?", nested=True)
    # The checker is put into the page as a script, which the pages' own policy forbids.
    for page in _page(chromium, live, color_scheme=colours, bypass_csp=True):
        for place in (*PLACES, f"/traces/{trace}", "/settings?version=3"):
            page.goto(place)
            page.wait_for_load_state("load")
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "best-practice"]})
            assert found.violations_count == 0, f"{place}: {found.generate_report()}"


def test_the_phone_menu_opens_and_closes(live: Live, phone: Page) -> None:
    phone.goto("/")
    expect(phone.get_by_role("link", name="Traces", exact=True)).to_be_hidden()
    phone.get_by_role("button", name="Menu").click()
    phone.get_by_role("link", name="Traces", exact=True).click()
    expect(phone).to_have_url(re.compile("/traces$"))


def test_the_chosen_colours_are_kept(live: Live, page: Page) -> None:
    page.goto("/")
    assert page.evaluate("document.documentElement.dataset.bsTheme") == "light"
    toggle = page.get_by_role("button", name="Colours")
    toggle.click()
    toggle.click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.goto("/history")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_a_new_agent_appears_without_reload(live: Live, page: Page) -> None:
    page.goto("/agents")
    expect(page.get_by_text("No app has connected yet")).to_be_visible()
    live.do(live.here.app(CHATBOT, "llama-chatbot"))
    expect(page.get_by_role("link", name="llama-chatbot")).to_be_visible()
    live.do(live.here.leave(CHATBOT))
    expect(page.get_by_text("Offline", exact=True).last).to_be_visible()


def test_a_change_is_followed_until_it_is_acknowledged(live: Live, page: Page) -> None:
    live.do(live.here.app(CHATBOT, "bot"))
    page.goto("/settings")
    page.get_by_role("button", name="0.5 half").click()
    page.get_by_role("button", name="Apply sampling").click()
    expect(page.get_by_role("heading", name="0 of 1 acknowledged")).to_be_visible()
    live.do(live.here.take(CHATBOT))
    expect(page.get_by_role("heading", name="acknowledged by its one agent")).to_be_visible()
    expect(page.get_by_label("Share of traces")).to_have_value("0.5")


def test_a_rule_is_previewed_published_and_mended_by_keyboard_alone(live: Live, page: Page) -> None:
    live.do(live.here.app(CHATBOT, "bot"))
    live.do(live.here.equip(CHATBOT, detectors=("email",)))
    page.goto("/settings")
    page.locator("#new-redaction-detectors > summary").press("Enter")
    page.get_by_label("Name of the detector").fill("id-pl")
    page.locator("#new-redaction-detectors").get_by_label("Enabled").press("Y")
    page.locator("#new-redaction-detectors").get_by_role("button", name="Preview").press("Enter")
    expect(page.get_by_text("1 agent will refuse it")).to_be_visible()
    page.get_by_role("button", name="Publish").press("Enter")
    expect(page.get_by_role("heading", name="0 of 1 acknowledged")).to_be_visible()
    entry = page.locator("#redaction-detectors-1")
    expect(entry).to_contain_text("id-pl")
    entry.locator("summary").press("Enter")
    entry.get_by_role("button", name="Remove").press("Enter")
    page.get_by_role("button", name="Remove it").press("Enter")
    expect(page.locator("#redaction-detectors-1")).to_have_count(0)


def test_forms_of_all_keys_can_be_used_with_a_screen_reader_and_fit_a_phone(
    live: Live, chromium: Browser
) -> None:
    live.do(live.here.change(set={
        "sampling.rules.pay.match.route": "/pay/*", "capture.rules.staff.level": "off",
        "redaction.detectors.email.action": "drop", "redaction.patterns.staff.pattern": "EMP",
        "destinations.p.endpoint": "http://127.0.0.1:6006",
    }))  # fmt: skip
    for colours, width in (("light", 1200), ("dark", 375)):
        viewport = {"width": width, "height": 720}
        for page in _page(chromium, live, color_scheme=colours, viewport=viewport, bypass_csp=True):
            page.goto("/settings")
            page.evaluate(
                "for (const part of document.querySelectorAll('details')) part.open = true"
            )
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "best-practice"]})
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_refusal_arrives_without_reload(live: Live, page: Page) -> None:
    live.do(live.here.app(CHATBOT, "bot"))
    page.goto("/settings")
    page.get_by_text("Add a destination").click()
    page.get_by_label("Name", exact=True).fill("phoenix")
    page.get_by_label("Endpoint").last.fill("http://127.0.0.1:1")
    page.get_by_role("button", name="Add a header").last.click()
    page.get_by_label("Header name").last.fill("authorization")
    page.get_by_label("Reference").last.fill("env:KEY")
    page.get_by_role("button", name="Add destination").click()
    expect(page.get_by_role("heading", name="0 of 1 acknowledged")).to_be_visible()
    live.do(live.here.refuse(
        CHATBOT, "destinations.phoenix.endpoint: found no answer, expected an OTLP endpoint"
    ))  # fmt: skip
    expect(page.get_by_text("found no answer, expected an OTLP endpoint")).to_be_visible()


def test_full_capture_is_asked_for_and_then_shown_in_red(live: Live, page: Page) -> None:
    live.do(live.here.app(CHATBOT, "bot"))
    page.goto("/settings?service=bot")
    page.get_by_role("radio", name="Full").check()
    page.get_by_role("button", name="Apply capture level").click()
    expect(page.get_by_text("This records more than now")).to_be_visible()
    page.get_by_role("button", name="Yes, record more").click()
    expect(page.get_by_role("heading", name="0 of 1 acknowledged")).to_be_visible()
    live.do(live.here.take(CHATBOT))
    expect(page.get_by_text("Full capture is on.")).to_be_visible()


def test_a_grant_is_begun_counts_down_on_every_page_and_is_ended(live: Live, page: Page) -> None:
    live.do(live.here.app(CHATBOT, "bot"))
    page.goto("/grants")
    page.get_by_label("Agents", exact=True).select_option("bot")
    page.get_by_label("Only user").fill("ann")
    page.get_by_role("button", name="See whom it reaches").click()
    expect(page.get_by_text("1 connected agent")).to_be_visible()
    page.get_by_role("button", name="Yes, record more").click()
    expect(page.get_by_role("heading", name="0 of 1 acknowledged")).to_be_visible()
    live.do(live.here.take(CHATBOT))
    banner = page.locator(".recording time[data-countdown]")
    expect(banner).to_have_text(re.compile("^1[45] min .* left$"))
    before = banner.text_content()
    expect(banner).not_to_have_text(str(before))
    page.goto("/traces")
    expect(page.get_by_text("Full capture is on.")).to_be_visible()
    expect(banner).to_have_text(re.compile("^14 min .* left$"))
    page.get_by_role("link", name="End it now").click()
    page.get_by_role("button", name="now").click()
    page.get_by_role("button", name="End it now").click()
    expect(page.get_by_role("heading", name="0 of 1 acknowledged")).to_be_visible()
    live.do(live.here.take(CHATBOT))
    expect(page.get_by_text("Full capture is on.")).to_be_hidden()


def test_new_calls_appear_without_reload_and_charts_are_drawn(live: Live, page: Page) -> None:
    live.do(live.here.app(CHATBOT, "bot"))
    live.do(_measured(live.here))
    live.call("An early question", ago_s=50)
    page.goto("/traces")
    expect(page.get_by_text("An early question")).to_be_visible()
    expect(page.locator("[data-chart=latency] canvas")).to_be_visible()
    trace = live.call("A brand new question", ago_s=1)
    expect(page.get_by_text("A brand new question")).to_be_visible()
    expect(page.locator(f"tr.is-new[data-trace='{trace}']")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text("1 new call")


def test_what_changes_while_a_part_is_asked_for_is_shown_too(live: Live, page: Page) -> None:
    trace = live.call("A question", nested=True)

    def late(route: Route) -> None:
        """An answer from before the score, which comes after the page was told of it."""
        answer = route.fetch()
        live.judge(trace, score=1)
        time.sleep(1)
        route.fulfill(response=answer)

    page.route("**/traces/*?span=*", late, times=1)
    page.goto(f"/traces/{trace}")
    expect(page.locator("#waterfall .score")).to_have_text("helpful 1")


def test_a_score_that_arrives_later_is_shown_without_reload(live: Live, page: Page) -> None:
    trace = live.call("A question", nested=True)
    page.goto(f"/traces/{trace}")
    page.locator(".wf-row", has_text="answer the user").click()
    expect(page.get_by_role("heading", name="answer the user", level=2)).to_be_visible()
    page.locator("#attributes summary").click()
    live.judge(trace, score=0, label="thumb down", explanation="It says nothing of the sky.")
    expect(page.locator("#waterfall .score")).to_have_text("helpful 0")
    expect(page.locator("#scores")).to_contain_text("It says nothing of the sky.")
    expect(page.locator("#attributes")).to_have_attribute("open", "")
    live.judge(trace, score=1, late_s=9)
    expect(page.locator("#waterfall .score")).to_have_text("helpful 1")
    page.locator(".wf-row", has_text="replicate.run").click()
    expect(page.get_by_role("heading", name="replicate.run", level=2)).to_be_visible()


def test_an_older_page_is_not_moved_but_told_of(live: Live, page: Page) -> None:
    for number in range(51):
        live.here.store_call(f"question {number}", ago_s=100 - number)
    page.goto("/traces")
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(re.compile("cursor="))
    expect(page.locator("#live-state")).to_have_attribute("data-live", "yes")
    expect(page.get_by_role("button", name="New calls arrived")).to_be_hidden()
    live.call("A brand new question", ago_s=1)
    page.get_by_role("button", name="New calls arrived").click()
    expect(page.get_by_text("A brand new question")).to_be_visible()


def test_a_prompt_with_a_script_in_it_is_text(live: Live, page: Page) -> None:
    trace = live.call(SCRIPT, SCRIPT, nested=True)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(f"/traces/{trace}")
    expect(page.locator(".bubble-me .bubble-text")).to_have_text(SCRIPT)
    page.get_by_role("link", name="search the docs").click()
    expect(page.get_by_role("heading", name="search the docs")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?span=[0-9a-f]{16}$"))


def test_filters_leave_only_what_is_chosen_in_the_address(live: Live, page: Page) -> None:
    live.call("about penguins")
    page.goto("/traces")
    page.get_by_label("Text").fill("penguins")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page).to_have_url(re.compile(r"/traces\?text=penguins&range=24h$"))
    page.get_by_label("Status").select_option("Errors")
    expect(page.get_by_text("No trace matches")).to_be_visible()


def test_deleting_a_session_asks_first(live: Live, page: Page) -> None:
    live.call("a secret question")
    page.goto("/sessions/session-42")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("a secret question")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the session").click()
    expect(page.get_by_text("1 trace deleted")).to_be_visible()


async def _measured(here: World) -> None:
    here.measure()
