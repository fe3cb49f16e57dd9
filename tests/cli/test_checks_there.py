"""Doctor's checks of what is elsewhere, against real sockets and an in-memory control plane."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from llm_observe.agent.options import read_options
from llm_observe.cli import checks_there
from llm_observe.cli.finding import Finding, State
from llm_observe.control.client import ControlClient
from llm_observe.settings.model import Destination
from llm_observe.testing import Answer, OTLPGrpcSink, OTLPSink, serve_grpc, serve_in_thread

NOBODY = "http://127.0.0.1:1"


def plane(status: int, body: Any, server: str = NOBODY) -> ControlClient:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=body))
    return ControlClient(server, transport=transport)


def judged(client: ControlClient, configured: bool = True) -> list[Finding]:
    return list(checks_there.control_plane(client, configured))


STATUS = {"version": "1", "agents": {"connected": 1, "total": 2}}


def test_a_control_plane_that_answers_is_fine() -> None:
    (finding,) = judged(plane(200, STATUS))
    assert finding.state is State.OK
    assert "1 of 2 agents" in finding.sentence


def test_a_named_one_that_is_silent_is_broken_an_unnamed_one_is_not() -> None:
    assert judged(ControlClient(NOBODY))[0].state is State.BROKEN
    assert judged(ControlClient(NOBODY), configured=False)[0].state is State.NOTE


def test_a_refused_token_names_the_variable() -> None:
    (finding,) = judged(plane(403, {"detail": "an ingest token"}))
    assert finding.state is State.BROKEN
    assert "LLM_OBSERVE_ADMIN_TOKEN" in finding.sentence


def test_tokens_over_a_plain_line_are_a_warning() -> None:
    findings = judged(plane(200, STATUS, "http://plane.example.com"))
    assert [finding.state for finding in findings] == [State.OK, State.WARNING]


def test_destinations_are_asked_with_an_empty_request() -> None:
    sink = OTLPSink()
    with serve_in_thread(sink) as served:
        finding = checks_there.probe("mine", Destination(endpoint=served.url), {})
    assert finding.state is State.OK
    assert not sink.spans()


def test_a_destination_over_grpc_is_asked_over_grpc() -> None:
    sink = OTLPGrpcSink()
    with serve_grpc(sink) as served:
        wanted: tuple[Any, ...] = (("traces",), ("metrics",))
        for signals in wanted:
            destination = Destination(endpoint=served.url, protocol="grpc", signals=signals)
            assert checks_there.probe("mine", destination, {}).state is State.OK
        sink.answer_with(Answer(code="UNAUTHENTICATED"))
        finding = checks_there.probe("mine", destination, {})
    assert [request.signal for request in sink.requests()] == ["traces", "metrics", "metrics"]
    assert "does not take metrics: gRPC UNAUTHENTICATED." in finding.sentence


def test_a_destination_that_is_not_there_is_broken() -> None:
    finding = checks_there.probe("mine", Destination(endpoint=NOBODY), {})
    assert finding.state is State.BROKEN
    assert "refused" in finding.sentence


def test_a_header_that_cannot_be_read_is_broken_without_asking() -> None:
    destination = Destination(endpoint=NOBODY, headers={"api-key": "env:MISSING"})
    finding = checks_there.probe("mine", destination, {})
    assert "MISSING" in finding.sentence
    assert finding.state is State.BROKEN


def test_where_nothing_goes_is_said() -> None:
    findings = list(checks_there.destinations(read_options({}, 0.0), {}))
    assert [finding.state for finding in findings] == [State.NOTE]


@pytest.mark.parametrize(
    ("agent", "state"),
    [
        (
            {"connected": True, "health": {"healthy": True}, "config": {"state": "in sync"}},
            State.OK,
        ),
        (
            {"connected": True, "health": {"healthy": False, "last_error": "disk full"}},
            State.BROKEN,
        ),
        ({"connected": True, "config": {"state": "refused", "reason": "limits"}}, State.BROKEN),
        ({"connected": False, "last_seen": 0.0}, State.WARNING),
    ],
)
def test_this_services_agents_are_judged_by_what_they_say(
    agent: dict[str, Any], state: State
) -> None:
    body = {"items": [{"uid": "0" * 32, **agent}], "next": None}
    (finding,) = checks_there.agents(plane(200, body), "shop")
    assert finding.state is state


def test_a_service_that_nobody_knows_is_a_warning() -> None:
    (finding,) = checks_there.agents(plane(200, {"items": [], "next": None}), "shop")
    assert finding.state is State.WARNING
