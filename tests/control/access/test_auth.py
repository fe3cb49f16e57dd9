"""Every surface, attacked from a web page, through a rebound name, and with the wrong token."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_observe.control.access.auth import Surface, host_name, is_local, surface
from llm_observe.control.assembly import ControlPlane, ServeOptions, assembled
from llm_observe.control.rules.model import TokenKind
from tests.control.conftest import client_of

pytestmark = pytest.mark.anyio

SURFACES = [
    ("GET", "/"),
    ("GET", "/api/v1/status"),
    ("PATCH", "/api/v1/settings"),
    ("POST", "/api/v1/undo"),
    ("POST", "/api/v1/tokens"),
    ("DELETE", "/api/v1/sessions/s"),
    ("GET", "/api/v1/events"),
    ("POST", "/v1/traces"),
    ("POST", "/v1/metrics"),
    ("POST", "/v1/opamp"),
    ("POST", "/login"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
    ("GET", "/static/app.js"),
]
ATTACKS = {
    "another site": {"origin": "https://evil.example"},
    "a sandboxed frame or a file": {"origin": "null"},
    "another port of this machine": {"origin": "http://127.0.0.1:8501"},
    "our name in a longer one": {"origin": "http://127.0.0.1:4320.evil.example"},
    "a rebound name": {"host": "evil.example:4320"},
    "a rebound name that agrees with itself": {
        "host": "evil.example:4320",
        "origin": "http://evil.example:4320",
    },
    "a name that begins like ours": {"host": "localhost.evil.example:4320"},
    "no name": {"host": ""},
    "an address of another machine": {"host": "192.0.2.7:4320"},
    "a subresource of another site": {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "no-cors",
    },
}


@pytest.mark.parametrize(("method", "path"), SURFACES)
@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_surface_answers_an_attack_from_a_browser(
    api: httpx.AsyncClient, method: str, path: str, attack: str
) -> None:
    answer = await api.request(method, path, headers=ATTACKS[attack])
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in answer.headers


async def test_an_attack_changes_nothing(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    body = {"set": {"capture.level": "full"}}
    for headers in ATTACKS.values():
        await api.patch("/api/v1/settings", json=body, headers=headers)
    assert (await plane.service.versions()).items == []


@pytest.mark.parametrize("host", ["127.0.0.1:4320", "localhost:4320", "[::1]:4320", "localhost"])
async def test_our_own_pages_are_let_in_by_every_local_name(
    api: httpx.AsyncClient, host: str
) -> None:
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    assert (await api.get("/api/v1/status", headers=headers)).status_code == 200


async def test_a_link_from_another_site_may_be_followed(api: httpx.AsyncClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert (await api.get("/", headers=headers)).status_code == 200


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_websocket_of_an_attacker_is_not_accepted(plane: ControlPlane, attack: str) -> None:
    headers = {"host": "127.0.0.1:4320"} | ATTACKS[attack]
    scope = {
        "type": "websocket", "path": "/v1/opamp", "raw_path": b"/v1/opamp", "query_string": b"",
        "scheme": "ws", "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "subprotocols": [], "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await plane.app(scope, receive, send)
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 403


async def test_an_ingest_token_opens_otlp_and_can_neither_read_nor_set_anything(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    token = await plane.service.create_token(TokenKind.INGEST, "app")
    headers = {"authorization": f"Bearer {token.value}"}
    for method, path in SURFACES:
        answer = await api.request(method, path, headers=headers)
        expected = surface(path)
        assert (answer.status_code == 403) is (expected is Surface.ADMIN), path
    assert (await plane.service.versions()).items == []


async def test_an_admin_token_does_not_open_what_apps_use(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    token = await plane.service.create_token(TokenKind.ADMIN, "ada")
    headers = {"authorization": f"Bearer {token.value}"}
    assert (await api.get("/api/v1/status", headers=headers)).status_code == 200
    for path in ("/v1/traces", "/v1/metrics", "/v1/opamp"):
        assert (await api.post(path, headers=headers)).status_code == 403


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer ", "Basic YTpi", ""])
async def test_a_token_that_is_presented_must_be_valid_also_on_loopback(
    api: httpx.AsyncClient, value: str
) -> None:
    answer = await api.get("/api/v1/status", headers={"authorization": value})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_withdrawn_token_opens_nothing(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    keep = await plane.service.create_token(TokenKind.ADMIN, "keep")
    gone = await plane.service.create_token(TokenKind.ADMIN, "gone")
    await plane.service.delete_token(gone.id)
    headers = {"authorization": f"Bearer {gone.value}"}
    assert (await api.get("/api/v1/status", headers=headers)).status_code == 401
    headers = {"authorization": f"Bearer {keep.value}"}
    assert (await api.get("/api/v1/status", headers=headers)).status_code == 200


async def test_the_first_admin_token_closes_pages_and_rest_for_everybody_else(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    await plane.service.create_token(TokenKind.ADMIN, "ada")
    assert (await api.get("/api/v1/status")).status_code == 401
    page = await api.get("/traces?model=x", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (
        303,
        "/login?next=/traces%3Fmodel%3Dx",
    )


async def test_logging_in_gives_a_cookie_that_ends_with_its_token(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    token = await plane.service.create_token(TokenKind.ADMIN, "ada")
    await plane.service.create_token(TokenKind.ADMIN, "other")
    answer = await api.post("/login", data={"token": token.value, "next": "/agents"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/agents")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token.value.lower() not in cookie
    changed = await api.patch("/api/v1/settings", json={"set": {"sampling.ratio": 0.5}})
    assert changed.status_code == 201
    assert (await plane.service.version(1)).author == "ada"
    await plane.service.delete_token(token.id)
    assert (await api.get("/api/v1/status")).status_code == 401


async def test_logging_out_ends_the_session(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    token = await plane.service.create_token(TokenKind.ADMIN, "ada")
    await api.post("/login", data={"token": token.value})
    cookies = dict(api.cookies)
    await api.post("/logout")
    api.cookies.update(cookies)
    assert (await api.get("/api/v1/status")).status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "\\\\evil", "x"])
async def test_logging_in_never_leads_elsewhere(
    plane: ControlPlane, api: httpx.AsyncClient, target: str
) -> None:
    token = await plane.service.create_token(TokenKind.ADMIN, "ada")
    answer = await api.post("/login", data={"token": token.value, "next": target})
    assert answer.headers["location"] == "/"


async def test_an_ingest_token_is_no_login(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    token = await plane.service.create_token(TokenKind.INGEST, "app")
    answer = await api.post("/login", data={"token": token.value})
    assert "set-cookie" not in answer.headers


async def test_pages_and_answers_carry_the_headers_that_protect_them(
    api: httpx.AsyncClient,
) -> None:
    for path in ("/", "/api/v1/status", "/login", "/nowhere"):
        headers = (await api.get(path)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


async def test_beyond_loopback_nothing_works_without_a_token(tmp_path: Path) -> None:
    options = ServeOptions(host="0.0.0.0", data_dir=tmp_path / "d", hosts=("obs.example",))
    async with assembled(options) as plane, client_of(plane) as api:
        admin = await plane.service.create_token(TokenKind.ADMIN, "ada")
        bearer = {"authorization": f"Bearer {admin.value}"}
        statuses = {
            path: (await api.request(method, path)).status_code for method, path in SURFACES
        }
        public = {p for p, s in statuses.items() if s != 401}
        assert public == {"/healthz", "/static/app.js"}
        for host, status in (("obs.example", 200), ("192.0.2.7:4320", 200), ("evil.example", 403)):
            answer = await api.get("/api/v1/status", headers=bearer | {"host": host})
            assert answer.status_code == status, host
        last = await api.delete(f"/api/v1/tokens/{admin.id}", headers=bearer)
        assert last.status_code == 409


async def test_behind_a_proxy_on_loopback_a_token_is_needed(tmp_path: Path) -> None:
    options = ServeOptions(data_dir=tmp_path / "d", hosts=("obs.example",))
    async with assembled(options) as plane, client_of(plane) as api:
        answer = await api.get("/api/v1/status", headers={"host": "obs.example"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("host", "name", "local"),
    [
        ("127.0.0.1:4320", "127.0.0.1", True),
        ("127.9.9.9", "127.9.9.9", True),
        ("LOCALHOST:1", "localhost", True),
        ("[::1]:4320", "::1", True),
        ("[::1]", "::1", True),
        ("::1", "::1", True),
        ("10.0.0.1:80", "10.0.0.1", False),
        ("example.com", "example.com", False),
        ("127.0.0.1.example.com", "127.0.0.1.example.com", False),
        ("", "", False),
    ],
)
def test_a_host_is_read_as_browsers_mean_it(host: str, name: str, local: bool) -> None:
    assert host_name(host) == name
    assert is_local(name) is local


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/healthz", Surface.PUBLIC), ("/static/x.js", Surface.PUBLIC),
        ("/v1/opamp", Surface.INGEST), ("/v1/opamp/", Surface.INGEST),
        ("/v1/traces", Surface.INGEST), ("/", Surface.ADMIN), ("/api/v1/settings", Surface.ADMIN),
        ("/metrics", Surface.ADMIN), ("/v1/tracesx", Surface.ADMIN), ("/staticx", Surface.ADMIN),
    ],
)  # fmt: skip
def test_what_is_not_named_is_for_admins_only(path: str, kind: Surface) -> None:
    assert surface(path) is kind
