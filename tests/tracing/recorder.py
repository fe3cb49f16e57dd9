"""A recorder that is connected for one test, with our own faults let out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import patch
from tests.tracing.doubles import KeepingRecorder


@contextmanager
def recording(sampler: Sampler = ALWAYS_ON) -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder(sampler)
    gate.reraise = True
    patch.connect(kept)
    try:
        yield kept
    finally:
        patch.connect(None)
        gate.reraise = False


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
