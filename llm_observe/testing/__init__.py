"""Test doubles that speak the real protocols: public, for users' tests as well as ours.

* `FakeReplicate`: Replicate's HTTP API over an `Engine` (`ScriptedEngine`, `OpenAIEngine`), with
  `Fault`s told to happen.
* `OTLPSink`: takes OTLP/HTTP, records every byte, and can hang, refuse, redirect or be slow.
* `serve_in_thread`: puts either on a real loopback socket.
* `capture_spans`: what your code under test recorded, as finished spans.

Needs the extra ``llm-observe[testing]``.
"""

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
from llm_observe.testing.openai_engine import OpenAIEngine
from llm_observe.testing.otlp import Answer, OTLPSink, ReceivedRequest
from llm_observe.testing.replicate import FakeReplicate, ServerLimits
from llm_observe.testing.serving import Served, serve_in_thread

__all__ = [
    "Answer",
    "Engine",
    "EngineError",
    "FakeReplicate",
    "Fault",
    "GenerationRequest",
    "OTLPSink",
    "OpenAIEngine",
    "ReceivedRequest",
    "ScriptedEngine",
    "Served",
    "ServerLimits",
    "TextChunk",
    "Usage",
    "scripted_tokens",
    "serve_in_thread",
]
