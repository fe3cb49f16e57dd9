"""URLs of a destination."""

from __future__ import annotations

import pytest

from llm_observe.settings.model import Destination
from llm_observe.tracing.export.target import target_of


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://h:4318",
        "http://h:4318/",
        "http://h:4318/v1/traces",
        "http://h:4318/v1/traces/",
        "http://h:4318/v1/metrics",
    ],
)
def test_a_base_url_and_a_full_traces_url_name_the_same_place(endpoint: str) -> None:
    target = target_of(Destination(endpoint=endpoint))
    assert target.url("traces") == "http://h:4318/v1/traces"
    assert target.url("metrics") == "http://h:4318/v1/metrics"


def test_a_path_before_the_signal_is_kept() -> None:
    target = target_of(Destination(endpoint="https://cloud/api/public/otel"))
    assert target.traces == "https://cloud/api/public/otel/v1/traces"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://h", "http://h:4317"),
        ("https://h/", "https://h:4317"),
        ("https://h:443", "https://h:443"),
        ("http://[::1]", "http://[::1]:4317"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_grpc_has_one_address_for_all_signals_and_a_port_of_its_own(
    endpoint: str, url: str
) -> None:
    target = target_of(Destination(endpoint=endpoint, protocol="grpc"))
    assert (target.traces, target.metrics) == (url, url)
