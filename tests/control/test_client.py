"""The REST client against an in-memory transport."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from llm_observe.control.client import DEFAULT_SERVER, ControlClient, server_address
from llm_observe.errors import (
    Conflict,
    ControlError,
    Forbidden,
    NotFound,
    SettingsError,
    Unreachable,
)

Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer, **arguments: Any) -> ControlClient:
    return ControlClient(transport=httpx.MockTransport(answer), **arguments)


def always(status: int, body: Any) -> Answer:
    return lambda request: httpx.Response(status, json=body)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_OBSERVE_SERVER", raising=False)
    monkeypatch.delenv("LLM_OBSERVE_ADMIN_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, DEFAULT_SERVER),
        ("http://127.0.0.1:4320/", "http://127.0.0.1:4320"),
        ("https://plane.example.com/team", "https://plane.example.com/team"),
        ("ws://127.0.0.1:4320/v1/opamp", "http://127.0.0.1:4320"),
        ("wss://plane.example.com", "https://plane.example.com"),
    ],
)
def test_address_is_understood(given: str | None, address: str) -> None:
    assert server_address(given) == address


@pytest.mark.parametrize(
    "given", ["127.0.0.1:4320", "ftp://x", "http://", "http://x:99999", "http://x?token=secret"]
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ControlError):
        server_address(given)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(ControlError, match="credentials") as caught:
        server_address("http://me:hunter2@127.0.0.1:4320")
    assert "hunter2" not in str(caught.value)


def test_environment_names_server_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_OBSERVE_SERVER", "http://127.0.0.1:9")
    monkeypatch.setenv("LLM_OBSERVE_ADMIN_TOKEN", " abc\n")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    with client(answer) as plane:
        plane.status()
    assert str(seen[0].url) == "http://127.0.0.1:9/api/v1/status"
    assert seen[0].headers["authorization"] == "Bearer abc"


def test_lists_are_read_page_by_page_and_only_as_far_as_asked() -> None:
    cursors: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        cursor = request.url.params.get("cursor")
        cursors.append(cursor)
        number = int(cursor or 0)
        return httpx.Response(200, json={"items": [{"uid": number}], "next": str(number + 1)})

    with client(answer) as plane:
        found = plane.agents(service="shop")
        assert [next(found)["uid"] for _ in range(3)] == [0, 1, 2]
    assert cursors == [None, "1", "2"]


def test_a_cursor_that_repeats_ends_the_list() -> None:
    with client(always(200, {"items": [{}], "next": "same"})) as plane:
        assert len(list(plane.agents())) == 2


def test_filters_that_are_none_are_not_sent_and_booleans_are_words() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert dict(request.url.params) == {"error": "true", "columns": "a,b"}
        return httpx.Response(200, json={"items": [], "next": None})

    with client(answer) as plane:
        assert list(plane.traces(error=True, model=None, columns=["a", "b"])) == []


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/api/v1/agents/..%2Ftokens%3Fx"
        return httpx.Response(200, json={})

    with client(answer) as plane:
        plane.agent("../tokens?x")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Forbidden), (403, Forbidden), (404, NotFound), (409, Conflict), (500, ControlError)],
)
def test_refusals_have_their_own_error_with_the_servers_words(
    status: int, kind: type[ControlError]
) -> None:
    with (
        client(always(status, {"title": "No", "detail": "because"})) as plane,
        pytest.raises(kind, match="because"),
    ):
        plane.status()


def test_wrong_keys_become_problems() -> None:
    problem = {"path": "sampling.ratio", "found": "1.5", "expected": "a number of at most 1"}
    with (
        client(always(422, {"title": "Refused", "problems": [problem]})) as plane,
        pytest.raises(SettingsError) as caught,
    ):
        plane.change({"sampling.ratio": 1.5})
    assert str(caught.value) == "sampling.ratio: found 1.5, expected a number of at most 1"


def test_a_change_is_sent_as_the_api_wants_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("PATCH", "/api/v1/settings")
        assert json.loads(request.content) == {
            "service": "shop", "set": {"capture.level": "off"}, "unset": ["sampling.ratio"],
            "comment": "why", "author": "ada", "dry_run": False,
        }  # fmt: skip
        return httpx.Response(201, json={"version": 7})

    with client(answer) as plane:
        made = plane.change(
            {"capture.level": "off"},
            ("sampling.ratio",),
            service="shop",
            comment="why",
            author="ada",
        )
    assert made["version"] == 7


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff", b"null"])
def test_another_server_is_recognised(body: bytes) -> None:
    with (
        client(lambda request: httpx.Response(200, content=body)) as plane,
        pytest.raises(ControlError, match="no llm-observe control plane"),
    ):
        plane.status()


def test_a_redirect_is_not_followed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(307, headers={"location": "http://elsewhere/"})

    with client(answer, token="secret") as plane, pytest.raises(ControlError, match="elsewhere"):
        plane.status()


def test_nobody_there_is_one_sentence() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with client(answer) as plane, pytest.raises(Unreachable, match="no control plane answers"):
        plane.status()


def test_silence_is_told_from_absence() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with client(answer) as plane, pytest.raises(Unreachable, match="in time"):
        plane.status()


def test_waiting_ends_with_the_first_final_state() -> None:
    states = iter(["pending", "pending", "acknowledged", "never asked for"])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"state": next(states), "agents": []})

    with client(answer) as plane:
        seen = [progress["state"] for progress in plane.wait(7, 60, every_s=0)]
    assert seen == ["pending", "pending", "acknowledged"]


def test_waiting_ends_when_the_time_is_over() -> None:
    with client(always(200, {"state": "pending", "agents": []})) as plane:
        seen = list(plane.wait(7, 0.01, every_s=0.001))
    assert seen[-1]["state"] == "pending"


def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_observe.control.rest.MAX_ANSWER_BYTES", 10)
    with (
        client(always(200, {"long": "x" * 100})) as plane,
        pytest.raises(ControlError, match="more than 10 bytes"),
    ):
        plane.status()


def test_loading_the_client_loads_nothing_of_the_server() -> None:
    code = (
        "import sys, llm_observe.control.client; "
        "print({'fastapi', 'starlette', 'sqlalchemy', 'uvicorn', 'opentelemetry', 'pydantic'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
