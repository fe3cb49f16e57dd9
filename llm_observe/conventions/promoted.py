"""What a span tells under one name, whoever wrote it: to span stores, capture and keep rules."""

from __future__ import annotations

from openinference.semconv.trace import SpanAttributes as OI

from llm_observe.conventions.fields import CAPTURE_LEVEL, CONFIG_HASH, OPERATION, SPAN_KIND

PROMOTED: dict[str, tuple[str, ...]] = {
    "kind": (SPAN_KIND, "traceloop.span.kind", "langfuse.observation.type"),
    "operation": (OPERATION, "llm.request.type"),
    "provider": ("gen_ai.provider.name", OI.LLM_PROVIDER, "gen_ai.system"),
    # The request's model is what the user chose; the response's may carry a date.
    "model": (
        "gen_ai.request.model",
        OI.LLM_REQUEST_MODEL_NAME,
        OI.LLM_MODEL_NAME,
        "gen_ai.response.model",
        OI.EMBEDDING_MODEL_NAME,
        "reranker.model_name",
        "langfuse.observation.model.name",
        "model_name",
    ),
    "session": (OI.SESSION_ID, "gen_ai.conversation.id", "langfuse.session.id"),
    "user": (OI.USER_ID, "enduser.id", "langfuse.user.id"),
    "input_tokens": (
        "gen_ai.usage.input_tokens",
        OI.LLM_TOKEN_COUNT_PROMPT,
        "gen_ai.usage.prompt_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        OI.LLM_TOKEN_COUNT_COMPLETION,
        "gen_ai.usage.completion_tokens",
    ),
    "total_tokens": (OI.LLM_TOKEN_COUNT_TOTAL, "llm.usage.total_tokens"),
    "tokens_estimated": ("llm_observe.tokens_estimated",),
    "time_to_first_chunk_s": (
        "gen_ai.response.time_to_first_chunk",
        "llm_observe.time_to_first_chunk",
    ),
    "tokens_per_second": ("llm_observe.output.tokens_per_second",),
    "queue_ms": ("llm_observe.queue_ms",),
    "cost_usd": (OI.LLM_COST_TOTAL, "gen_ai.usage.cost"),
    "finish_reason": (OI.LLM_FINISH_REASON, "gen_ai.response.finish_reasons"),
    "error_type": ("error.type", "exception.type"),
    "config_hash": (CONFIG_HASH,),
    "capture_level": (CAPTURE_LEVEL,),
}
"""Column of a span store, or what a rule looks at: the keys that may hold it, best first."""
