from __future__ import annotations

import asyncio
import functools
import json
import operator
import re

import httpx
import pytest

from llm_observe.control.api.server import _events
from llm_observe.control.assembly import ControlPlane
from llm_observe.control.rules.model import Edit

pytestmark = pytest.mark.anyio


async def test_status_counts_and_says_who_is_let_in(api: httpx.AsyncClient) -> None:
    status = (await api.get("/api/v1/status")).json()
    assert status["agents"]["total"] == 0
    assert status["auth"] == {"pages": "open", "ingest": "open"}
    assert status["storage"]["control_bytes"] > 0


async def test_a_tokens_value_is_shown_once(api: httpx.AsyncClient) -> None:
    made = (await api.post("/api/v1/tokens", json={"kind": "ingest", "name": "app"})).json()
    assert made["value"].startswith("llmo_ingest_")
    listed = await api.get("/api/v1/tokens")
    assert made["value"] not in listed.text
    assert [t["name"] for t in listed.json()["items"]] == ["app"]
    assert (await api.delete(f"/api/v1/tokens/{made['id']}")).status_code == 204
    assert (await api.delete(f"/api/v1/tokens/{made['id']}")).status_code == 404


@pytest.mark.parametrize("body", [{"kind": "root"}, {}, {"kind": "admin", "name": "x" * 101}])
async def test_a_wrong_token_request_is_refused(
    api: httpx.AsyncClient, body: dict[str, str]
) -> None:
    assert (await api.post("/api/v1/tokens", json=body)).status_code == 422


async def test_the_openapi_document_describes_every_route(api: httpx.AsyncClient) -> None:
    document = (await api.get("/api/v1/openapi.json")).json()
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert len(operations) >= 25
    assert all(op.get("description") for op in operations)
    assert document["servers"] == [{"url": "/api/v1"}]
    named = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert len(named) >= 20
    for path in named:
        functools.reduce(operator.getitem, path.split("/"), document)


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/status/", 404)])
async def test_what_is_not_there_is_a_problem_document(
    api: httpx.AsyncClient, path: str, status: int
) -> None:
    answer = await api.get(f"/api/v1{path}", follow_redirects=True)
    if answer.status_code != 200:
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_is_a_problem_document(api: httpx.AsyncClient) -> None:
    answer = await api.put("/api/v1/status")
    assert answer.status_code == 405
    assert answer.json()["title"] == "Method Not Allowed"


async def test_watchers_hear_of_changes_and_end_with_the_server(plane: ControlPlane) -> None:
    heard: list[str] = []

    async def watch() -> None:
        async for text in _events(plane.service.changes()):
            heard.append(text)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await plane.service.change(Edit(set={"sampling.ratio": 0.5}))
    plane.service.stopping()
    async with asyncio.timeout(20):
        await task
    assert heard == ["retry: 2000\n\n", 'event: settings\ndata: {"key": "1"}\n\n']


async def test_probes_and_figures_answer(api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).json() == {"status": "ok"}
    assert (await api.get("/readyz")).json() == {"status": "ready"}
    text = (await api.get("/metrics")).text
    assert 'llm_observe_agents{state="connected"} 0' in text
    assert text.count("# TYPE llm_observe_agents gauge") == 1
