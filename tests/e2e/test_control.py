"""One setting, from the control plane to a running program and back as a true acknowledgement."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_observe.testing import OTLPSink, serve_in_thread
from tests.e2e.harness import App, ControlPlane, eventually
from tests.opamp.io.serving import free_port

pytestmark = pytest.mark.e2e
StartApp = Callable[..., App]


def test_a_call_becomes_a_span_in_the_control_plane(
    plane: ControlPlane, start_app: StartApp
) -> None:
    app = start_app(service_name="chat", server=plane.url, settings={"capture": {"level": "full"}})
    answer = app.ask("call", "why is the sky blue?")
    trace = eventually(lambda: plane.traces(service="chat"), "the trace arrives")[0]
    assert trace["model"] == "meta/llama-2-7b-chat"
    assert trace["error"] is False
    assert trace["tokens_in"] > 0
    assert trace["tokens_out"] > 0
    assert trace["ttft_ms"] > 0
    spans = plane.get(f"/traces/{trace['trace_id']}")
    assert "why is the sky blue?" in str(spans)
    assert answer.strip()[:20] in str(spans)


def test_ratio_zero_gives_no_spans_while_metrics_go_on(
    plane: ControlPlane, start_app: StartApp
) -> None:
    app = start_app({"OTEL_METRIC_EXPORT_INTERVAL": "500"}, service_name="chat", server=plane.url)
    plane.agent("chat")
    version = plane.set(sampling__ratio=0)["version"]
    plane.progress(version, "acknowledged")
    app.ask("burst", 5, "hello")
    app.ask("flush")

    def counted() -> int:
        series = plane.get("/series", metric="calls")
        return sum(int(point["count"]) for line in series for point in line["points"])

    eventually(lambda: counted() == 5, "metrics count the five calls")
    assert plane.traces() == []


def test_capture_off_keeps_a_canary_out_of_every_byte(
    plane: ControlPlane, start_app: StartApp
) -> None:
    sink = OTLPSink()
    with serve_in_thread(sink) as served:
        app = start_app(
            {"OTEL_METRIC_EXPORT_INTERVAL": "500"},
            service_name="chat",
            server=plane.url,
            settings={"capture": {"level": "full"}},
        )
        plane.agent("chat")
        version = plane.set(
            "chat", **{"destinations.sink.endpoint": served.url, "capture.level": "off"}
        )["version"]
        plane.progress(version, "acknowledged")
        app.ask("call", "CANARY-7f3a")
        assert app.ask("flush")
    eventually(lambda: plane.traces(service="chat"), "the trace arrives")
    assert sink.spans()
    assert not sink.holds("CANARY-7f3a")
    for trace in plane.traces():
        assert "CANARY-7f3a" not in str(plane.get(f"/traces/{trace['trace_id']}"))
    assert not plane.traces(text="CANARY-7f3a")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"sampling.ratio": 1.5}, "sampling.ratio"),
        ({"sampling.rate": 1}, "sampling.rate"),
        (
            {"destinations.a.endpoint": "http://h", "destinations.a.headers": {"x-key": "hunter2"}},
            "destinations.a.headers.x-key",
        ),
    ],
)
def test_a_wrong_key_is_refused_before_it_is_stored(
    plane: ControlPlane, changes: dict[str, object], path: str
) -> None:
    answer = plane.http.patch("/api/v1/settings", json={"set": changes})
    assert answer.status_code == 422
    assert [p["path"] for p in answer.json()["problems"]] == [path]
    assert "hunter2" not in answer.text
    assert plane.get("/versions")["items"] == []


def test_a_destination_that_does_not_answer_is_refused_by_the_program(
    plane: ControlPlane, start_app: StartApp
) -> None:
    app = start_app(service_name="chat", server=plane.url)
    before = plane.agent("chat")["effective"]["document"]
    dead = f"http://127.0.0.1:{free_port()}"
    version = plane.set(**{"destinations.dead.endpoint": dead, "sampling.ratio": 0.5})["version"]
    found = plane.progress(version, "refused")["agents"][0]
    assert [p["path"] for p in found["problems"]] == ["destinations.dead.endpoint"]
    agent = plane.agent("chat")
    assert agent["effective"]["document"] == before
    assert agent["acknowledged"]["state"] == "failed"
    assert app.status()["settings"]["sampling"]["ratio"] == 1.0
    app.ask("call", "still alive?")
    eventually(lambda: plane.traces(service="chat"), "spans go on to the old destination")


def test_undo_brings_back_the_former_state(plane: ControlPlane, start_app: StartApp) -> None:
    app = start_app(service_name="chat", server=plane.url)
    plane.agent("chat")
    plane.progress(plane.set(sampling__ratio=0.25)["version"], "acknowledged")
    plane.progress(plane.set(sampling__ratio=0.75)["version"], "acknowledged")
    undone = plane.http.post("/api/v1/undo", json={}).json()["version"]
    plane.progress(undone, "acknowledged")
    assert app.status()["settings"]["sampling"]["ratio"] == 0.25
    keys = {row["path"]: row for row in plane.agent("chat")["keys"]}
    assert (keys["sampling.ratio"]["effective"], keys["sampling.ratio"]["layer"]) == (
        0.25,
        "remote",
    )


def test_limits_in_code_hold_against_the_control_plane(
    plane: ControlPlane, start_app: StartApp
) -> None:
    app = start_app(
        service_name="chat",
        server=plane.url,
        limits={"capture_level": "metadata", "remote_keys": ["capture"]},
    )
    plane.agent("chat")
    version = plane.set(**{"capture.level": "full", "sampling.ratio": 0})["version"]
    found = plane.progress(version, "refused")["agents"][0]
    assert sorted(p["path"] for p in found["problems"]) == ["capture.level", "sampling.ratio"]
    settings = app.status()["settings"]
    assert (settings["capture"]["level"], settings["sampling"]["ratio"]) == ("metadata", 1.0)
