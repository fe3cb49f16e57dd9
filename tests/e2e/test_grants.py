"""Timed capture grants with a real control plane and a real program: they end, whatever happens."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from llm_observe.testing import Answer, OTLPSink, serve_in_thread
from tests.e2e.harness import App, ControlPlane, eventually

pytestmark = pytest.mark.e2e
StartApp = Callable[..., App]
CANARY = "CANARY-8e77"
LONG_S = 600.0


@dataclass
class Observed:
    """A program with one destination, and ways to begin a grant in it."""

    plane: ControlPlane
    sink: OTLPSink
    start: Callable[[], App]
    app: App

    def grant(self, seconds: float, **wish: Any) -> str:
        """Begin a grant, and wait until the program has acknowledged it."""
        body = {"service": "chat", "for_s": seconds, **wish}
        answer = self.plane.http.post("/api/v1/grants", json=body)
        assert answer.status_code == 201, answer.text
        self.plane.progress(answer.json()["change"]["version"], "acknowledged")
        name: str = answer.json()["id"]
        return name

    def records(self) -> bool:
        """Whether the prompt of a call leaves now."""
        self.sink.clear()
        self.app.ask("call", CANARY)
        self.app.ask("flush")
        assert self.sink.spans()
        return self.sink.holds(CANARY)

    def level(self) -> str:
        """What the program itself says is in force."""
        return str(self.app.status()["settings"]["capture"]["level"])


@pytest.fixture
def observed(plane: ControlPlane, start_app: StartApp) -> Iterator[Observed]:
    sink = OTLPSink()
    with serve_in_thread(sink) as at:

        def start() -> App:
            settings = {"destinations": {"sink": {"endpoint": at.url, "signals": ["traces"]}}}
            return start_app(service_name="chat", server=plane.url, settings=settings)

        observed = Observed(plane, sink, start, start())
        plane.agent("chat")
        yield observed
        sink.release()


def test_it_is_in_force_until_its_end_and_the_control_plane_sees_both(observed: Observed) -> None:
    assert not observed.records()
    name = observed.grant(8)
    assert observed.records()
    agent = observed.plane.agent("chat")
    assert agent["full_capture"]
    source = agent["effective"]["sources"]["capture.level"]
    assert source["layer"] == "grant"
    assert agent["full_capture_until"] == pytest.approx(source["until"])
    (grant,) = observed.plane.get("/grants")["items"]
    assert (grant["id"], grant["state"]) == (name, "running")
    assert [one["uid"] for one in grant["agents"]] == [agent["uid"]]
    eventually(lambda: not observed.plane.agent("chat")["full_capture"], "the grant ends")
    assert not observed.records()
    agent = observed.plane.agent("chat")
    assert agent["effective"]["document"]["capture"]["level"] == "metadata"
    assert agent["effective"]["document"]["capture"]["grants"] == {}
    assert agent["effective"]["sources"]["capture.level"]["layer"] == "default"
    assert agent["config"]["state"] == "in sync"
    assert observed.plane.get("/grants")["items"][0]["state"] == "over"


def test_it_ends_on_time_with_the_server_killed(observed: Observed) -> None:
    observed.grant(5)
    observed.plane.signal(signal.SIGKILL)
    eventually(lambda: observed.level() == "metadata", "the grant ends")
    assert not observed.records()
    observed.plane.start()
    eventually(lambda: not observed.plane.agent("chat")["full_capture"], "the end is told")


def test_a_restarted_process_goes_on_with_it_and_ends_it_on_time(observed: Observed) -> None:
    observed.grant(25)
    end = time.time() + 25
    observed.app.close()
    observed.plane.signal(signal.SIGKILL)
    observed.app = observed.start()
    assert observed.level() == "full" or time.time() >= end
    eventually(lambda: observed.level() == "metadata", "the grant ends")
    assert time.time() >= end - 2
    assert not observed.records()


def test_a_process_that_is_stopped_sends_nothing_under_it_afterwards(observed: Observed) -> None:
    observed.grant(6)
    end = time.time() + 6
    observed.sink.answer_with(Answer(status=503))
    observed.app.ask("burst", 20, CANARY)
    observed.app.signal(signal.SIGSTOP)
    time.sleep(max(0.0, end - time.time()) + 0.5)
    observed.sink.clear()
    observed.sink.answer_with(Answer())
    observed.app.signal(signal.SIGCONT)
    observed.app.ask("flush")
    assert len(observed.sink.spans()) == 20
    assert not observed.sink.holds(CANARY)


def test_revoked_it_ends_at_once_with_a_request_that_hangs(observed: Observed) -> None:
    name = observed.grant(LONG_S)
    observed.sink.answer_with(Answer(hang=True))
    observed.app.ask("call", CANARY)
    eventually(lambda: observed.sink.in_flight, "the request is under way")
    version = observed.plane.http.delete(f"/api/v1/grants/{name}").json()["version"]
    observed.plane.progress(version, "acknowledged")
    observed.sink.answer_with(Answer())
    observed.sink.release()
    observed.app.ask("flush")
    first, *later = [CANARY.encode() in each.body for each in observed.sink.requests("traces")]
    assert first
    assert observed.sink.spans()
    assert not any(later)


def test_one_that_was_revoked_is_not_brought_back_by_undo(observed: Observed) -> None:
    name = observed.grant(LONG_S)
    version = observed.plane.http.delete(f"/api/v1/grants/{name}").json()["version"]
    observed.plane.progress(version, "acknowledged")
    observed.plane.http.post(f"/api/v1/versions/{version}/undo")
    assert observed.plane.get("/grants")["items"] == []
    assert not observed.records()


def test_limits_of_the_program_hold(plane: ControlPlane, start_app: StartApp) -> None:
    limits = {"capture_level": "redacted", "grant_longest_s": 60}
    start_app(service_name="chat", server=plane.url, limits=limits)
    plane.agent("chat")
    body = {"service": "chat", "for_s": 3600}
    version = plane.http.post("/api/v1/grants", json=body).json()["change"]["version"]
    (agent,) = plane.progress(version, "refused")["agents"]
    assert "level: found full, expected at most redacted" in agent["error"]
    assert "longest_s: found 3600.0, expected at most 60" in agent["error"]
