"""Test doubles that speak the real protocols: public, for users' tests as well as ours.

* `FakeReplicate`: Replicate's HTTP API over an `Engine` (`ScriptedEngine`, `OpenAIEngine`), with
  `Fault`s told to happen.
* `FakeOpenAI`: OpenAI's chat completions over an `Engine`, whole and streamed.
* `OTLPSink`: takes OTLP/HTTP, records every byte, and can hang, refuse, redirect or be slow.
* `OTLPGrpcSink`: the same over gRPC, with `serve_grpc` for a server.
* `serve_in_thread`: puts an ASGI double on a real loopback socket.
* `capture_spans`: what your code under test recorded, as finished spans.

Needs the extra ``llm-observe[testing]``. Names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llm_observe.testing.engines import (
        Engine,
        EngineError,
        GenerationRequest,
        ScriptedEngine,
        TextChunk,
        Usage,
        scripted_tokens,
    )
    from llm_observe.testing.faults import Fault
    from llm_observe.testing.openai import FakeOpenAI
    from llm_observe.testing.openai_engine import OpenAIEngine
    from llm_observe.testing.otlp import OTLPSink
    from llm_observe.testing.otlp_grpc import OTLPGrpcSink, serve_grpc
    from llm_observe.testing.otlp_ledger import Answer, ReceivedRequest
    from llm_observe.testing.replicate import FakeReplicate, ServerLimits
    from llm_observe.testing.serving import Served, serve_in_thread
    from llm_observe.testing.spans import CapturedSpans, capture_spans

_HOMES = {
    "Answer": "otlp_ledger",
    "CapturedSpans": "spans",
    "Engine": "engines",
    "EngineError": "engines",
    "FakeOpenAI": "openai",
    "FakeReplicate": "replicate",
    "Fault": "faults",
    "GenerationRequest": "engines",
    "OTLPGrpcSink": "otlp_grpc",
    "OTLPSink": "otlp",
    "OpenAIEngine": "openai_engine",
    "ReceivedRequest": "otlp_ledger",
    "ScriptedEngine": "engines",
    "Served": "serving",
    "ServerLimits": "replicate",
    "TextChunk": "engines",
    "Usage": "engines",
    "capture_spans": "spans",
    "scripted_tokens": "engines",
    "serve_grpc": "otlp_grpc",
    "serve_in_thread": "serving",
}

__all__ = [
    "Answer",
    "CapturedSpans",
    "Engine",
    "EngineError",
    "FakeOpenAI",
    "FakeReplicate",
    "Fault",
    "GenerationRequest",
    "OTLPGrpcSink",
    "OTLPSink",
    "OpenAIEngine",
    "ReceivedRequest",
    "ScriptedEngine",
    "Served",
    "ServerLimits",
    "TextChunk",
    "Usage",
    "capture_spans",
    "scripted_tokens",
    "serve_grpc",
    "serve_in_thread",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llm_observe.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"llm_observe.testing.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
