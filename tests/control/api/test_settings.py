from __future__ import annotations

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def patch(api: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await api.patch("/api/v1/settings", json=body)


def lines(answer: httpx.Response) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return {p["path"]: f"{p['found']} / {p['expected']}" for p in answer.json()["problems"]}


async def test_set_makes_a_version_and_says_what_it_changed(api: httpx.AsyncClient) -> None:
    answer = await patch(api, set={"sampling.ratio": 0.5}, comment="less", author="ada")
    assert answer.status_code == 201
    result = answer.json()
    assert result["version"] == 1
    assert result["changes"] == [{"path": "sampling.ratio", "before": None, "after": 0.5}]
    found = (await api.get("/api/v1/settings")).json()
    assert found["document"] == {"sampling": {"ratio": 0.5}}
    assert found["version"] == 1


async def test_patch_merges_and_put_replaces(api: httpx.AsyncClient) -> None:
    await patch(api, set={"sampling.ratio": 0.5})
    merged = (await patch(api, set={"capture.level": "off"})).json()
    assert merged["document"] == {"sampling": {"ratio": 0.5}, "capture": {"level": "off"}}
    body = {"document": {"capture": {"level": "metadata"}}}
    replaced = (await api.put("/api/v1/settings", json=body)).json()
    assert replaced["document"] == {"capture": {"level": "metadata"}}


async def test_put_takes_yaml_text_in_which_off_is_a_level(api: httpx.AsyncClient) -> None:
    body = {"text": "capture:\n  level: off\n", "service": "chat"}
    assert (await api.put("/api/v1/settings", json=body)).json()["document"] == {
        "capture": {"level": "off"}
    }


async def test_a_destination_is_set_by_its_name_and_unset_whole(api: httpx.AsyncClient) -> None:
    await patch(api, set={"destinations.phoenix.endpoint": "http://h:6006"})
    await patch(api, set={"destinations.phoenix": {"timeout_s": 3.0}})
    found = (await api.get("/api/v1/settings")).json()["document"]
    assert found["destinations"]["phoenix"] == {"endpoint": "http://h:6006", "timeout_s": 3.0}
    gone = (await patch(api, unset=["destinations.phoenix"])).json()
    assert gone["document"] == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sampling.ratio": 1.5}, {"sampling.ratio": "1.5 / a number of at most 1"}),
        ({"sampling.ratio": None}, {"sampling.ratio": "null / a number"}),
        (
            {"sampling.ratio": -1, "nothing": 1},
            {
                "sampling.ratio": "-1 / a number of at least 0",
                "nothing": "an unknown key / one of capture, conventions, destinations",
            },
        ),
        (
            {"destinations.a.headers.authorization": "Bearer s3cret"},
            {"destinations.a.headers.authorization": "***"},
        ),
        ({"sampling..ratio": 1}, {"sampling..ratio": "an empty name"}),
        ({"": 1}, {"": "an empty name"}),
        ({"a." * 30 + "a": 1}, {("a." * 30 + "a"): "a longer path"}),
    ],
)
async def test_a_wrong_value_is_refused_key_by_key_and_nothing_is_stored(
    api: httpx.AsyncClient, changes: dict[str, Any], expected: dict[str, str]
) -> None:
    answer = await patch(api, set=changes)
    assert answer.status_code == 422
    found = lines(answer)
    assert found.keys() == expected.keys()
    assert all(expected[path] in found[path] for path in expected)
    assert "s3cret" not in answer.text
    assert (await api.get("/api/v1/versions")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ""),
        ({"set": {"sampling.ratio": 0.5}, "sett": 1}, "sett"),
        ({"set": []}, "set"),
        ({"set": {"sampling.ratio": 1}, "author": "x" * 201}, "author"),
        ({"unset": ["sampling.ratio"]}, "sampling.ratio"),
    ],
)
async def test_a_wrong_body_names_what_is_wrong(
    api: httpx.AsyncClient, body: dict[str, Any], path: str
) -> None:
    answer = await patch(api, **body)
    assert answer.status_code == 422
    assert list(lines(answer)) == [path]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b'{"set": {"a": NaN}}'])
async def test_a_body_that_is_no_json_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.patch("/api/v1/settings", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_deep_document_is_refused(api: httpx.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    assert lines(await patch(api, set={"x": deep})) == {"": "a deeper nesting / at most 12 levels"}


async def test_text_that_is_no_unicode_is_refused(api: httpx.AsyncClient) -> None:
    content = b'{"set": {"destinations.a.endpoint": "http://\\ud800"}}'
    headers = {"content-type": "application/json"}
    answer = await api.patch("/api/v1/settings", content=content, headers=headers)
    assert answer.status_code == 422


async def test_a_body_without_end_is_cut(api: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 65536

    headers = {"content-type": "application/json"}
    answer = await api.patch("/api/v1/settings", content=endless(), headers=headers)
    assert answer.status_code == 413


async def test_a_dry_run_stores_nothing(api: httpx.AsyncClient) -> None:
    answer = await patch(api, set={"capture.level": "full"}, dry_run=True)
    assert answer.status_code == 200
    assert answer.json()["version"] is None
    assert answer.json()["loosens_capture"] is True
    assert (await api.get("/api/v1/versions")).json()["items"] == []


async def test_a_change_that_changes_nothing_makes_no_version(api: httpx.AsyncClient) -> None:
    await patch(api, set={"sampling.ratio": 0.5})
    again = (await patch(api, set={"sampling.ratio": 0.5})).json()
    assert (again["version"], again["changes"]) == (1, [])


async def test_history_has_author_comment_changes_and_pages(api: httpx.AsyncClient) -> None:
    for ratio in (0.1, 0.2, 0.3):
        await patch(api, set={"sampling.ratio": ratio}, author="ada", comment=f"to {ratio}")
    first = (await api.get("/api/v1/versions", params={"limit": 2})).json()
    assert [v["version"] for v in first["items"]] == [3, 2]
    assert first["items"][0]["comment"] == "to 0.3"
    assert first["items"][0]["current"] is True
    rest = (await api.get("/api/v1/versions", params={"cursor": first["next"]})).json()
    assert [v["version"] for v in rest["items"]] == [1]
    assert rest["next"] is None


async def test_a_version_is_compared_with_the_one_before_in_its_scope(
    api: httpx.AsyncClient,
) -> None:
    await patch(api, set={"sampling.ratio": 0.1})
    await patch(api, service="chat", set={"sampling.ratio": 0.5})
    await patch(api, set={"sampling.ratio": 0.2})
    found = (await api.get("/api/v1/versions/3")).json()
    assert found["changes"] == [{"path": "sampling.ratio", "before": 0.1, "after": 0.2}]
    assert found["document"] == {"sampling": {"ratio": 0.2}}
    chat = (await api.get("/api/v1/versions", params={"service": "chat"})).json()
    assert [v["version"] for v in chat["items"]] == [2]


async def test_undo_makes_a_new_version_with_what_was_before(api: httpx.AsyncClient) -> None:
    await patch(api, set={"sampling.ratio": 0.1})
    await patch(api, set={"sampling.ratio": 0.2, "capture.level": "off"})
    answer = await api.post("/api/v1/versions/2/undo", json={"author": "bo"})
    assert answer.status_code == 201
    assert answer.json()["document"] == {"sampling": {"ratio": 0.1}}
    assert answer.json()["undone_of"] == 2
    undone = (await api.get("/api/v1/versions/2")).json()
    assert undone["undone_by"] == 3
    again = (await api.post("/api/v1/undo")).json()
    assert again["document"] == {"sampling": {"ratio": 0.2}, "capture": {"level": "off"}}


async def test_undo_is_for_the_scope_that_is_named(api: httpx.AsyncClient) -> None:
    await patch(api, service="chat", set={"sampling.ratio": 0.1})
    answer = await api.post("/api/v1/undo")
    assert answer.status_code == 404
    assert "nothing was ever set for all agents" in answer.json()["detail"]
    assert (await api.post("/api/v1/undo", json={"service": "chat"})).json()["document"] == {}


@pytest.mark.parametrize("path", ["/versions/9", "/versions/9/progress"])
async def test_an_unknown_version_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(f"/api/v1{path}")).status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "x", "99999999999999999999"])
async def test_a_number_that_is_none_is_refused(api: httpx.AsyncClient, number: str) -> None:
    assert (await api.get(f"/api/v1/versions/{number}")).status_code == 422


async def test_the_schema_is_there_for_editors(api: httpx.AsyncClient) -> None:
    schema = (await api.get("/api/v1/schema")).json()
    assert "sampling" in schema["properties"]


async def test_who_did_what_is_noted(api: httpx.AsyncClient) -> None:
    await patch(api, set={"sampling.ratio": 0.1}, author="ada")
    await api.post("/api/v1/undo", json={"author": "bo"})
    rows = (await api.get("/api/v1/audit")).json()["items"]
    assert [(r["actor"], r["action"], r["object"]) for r in rows] == [
        ("bo", "undo settings", "version 2"),
        ("ada", "change settings", "version 1"),
    ]
