"""The rows of a call: each field with its keys in every convention, and its kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from openinference.semconv.trace import SpanAttributes as OI

from llm_observe.conventions.kinds import NEWEST, GenAI, Kind


class Field(NamedTuple):
    """One row: a field of `llm_observe.tracing.call.Call`, or a value made from several."""

    name: str
    kind: Kind
    openinference: str = ""
    genai: str = ""
    own: str = ""
    """Key of ours, where neither convention has one."""
    older: str | None = None
    """Key in place of ``genai`` under 1.36, ours where 1.36 has none; None: the same one."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All attribute keys of the field, of every generation."""
        return tuple(filter(None, (self.openinference, self.genai, self.own, self.older)))

    def keys_in(self, genai: GenAI) -> tuple[str, ...]:
        """The attribute keys that the field is written under."""
        return tuple(filter(None, (self.openinference, self.genai_in(genai), self.own)))

    def genai_in(self, genai: GenAI) -> str:
        """The field's GenAI key in a generation, or nothing."""
        return self.genai if genai == NEWEST or self.older is None else self.older


_C, _M, _L = Kind.CORE, Kind.METADATA, Kind.LABEL

CONFIG_HASH = "llm_observe.config.hash"
CAPTURE_LEVEL = "llm_observe.capture.level"
KEPT = "llm_observe.sampling.kept"
"""The rule by which a trace was exported that its share had dropped; on all of its spans."""
FINDS = "llm_observe.redaction.finds"
"""With a dot and the name of a rule: how many different things it found in the span. A number, never
what was found."""
CONTENT_DROPPED = "llm_observe.content.dropped"
"""True where a fault while rendering or redacting cost the span some of its content."""
OPERATION = "gen_ai.operation.name"
SPAN_KIND = OI.OPENINFERENCE_SPAN_KIND

FIELDS: tuple[Field, ...] = (
    Field("operation", _C, "", OPERATION),
    Field("provider", _C, OI.LLM_PROVIDER, "gen_ai.provider.name", older="gen_ai.system"),
    Field("system", _C, OI.LLM_SYSTEM),
    Field("model", _C, OI.LLM_MODEL_NAME),
    Field("request_model", _C, OI.LLM_REQUEST_MODEL_NAME, "gen_ai.request.model"),
    Field("response_model", _C, OI.LLM_RESPONSE_MODEL_NAME, "gen_ai.response.model"),
    Field("model_version", _C, own="llm_observe.model.version"),
    Field("server_address", _C, "", "server.address"),
    Field("server_port", _C, "", "server.port"),
    Field("streaming", _C, "", "gen_ai.request.stream", older=""),
    Field("input_tokens", _C, OI.LLM_TOKEN_COUNT_PROMPT, "gen_ai.usage.input_tokens"),
    Field("output_tokens", _C, OI.LLM_TOKEN_COUNT_COMPLETION, "gen_ai.usage.output_tokens"),
    Field("total_tokens", _C, OI.LLM_TOKEN_COUNT_TOTAL),
    Field("tokens_estimated", _C, own="llm_observe.tokens_estimated"),
    Field("finish_reason", _C, OI.LLM_FINISH_REASON, "gen_ai.response.finish_reasons"),
    Field("error_type", _C, "", "error.type"),
    Field("aborted", _C, own="llm_observe.aborted"),
    Field(
        "time_to_first_chunk_s",
        _C,
        "",
        "gen_ai.response.time_to_first_chunk",
        older="llm_observe.time_to_first_chunk",
    ),
    Field("tokens_per_second", _C, own="llm_observe.output.tokens_per_second"),
    Field("queue_ms", _C, own="llm_observe.queue_ms"),
    Field("predict_s", _C, own="llm_observe.server.predict_time"),
    Field("server_first_token_s", _C, own="llm_observe.server.time_to_first_token"),
    Field("config_hash", _C, own=CONFIG_HASH),
    Field("response_id", _M, "", "gen_ai.response.id"),
    Field("session", _M, OI.SESSION_ID, "gen_ai.conversation.id"),
    Field("user", _M, OI.USER_ID),
    Field("tags", _L, OI.TAG_TAGS),
    Field("metadata", _L, OI.METADATA),
    Field("parameters", _L, OI.LLM_INVOCATION_PARAMETERS),
    Field("input_messages", _M, own="llm_observe.input.messages"),
    Field("input_characters", _M, own="llm_observe.input.characters"),
    Field("output_characters", _M, own="llm_observe.output.characters"),
    Field("output_chunks", _M, own="llm_observe.output.chunks"),
    Field("logs", Kind.LOG, own="llm_observe.server.logs"),
    Field("input_value", Kind.INPUT, OI.INPUT_VALUE),
    Field("output_value", Kind.OUTPUT, OI.OUTPUT_VALUE),
    # Under 1.36 messages are events: see MESSAGE_EVENTS.
    Field("input", Kind.INPUT, OI.LLM_INPUT_MESSAGES, "gen_ai.input.messages", older=""),
    Field("output", Kind.OUTPUT, OI.LLM_OUTPUT_MESSAGES, "gen_ai.output.messages", older=""),
    Field("system_instructions", Kind.SYSTEM, "", "gen_ai.system_instructions", older=""),
)
"""What a call of ours is rendered to."""

MESSAGE_EVENTS: Mapping[str, str] = MappingProxyType(
    {
        "system": "gen_ai.system.message",
        "user": "gen_ai.user.message",
        "assistant": "gen_ai.assistant.message",
        "tool": "gen_ai.tool.message",
    }
)
"""Generation 1.36: role of a message that was sent, and its event (other roles: the user's)."""

CHOICE_EVENT = "gen_ai.choice"
"""Generation 1.36: the event of one answer."""

PARAMETERS: dict[str, str] = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_new_tokens": "gen_ai.request.max_tokens",
    "max_length": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "stop_sequences": "gen_ai.request.stop_sequences",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
}
"""Request parameter, by the names that providers give it, to its GenAI key."""

CONTEXT_FIELDS = ((OI.SESSION_ID, "session"), (OI.USER_ID, "user"), (OI.METADATA, "metadata"))
"""Keys that OpenInference keeps in the OpenTelemetry context, and the field each fills."""

CONTEXT_ATTRIBUTES = (
    OI.LLM_PROMPT_TEMPLATE,
    OI.LLM_PROMPT_TEMPLATE_VERSION,
    OI.LLM_PROMPT_TEMPLATE_VARIABLES,
)
"""Further such keys; they go onto the span as they are, by their kind."""


@cache
def keys_for(genai: GenAI) -> Mapping[str, tuple[str, ...]]:
    """Field name to the attribute keys it is written under in this generation."""
    return MappingProxyType({field.name: field.keys_in(genai) for field in FIELDS})


def renamed(attributes: Mapping[str, Any], genai: GenAI) -> dict[str, Any]:
    """Attributes under the newest names, under those of a generation; what it lacks goes."""
    keys = _renames(genai)
    return {name: value for key, value in attributes.items() if (name := keys.get(key, key))}


@cache
def _renames(genai: GenAI) -> Mapping[str, str]:
    fields = (field for field in FIELDS if field.genai)
    return {field.genai: field.genai_in(genai) for field in fields}


def schema_url(genai: GenAI) -> str:
    """The schema that the GenAI names of a generation belong to (OTel, "Telemetry Schemas")."""
    return f"https://opentelemetry.io/schemas/{genai}.0"
