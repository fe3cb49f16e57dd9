from __future__ import annotations

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_a_grant_begins_is_listed_and_ends(api: httpx.AsyncClient) -> None:
    body = {"service": "chat", "match": {"user": "ann*"}, "level": "full", "for_s": 900}
    preview = await api.post("/api/v1/grants", json={**body, "dry_run": True})
    assert preview.status_code == 200
    assert preview.json()["change"]["version"] is None
    begun = await api.post("/api/v1/grants", json={**body, "comment": "debug", "author": "Ada"})
    assert begun.status_code == 201
    name = begun.json()["id"]
    (item,) = (await api.get("/api/v1/grants")).json()["items"]
    assert (item["id"], item["service"], item["author"]) == (name, "chat", "Ada")
    assert item["match"] == {"user": "ann*"}
    ended = await api.delete(f"/api/v1/grants/{name}")
    assert ended.status_code == 200
    assert (await api.get("/api/v1/grants")).json()["items"] == []
    assert (await api.delete(f"/api/v1/grants/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "until"),
        ({"until": "2027-01-01T00:00:00"}, "until"),
        ({"for_s": 0}, "for_s"),
        ({"for_s": 900, "level": "everything"}, "level"),
        ({"for_s": 900, "match": {"planet": "mars"}}, "match.planet"),
    ],
)
async def test_what_is_wrong_is_named(
    api: httpx.AsyncClient, body: dict[str, object], path: str
) -> None:
    answer = await api.post("/api/v1/grants", json=body)
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json()["problems"]] == [path]
