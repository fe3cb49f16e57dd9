"""Health of destinations: each signal for itself."""

from __future__ import annotations

from llm_observe.agent.health import Seen, tree
from llm_observe.opamp import Health
from llm_observe.tracing.export.status import PipelineStatus, SignalStatus, joined

GOOD = SignalStatus(sent=5, last_success=10.0)
BAD = SignalStatus(queued=3, last_error="gRPC UNAVAILABLE: connection refused", last_error_at=20.0)


def health(traces: SignalStatus, metrics: SignalStatus) -> Health:
    status = joined("http://h:4317", "grpc", traces, metrics)
    seen = Seen(status=PipelineStatus(destinations={"a": status}))
    return tree(seen, 1, 2).components["destination:a"]


def test_a_destination_says_where_and_how_it_is_reached_and_what_went_there() -> None:
    found = health(GOOD, GOOD)
    assert found.healthy
    assert found.attributes == {
        "sent": 5, "failed": 0, "queued": 0, "dropped": 0,
        "endpoint": "http://h:4317", "protocol": "grpc",
    }  # fmt: skip
    assert found.components["metrics"].attributes["sent"] == 5


def test_the_signal_that_fails_is_named_and_the_other_is_not_blamed() -> None:
    found = health(GOOD, BAD)
    assert (found.healthy, found.status) == (False, "degraded")
    assert found.last_error == "metrics: gRPC UNAVAILABLE: connection refused"
    assert found.components["traces"].healthy
    assert found.components["metrics"].attributes["queued"] == 3


def test_an_error_before_the_latest_success_is_over() -> None:
    again = SignalStatus(last_error="x", last_error_at=5.0, last_success=10.0)
    assert health(again, GOOD).healthy


def test_a_signal_that_is_not_taken_is_said_and_is_no_trouble() -> None:
    found = health(GOOD, SignalStatus(state="gRPC UNIMPLEMENTED", failed=1))
    assert found.healthy
    metrics = found.components["metrics"]
    assert (metrics.healthy, metrics.status) == (True, "off")
    assert metrics.last_error == "it does not take these: gRPC UNIMPLEMENTED"
    assert health(GOOD, SignalStatus(state="off")).components["metrics"].last_error == ""
