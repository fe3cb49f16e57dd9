"""The rows of metrics: each histogram of calls with its name in every generation."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from llm_observe.conventions.fields import FIELDS
from llm_observe.conventions.kinds import NEWEST, GenAI

METRIC_FIELDS = (
    "operation",
    "provider",
    "request_model",
    "response_model",
    "server_address",
    "server_port",
    "error_type",
)
"""The fields that tell the points of a metric apart."""


class Metric(NamedTuple):
    """One row: a histogram of calls."""

    field: str
    unit: str
    description: str
    genai: str
    boundaries: tuple[float, ...]
    older: str = ""
    """Name under 1.36, ours because 1.36 has none; nothing: the same one."""

    def name_in(self, genai: GenAI) -> str:
        """The metric's name in a generation."""
        return self.genai if genai == NEWEST else self.older or self.genai


SECONDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Recommended boundaries of durations (OTel GenAI, "Generative AI client metrics")."""

TOKENS = tuple(float(4**power) for power in range(14))
"""Recommended boundaries of token counts: 1, 4, 16 … 67108864."""

METRICS: tuple[Metric, ...] = (
    Metric(
        "duration",
        "s",
        "Duration of an LLM call as its caller saw it.",
        "gen_ai.client.operation.duration",
        SECONDS,
    ),
    Metric(
        "tokens",
        "{token}",
        "Tokens of a call, as its server counted them.",
        "gen_ai.client.token.usage",
        TOKENS,
    ),
    Metric(
        "first_chunk",
        "s",
        "Time from the start of a streamed call to its first piece.",
        "gen_ai.client.operation.time_to_first_chunk",
        SECONDS,
        "llm_observe.client.operation.time_to_first_chunk",
    ),
    Metric(
        "per_chunk",
        "s",
        "Time from one piece of a streamed call to the next.",
        "gen_ai.client.operation.time_per_output_chunk",
        SECONDS,
        "llm_observe.client.operation.time_per_output_chunk",
    ),
)
"""What calls are counted as."""


@cache
def metric_keys_for(genai: GenAI) -> tuple[tuple[str, str], ...]:
    """The fields of `METRIC_FIELDS` with their attribute keys in this generation."""
    known = {field.name: field for field in FIELDS}
    return tuple((name, known[name].genai_in(genai)) for name in METRIC_FIELDS)
