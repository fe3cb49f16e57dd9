from __future__ import annotations

import re

import pytest

from tests.control.ui.conftest import Browser
from tests.control.ui.seed import CHATBOT, WORKER, World

pytestmark = pytest.mark.anyio


async def test_a_grant_is_shown_with_whom_it_reaches_before_it_begins(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    fields = {"service": "bot", "level": "full", "for_s": "900", "user": "ann", "comment": "why"}
    asked = await browser.submit("/grants", **fields)
    assert "1 connected agent" in asked.text
    assert "Only user <code>ann</code>" in asked.text
    assert (await here.service.settings("bot")).version is None
    again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    assert again == {**fields, "confirm": "yes"}
    begun = await browser.submit("/grants", **again)
    assert begun.headers["location"] == "/grants?version=1#progress"
    page = await browser.text("/grants")
    assert "data-countdown" in page
    assert "why" in page


async def test_the_banner_counts_down_where_full_capture_ends_by_itself(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    fields = {"service": "bot", "level": "full", "for_s": "900", "user": "ann", "confirm": "yes"}
    await browser.submit("/grants", **fields)
    assert "Full capture is on." not in await browser.text("/banner")
    await here.take(CHATBOT)
    for place in ("/", "/agents", "/traces", "/settings", "/grants", "/history", "/connect"):
        page = await browser.text(place)
        assert "Full capture is on." in page
        assert "It ends by itself" in page
    await here.app(WORKER, "worker", settings={"capture": {"level": "full"}})
    assert "It ends by itself" not in await browser.text("/banner")


async def test_ended_by_hand_it_is_gone(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    await browser.submit("/grants", level="full", for_s="900", confirm="yes")
    (grant,) = await here.service.grants()
    assert (await browser.submit(f"/grants/{grant.id}/end")).status_code == 303
    assert "No grant" in await browser.text("/grants")
    assert (await browser.submit(f"/grants/{grant.id}/end")).status_code == 404


@pytest.mark.parametrize("seconds", ["", "0", "soon", "9999999"])
async def test_a_wrong_time_is_refused_and_what_was_typed_stays(
    here: World, browser: Browser, seconds: str
) -> None:
    answer = await browser.submit("/grants", level="full", for_s=seconds, user="ann")
    assert answer.status_code == 422
    assert "Nothing was changed." in answer.text
    assert 'value="ann"' in answer.text
