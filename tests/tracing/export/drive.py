"""A pipeline with short times, and calls to put through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Span

from llm_observe.settings.model import Capture, CaptureLevel, Destination, Sampling, Settings
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.pipeline import Pipeline

PATIENCE_S = 20.0
RESOURCE = Resource({"service.name": "tested"})
CANARY = "canary-7f3a"

QUICK: Mapping[str, Any] = {
    "delay_s": 0.02,
    "retry_first_s": 0.02,
    "retry_most_s": 0.1,
    "grace_s": 0.2,
    "metrics_period_s": 3600.0,
}


def settings(
    *,
    level: CaptureLevel = CaptureLevel.FULL,
    ratio: float = 1.0,
    signals: tuple[Any, ...] = ("traces", "metrics"),
    timeout_s: float = 10.0,
    headers: Mapping[str, str] | None = None,
    compression: Any = "gzip",
    **endpoints: str,
) -> Settings:
    """Settings with a destination per keyword."""
    return Settings(
        sampling=Sampling(ratio=ratio),
        capture=Capture(level=level),
        destinations={
            name: Destination(
                endpoint=url,
                signals=signals,
                timeout_s=timeout_s,
                headers=headers or {},
                compression=compression,
            )
            for name, url in endpoints.items()
        },
    )


@contextmanager
def running_pipeline(
    begin: Settings, environ: Mapping[str, str] | None = None, **bounds: Any
) -> Iterator[Pipeline]:
    pipeline = Pipeline(
        RESOURCE, begin, "hash-0", bounds=Bounds(**{**QUICK, **bounds}), environ=environ or {}
    )
    try:
        yield pipeline
    finally:
        pipeline.shutdown(1.0)


def make_call(text: str = CANARY, **known: Any) -> Call:
    return Call(
        provider="replicate",
        system="meta",
        request_model="meta/llama-2-7b-chat",
        input=[Message("user", f"ask {text}")],
        output=[Message("assistant", f"answer {text}")],
        **known,
    )


def record(pipeline: Pipeline, call: Call | None = None) -> Span:
    """One whole call; its span."""
    call = call or make_call()
    span = pipeline.start(call)
    call.end_ns = call.now()
    pipeline.finish(span, call)
    return span


def span_id(span: Span) -> bytes:
    return span.get_span_context().span_id.to_bytes(8, "big")


def attributes(span: Any) -> dict[str, Any]:
    """A decoded span's attributes as plain values."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}
