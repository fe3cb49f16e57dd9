"""Bounds from the environment."""

from __future__ import annotations

import pytest

from llm_observe.tracing.export.bounds import Bounds, read_bounds


def test_the_opentelemetry_variables_are_honoured() -> None:
    bounds = read_bounds(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
            "OTEL_METRIC_EXPORT_INTERVAL": "60000",
        }
    )
    assert (bounds.queue_items, bounds.batch_items) == (100, 10)
    assert (bounds.delay_s, bounds.metrics_period_s) == (0.25, 60.0)


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "nan", "inf", "1e999"])
def test_what_cannot_be_read_changes_nothing(text: str) -> None:
    variables = (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_METRIC_EXPORT_INTERVAL",
    )
    assert read_bounds(dict.fromkeys(variables, text)) == Bounds()


@pytest.mark.parametrize(("queue", "batch"), [("64", 16), ("3", 1), ("8192", 256), ("100000", 256)])
def test_a_small_queue_makes_small_batches(queue: str, batch: int) -> None:
    assert read_bounds({"OTEL_BSP_MAX_QUEUE_SIZE": queue}).batch_items == batch
