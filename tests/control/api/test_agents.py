from __future__ import annotations

from uuid import UUID

import httpx
import pytest

from llm_observe.control.assembly import ControlPlane
from llm_observe.opamp.events import AgentConnected, AgentDisconnected, StatusReported
from llm_observe.opamp.values import AgentDescription, AgentState

pytestmark = pytest.mark.anyio


def uid_of(number: int | str) -> str:
    return str(UUID(int=int(number)))


async def meet(plane: ControlPlane, uid: str, service: str, *, gone: str = "") -> None:
    uid = uid_of(uid)
    state = AgentState(description=AgentDescription({"service.name": service}))
    await plane.service.agent_event(uid, AgentConnected(), "websocket")
    await plane.service.agent_event(
        uid, StatusReported(state, frozenset({"description"})), "websocket"
    )
    if gone:
        await plane.service.agent_event(uid, AgentDisconnected(gone), "websocket")


async def test_agents_are_listed_connected_first_and_page_by_page(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    for number in range(5):
        await meet(
            plane, f"{number}", "b" if number % 2 else "a", gone="lost" if number > 3 else ""
        )
    first = (await api.get("/api/v1/agents", params={"limit": 3})).json()
    assert first["total"] == 5
    rest = (await api.get("/api/v1/agents", params={"cursor": first["next"]})).json()
    names = [(a["service"], a["state"]) for a in [*first["items"], *rest["items"]]]
    assert names == [
        ("a", "connected"), ("a", "connected"), ("b", "connected"), ("b", "connected"),
        ("a", "offline"),
    ]  # fmt: skip
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"service": "a"}, {"1", "3"}),
        ({"state": "connected"}, {"1"}),
        ({"state": "stopped"}, {"2"}),
        ({"state": "offline"}, {"3"}),
        ({"state": "not managed"}, {"1", "2", "3"}),
        ({"state": "unhealthy"}, set()),
        ({"service": "a", "state": "connected"}, {"1"}),
        ({"service": "nobody"}, set()),
    ],
)
async def test_agents_are_narrowed(
    plane: ControlPlane, api: httpx.AsyncClient, params: dict[str, str], expected: set[str]
) -> None:
    await meet(plane, "1", "a")
    await meet(plane, "2", "b", gone="the agent disconnected")
    await meet(plane, "3", "a", gone="the connection broke")
    found = (await api.get("/api/v1/agents", params=params)).json()
    assert {agent["uid"] for agent in found["items"]} == {uid_of(n) for n in expected}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"state": "asleep"}, "state"), ({"limit": "0"}, "limit"), ({"limit": "x"}, "limit"),
        ({"cursor": "!"}, "cursor"), ({"cursor": "bnVsbA"}, "cursor"),
    ],
)  # fmt: skip
async def test_a_wrong_question_is_refused(
    api: httpx.AsyncClient, params: dict[str, str], path: str
) -> None:
    answer = await api.get("/api/v1/agents", params=params)
    assert answer.status_code == 422
    assert [p["path"] for p in answer.json()["problems"]] == [path]


async def test_one_agent_is_shown_whole(plane: ControlPlane, api: httpx.AsyncClient) -> None:
    await meet(plane, "1", "a")
    found = (await api.get(f"/api/v1/agents/{uid_of(1)}")).json()
    expected = {
        "uid", "service", "state", "health", "config", "capabilities", "description", "components",
        "instrumentors", "desired", "acknowledged", "effective", "keys", "files", "events",
        "manageable", "reason",
    }  # fmt: skip
    assert expected <= found.keys()
    assert found["acknowledged"]["state"] == "none"
    assert found["effective"]["document"] is None


async def test_an_unknown_agent_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/agents/nobody")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "there is no agent nobody"


async def test_only_an_agent_that_is_away_can_be_forgotten(
    plane: ControlPlane, api: httpx.AsyncClient
) -> None:
    await meet(plane, "1", "a")
    await meet(plane, "2", "a", gone="lost")
    assert (await api.delete(f"/api/v1/agents/{uid_of(1)}")).status_code == 409
    assert (await api.delete(f"/api/v1/agents/{uid_of(2)}")).status_code == 204
    assert (await api.get(f"/api/v1/agents/{uid_of(2)}")).status_code == 404
