from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from llm_observe.control.assembly import ControlPlane, ServeOptions, assembled
from llm_observe.control.rules.model import TokenKind
from llm_observe.control.ui.login import local_target
from tests.control.ui.conftest import LOCAL, Browser
from tests.control.ui.seed import World

pytestmark = pytest.mark.anyio
AWAY = "http://control.example:4320"


async def test_the_page_has_commands_that_name_this_server(browser: Browser) -> None:
    page = await browser.text("/connect")
    assert f"export LLM_OBSERVE_SERVER={LOCAL}" in page
    assert "endpoint: ws://127.0.0.1:4320/v1/opamp" in page
    assert "LLM_OBSERVE_TOKEN" not in page  # none is needed here yet


async def test_a_token_is_shown_once(here: World, browser: Browser) -> None:
    made = await browser.submit("/connect/tokens", name="staging", kind="ingest")
    assert made.status_code == 201
    (value,) = re.findall(r'<pre id="token-value"[^>]*>([^<]+)</pre>', made.text)
    assert here.service.keyring.find(value)
    page = await browser.text("/connect")
    assert "staging" in page
    assert value not in page
    assert "LLM_OBSERVE_TOKEN" in page


async def test_who_makes_the_first_admin_token_is_not_locked_out(
    here: World, browser: Browser
) -> None:
    await browser.submit("/connect/tokens", name="me", kind="admin")
    assert "Overview" in await browser.text("/")
    browser.cookies.clear()
    answer = await browser.get("/", headers={"accept": "text/html"})
    assert answer.headers["location"].startswith("/login")


async def test_a_token_is_deleted(here: World, browser: Browser) -> None:
    token = await here.service.create_token(TokenKind.INGEST, "old")
    assert (await browser.submit(f"/connect/tokens/{token.id}/delete")).status_code == 303
    assert await here.service.tokens() == []
    assert (await browser.submit(f"/connect/tokens/{token.id}/delete")).status_code == 404


@pytest.mark.parametrize(("name", "kind"), [("", "ingest"), ("x" * 101, "ingest"), ("x", "root")])
async def test_a_token_that_makes_no_sense_is_refused(
    here: World, browser: Browser, name: str, kind: str
) -> None:
    assert (await browser.submit("/connect/tokens", name=name, kind=kind)).status_code == 422
    assert await here.service.tokens() == []


@pytest.fixture
async def away(tmp_path: Path, anyio_backend: str) -> AsyncIterator[tuple[ControlPlane, Browser]]:
    """A control plane that is reached from elsewhere."""
    options = ServeOptions(host="0.0.0.0", data_dir=tmp_path, hosts=("control.example",))
    async with assembled(options) as plane:
        transport = httpx.ASGITransport(plane.app, client=("192.0.2.7", 50000))
        async with Browser(transport=transport, base_url=AWAY) as browser:
            yield plane, browser


async def test_beyond_this_machine_a_page_asks_to_sign_in_and_leads_back(
    away: tuple[ControlPlane, Browser],
) -> None:
    plane, browser = away
    token = await plane.service.create_token(TokenKind.ADMIN, "Ada's laptop")
    asked = await browser.get("/history?service=bot", headers={"accept": "text/html"})
    page = await browser.text(asked.headers["location"])
    (target,) = re.findall(r'name="next" value="([^"]*)"', page)
    fields = {"token": token.value, "next": target}
    answer = await browser.post("/login", data=fields, headers={"origin": AWAY})
    assert answer.headers["location"] == "/history?service=bot"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "History" in await browser.text("/history")


async def test_who_signed_in_is_the_author_whatever_was_typed(
    away: tuple[ControlPlane, Browser],
) -> None:
    plane, browser = away
    token = await plane.service.create_token(TokenKind.ADMIN, "Ada's laptop")
    await browser.post("/login", data={"token": token.value}, headers={"origin": AWAY})
    assert 'name="author"' not in (await browser.text("/settings")).split("destinations")[0]
    fields = {"form": "sampling", "ratio": "0", "author": "Somebody else"}
    await browser.post("/settings", data=fields, headers={"origin": AWAY})
    assert (await plane.service.version(1)).author == "Ada's laptop"


async def test_signing_out_ends_the_session_on_the_server_too(
    away: tuple[ControlPlane, Browser],
) -> None:
    plane, browser = away
    token = await plane.service.create_token(TokenKind.ADMIN, "me")
    await browser.post("/login", data={"token": token.value}, headers={"origin": AWAY})
    kept = dict(browser.cookies)
    await browser.post("/logout", headers={"origin": AWAY})
    browser.cookies.update(kept)
    assert (await browser.get("/", headers={"accept": "text/html"})).status_code == 303


@pytest.mark.parametrize("kind", [None, TokenKind.INGEST])
async def test_only_an_admin_token_signs_in(
    away: tuple[ControlPlane, Browser], kind: TokenKind | None
) -> None:
    plane, browser = away
    value = (await plane.service.create_token(kind, "app")).value if kind else "guess"
    answer = await browser.post("/login", data={"token": value}, headers={"origin": AWAY})
    assert answer.status_code == 401
    assert "not a valid admin token" in answer.text
    assert value not in answer.text


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example",
     "javascript:alert(1)", "", "evil"],
)  # fmt: skip
def test_signing_in_never_leads_to_another_host(target: str) -> None:
    assert local_target(target) == "/"


def test_signing_in_leads_back_to_a_page_of_ours() -> None:
    assert local_target("/traces?error=yes") == "/traces?error=yes"
