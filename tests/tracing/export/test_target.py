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
    ],
)
def test_a_base_url_and_a_full_traces_url_name_the_same_place(endpoint: str) -> None:
    target = target_of(Destination(endpoint=endpoint))
    assert target.url("traces") == "http://h:4318/v1/traces"
    assert target.url("metrics") == "http://h:4318/v1/metrics"


def test_a_path_before_the_signal_is_kept() -> None:
    target = target_of(Destination(endpoint="https://cloud/api/public/otel"))
    assert target.traces == "https://cloud/api/public/otel/v1/traces"
