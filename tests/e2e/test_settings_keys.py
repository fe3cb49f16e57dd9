"""Every key of the settings is set from the control plane, and its effect seen from outside.

One control plane for all; each test has a service of its own, which sends to sinks of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from llm_observe.cli.keys import key_rows
from llm_observe.settings.schema import json_schema
from llm_observe.testing import Answer, OTLPGrpcSink, OTLPSink, Served, serve_grpc, serve_in_thread
from tests.e2e.harness import App, ControlPlane, eventually

pytestmark = pytest.mark.e2e
StartApp = Callable[..., App]
CANARY = "CANARY-51d0"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    control = ControlPlane(tmp_path_factory.mktemp("keys") / "data").start()
    yield control
    control.stop()


@dataclass
class Observed:
    """A program whose only destination is ``sink``, under the control plane."""

    app: App
    sink: OTLPSink
    at: Served
    plane: ControlPlane
    service: str

    def set(self, **changes: Any) -> None:
        """Set keys (``sink__timeout_s`` is the sink's), and wait for the acknowledgement."""
        paths = {path.replace("sink__", "destinations.sink."): v for path, v in changes.items()}
        version = self.plane.set(self.service, **paths)["version"]
        self.plane.progress(version, "acknowledged")

    def call(self) -> None:
        """One call, and all of it sent."""
        self.app.ask("call", CANARY)
        self.app.ask("flush")


@pytest.fixture
def observed(
    plane: ControlPlane, start_app: StartApp, request: pytest.FixtureRequest
) -> Iterator[Observed]:
    sink, service = OTLPSink(), request.node.name[:60]
    with serve_in_thread(sink) as at:
        app = start_app(
            {"SINK_KEY": "s3cret", "OTEL_METRIC_EXPORT_INTERVAL": "500"},
            service_name=service,
            server=plane.url,
            settings={"destinations": {"sink": {"endpoint": at.url}}},
        )
        plane.agent(service)
        yield Observed(app, sink, at, plane, service)
        sink.release()


def attributes(sink: Any) -> dict[str, Any]:
    """Those of the newest span, as plain values."""
    span = sink.spans()[-1]
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def test_sampling_ratio(observed: Observed) -> None:
    observed.set(sampling__ratio=0)
    observed.call()
    assert observed.sink.spans() == []
    assert observed.sink.metrics() != []


def test_capture_level(observed: Observed) -> None:
    observed.set(capture__level="full")
    observed.call()
    assert observed.sink.holds(CANARY)
    observed.sink.clear()
    observed.set(capture__level="off")
    observed.call()
    assert observed.sink.spans()
    assert not observed.sink.holds(CANARY)


def test_endpoint(observed: Observed) -> None:
    other = OTLPSink()
    with serve_in_thread(other) as at:
        observed.set(sink__endpoint=at.url)
        had = observed.sink.count
        observed.call()
        assert other.spans()
        assert observed.sink.count == had


def test_protocol(observed: Observed) -> None:
    receiver = OTLPGrpcSink()
    with serve_grpc(receiver) as at:
        observed.set(sink__endpoint=at.url, sink__protocol="grpc")
        observed.call()
        assert attributes(receiver)["gen_ai.operation.name"] == "chat"
        eventually(receiver.metrics, "metrics arrive over gRPC")
        observed.set(sink__endpoint=observed.at.url, sink__protocol="http/protobuf")
        had = receiver.count
        observed.call()
        assert observed.sink.spans()
        assert receiver.count == had


def test_enabled(observed: Observed) -> None:
    observed.set(sink__enabled=False)
    had = observed.sink.count
    observed.call()
    assert observed.sink.count == had
    observed.set(sink__enabled=True)
    observed.call()
    assert observed.sink.spans()


def test_signals(observed: Observed) -> None:
    observed.set(sink__signals=["metrics"])
    observed.call()
    assert observed.sink.metrics() != []
    assert observed.sink.spans() == []
    observed.set(sink__signals=["traces"])
    observed.sink.clear()
    observed.call()
    assert observed.sink.spans()
    assert observed.sink.requests("metrics") == []


def test_headers(observed: Observed) -> None:
    observed.set(sink__headers={"x-key": "env:SINK_KEY"})
    observed.call()
    assert observed.sink.requests("traces")[-1].headers["x-key"] == "s3cret"
    agent = observed.plane.agent(observed.service)
    assert "s3cret" not in str(agent)


def test_compression(observed: Observed) -> None:
    for compression, encoding in (("none", None), ("gzip", "gzip")):
        observed.set(sink__compression=compression)
        observed.call()
        assert observed.sink.requests("traces")[-1].headers.get("content-encoding") == encoding


def test_timeout_s(observed: Observed) -> None:
    observed.set(sink__timeout_s=0.5, sink__signals=["traces"])
    observed.sink.answer_with(Answer(hang=True))
    observed.app.ask("call", CANARY)
    said = "last error: no answer within 0.5 s"
    eventually(lambda: said in observed.app.status()["text"], "the request is given up")


def test_conventions_genai(observed: Observed) -> None:
    for release, there, gone in (
        ("1.36", "gen_ai.system", "gen_ai.provider.name"),
        ("1.41", "gen_ai.provider.name", "gen_ai.system"),
    ):
        observed.set(conventions__genai=release)
        observed.call()
        found = attributes(observed.sink)
        assert found[there] == "replicate"
        assert gone not in found


def test_every_key_has_a_test_here() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {name_of(row.path) for row in key_rows(json_schema())} <= tests


def name_of(path: str) -> str:
    """`destinations.<name>.timeout_s` is tested by `test_timeout_s`, the rest by their whole path."""
    names = [name for name in path.split(".") if name != "<name>"]
    return "_".join(names[1:] if names[0] == "destinations" else names)
