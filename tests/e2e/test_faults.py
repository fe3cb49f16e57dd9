"""Pulling the plug: on the control plane, on the program, on a destination under load."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_observe.testing import OTLPSink, serve_in_thread
from tests.e2e.harness import App, ControlPlane, eventually

pytestmark = pytest.mark.e2e
StartApp = Callable[..., App]


def test_effective_is_never_copied_from_desired(plane: ControlPlane, start_app: StartApp) -> None:
    app = start_app(service_name="chat", server=plane.url)
    before = plane.agent("chat")
    app.signal(signal.SIGSTOP)
    version = plane.set(sampling__ratio=0.1)["version"]
    stopped = plane.get(f"/agents/{before['uid']}")
    assert stopped["desired"]["document"] == {"sampling": {"ratio": 0.1}}
    assert stopped["effective"]["document"]["sampling"]["ratio"] == 1.0
    assert stopped["effective"]["at"] == before["effective"]["at"]
    assert plane.get(f"/versions/{version}/progress")["state"] == "pending"
    app.signal(signal.SIGCONT)
    plane.progress(version, "acknowledged")
    after = plane.get(f"/agents/{before['uid']}")
    assert after["effective"]["document"]["sampling"]["ratio"] == 0.1
    assert after["effective"]["at"] > before["effective"]["at"]


def test_a_killed_control_plane_loses_nothing_it_acknowledged(
    plane: ControlPlane, start_app: StartApp
) -> None:
    app = start_app(service_name="chat", server=plane.url)
    plane.agent("chat")
    version = plane.set("chat", sampling__ratio=1.0)["version"]
    plane.progress(version, "acknowledged")
    app.tell("burst", 200, "under load")
    eventually(lambda: len(plane.traces()) > 20, "spans arrive")
    acknowledged = {trace["trace_id"] for trace in plane.traces()}
    plane.signal(signal.SIGKILL)
    assert app.answer() == 200
    plane.start()
    assert acknowledged <= {trace["trace_id"] for trace in plane.traces()}
    assert [item["version"] for item in plane.get("/versions")["items"]] == [version]
    assert plane.get("/settings", service="chat")["document"] == {"sampling": {"ratio": 1.0}}
    plane.agent("chat")
    assert app.ask("flush")
    eventually(lambda: len(plane.traces()) == 200, "what was queued meanwhile arrives, once")


def test_a_program_that_starts_without_its_server_keeps_the_last_good_settings(
    plane: ControlPlane, start_app: StartApp
) -> None:
    first = start_app(
        service_name="chat", server=plane.url, settings={"capture": {"level": "full"}}
    )
    plane.agent("chat")
    version = plane.set(**{"capture.level": "off", "sampling.ratio": 0.5})["version"]
    plane.progress(version, "acknowledged")
    first.close()
    plane.signal(signal.SIGKILL)
    second = start_app(
        service_name="chat", server=plane.url, settings={"capture": {"level": "full"}}
    )
    status = second.status()
    assert status["connected"] is False
    assert status["settings"]["capture"]["level"] == "off"
    assert status["settings"]["sampling"]["ratio"] == 0.5
    plane.start()
    agent = plane.agent("chat")
    assert agent["acknowledged"]["state"] == "applied"
    assert agent["config"]["state"] == "in sync"


def test_a_destination_moved_under_load_loses_nothing_that_it_does_not_count(
    plane: ControlPlane, start_app: StartApp
) -> None:
    """Ten queue lengths of spans go through; the queue is small so that it would show.

    What comes faster than a busy machine can send does not fit it: that is counted as dropped.
    """
    old, new = OTLPSink(), OTLPSink()
    queue = 64
    calls = 10 * queue
    with serve_in_thread(old) as old_at, serve_in_thread(new) as new_at:
        app = start_app(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": old_at.url, "OTEL_BSP_MAX_QUEUE_SIZE": str(queue)},
            service_name="chat",
            server=plane.url,
        )
        plane.agent("chat")
        app.tell("burst", calls, "moved")
        eventually(lambda: len(old.spans()) > 20, "spans arrive at the old destination")
        version = plane.set(**{"destinations.default.endpoint": new_at.url})["version"]
        plane.progress(version, "acknowledged")
        had = len(old.requests())
        assert app.answer() == calls
        assert app.ask("flush")
        assert len(old.requests()) == had
        seen = [span.span_id for sink in (old, new) for span in sink.spans()]
        dropped = app.status()["dropped"]
        assert len(seen) == len(set(seen)) == calls - dropped
        assert dropped < calls / 2


def test_an_ingest_token_cannot_set_anything(plane: ControlPlane) -> None:
    token = plane.http.post("/api/v1/tokens", json={"kind": "ingest", "name": "app"}).json()
    secret = token["value"]
    answer = plane.http.patch(
        "/api/v1/settings",
        json={"set": {"sampling.ratio": 0}},
        headers={"Authorization": f"Bearer {secret}"},
    )
    assert answer.status_code == 403
    assert plane.get("/versions")["items"] == []
    assert secret not in Path(plane.data.parent, "serve.log").read_text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:4320"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_page_of_another_origin_can_change_nothing(
    plane: ControlPlane, headers: dict[str, str]
) -> None:
    for method, path in [
        ("PATCH", "/api/v1/settings"),
        ("POST", "/api/v1/undo"),
        ("POST", "/v1/traces"),
    ]:
        answer = plane.http.request(
            method, path, json={"set": {"sampling.ratio": 0}}, headers=headers
        )
        assert answer.status_code in {400, 403, 421}, (method, path, answer.text)
    read = plane.http.get("/api/v1/agents", headers=headers)
    assert "access-control-allow-origin" not in read.headers
    assert plane.get("/versions")["items"] == []
