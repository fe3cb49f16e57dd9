"""One table: our field ↔ attribute key in OpenInference and in OTel GenAI ↔ kind of content.

Three readers: `llm_observe.tracing.render` writes both conventions from it and scrubs the spans
of other instrumentors by it, and the span store promotes its columns by it. Plain data.

GenAI names are those of semantic conventions 1.41, which most back ends read today; where release
1.36 called a thing otherwise, the row says so. A ``*`` in a pattern stands for an index; a ``**``
at its end for everything below.

Two generations are offered, because two are read. 1.36 is the last release with ``gen_ai.system``
and one event per message; 1.37 replaced both, and 1.41 is the last release in which nothing else
was renamed. What the conventions' own repository has changed since (other metric names, token
counters) is not offered: neither a back end nor an instrumentation was found that reads or writes
it as a whole, and its names still move.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from openinference.semconv.trace import SpanAttributes as OI


class Kind(StrEnum):
    """What a value says, as far as privacy goes."""

    CORE = "core"
    """Model, timing, status, tokens, cost: no word of the user, no identity."""
    METADATA = "metadata"
    """Roles, counts, lengths, ids, session."""
    LABEL = "label"
    """Short free text that the app attached: tags, metadata, parameters."""
    SYSTEM = "system"
    INPUT = "input"
    OUTPUT = "output"
    REASONING = "reasoning"
    TOOL_DEFINITION = "tool_definition"
    TOOL_ARGUMENTS = "tool_arguments"
    TOOL_RESULT = "tool_result"
    DOCUMENT = "document"
    FEEDBACK = "feedback"
    ERROR = "error"
    """Exception and status text: it often quotes the prompt."""
    LOG = "log"
    """What a program printed: it may quote anything, in any form."""
    MEDIA = "media"
    """Images, sound, opaque bytes: detectors cannot look inside."""
    EMBEDDING = "embedding"
    """Vectors: text can be won back from them."""


GenAI = Literal["1.36", "1.41"]
"""A release of the OpenTelemetry GenAI conventions: a generation of names."""

NEWEST: GenAI = "1.41"


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
"""Column of a span store: the keys that may hold it, best first."""

_FOREIGN: dict[Kind, str] = {
    Kind.CORE: """
        openinference.span.kind llm.token_count.** llm.cost.** embedding.model_name
        reranker.model_name reranker.top_k error.type exception.type exception.escaped
        input.mime_type output.mime_type gen_ai.system gen_ai.usage.** gen_ai.token.type
        gen_ai.output.type gen_ai.request.stream gen_ai.request.encoding_formats
        gen_ai.embeddings.dimension.count gen_ai.response.time_to_first_token
        gen_ai.response.finish_reason gen_ai.completion.*.finish_reason llm.usage.** llm.is_streaming
        llm.request.type traceloop.span.kind server.** network.** http.request.method
        http.response.status_code http.status_code http.method rpc.system db.system db.system.name
        otel.scope.name otel.scope.version otel.library.name otel.library.version otel.status_code
        telemetry.** service.** thread.id thread.name code.function code.function.name code.filepath
        code.file.path code.lineno code.line.number code.namespace logfire.span_type
        logfire.level_num logfire.pending_parent_id logfire.sample_rate langfuse.observation.type
        langfuse.observation.model.name langfuse.observation.usage_details
        langfuse.observation.cost_details langfuse.observation.level langfuse.environment
        langfuse.release langfuse.version langfuse.observation.completion_start_time model_name
        operation.cost decision.model_name decision.request.model_name decision.response.model_name
        decision.provider decision.system decision.token_count.** ai.model.** ai.usage.**
        ai.response.finishReason ai.response.msToFirstChunk ai.response.msToFinish
        ai.response.avgCompletionTokensPerSecond
    """,
    Kind.METADATA: """
        llm.input_messages.*.message.role llm.output_messages.*.message.role
        llm.input_messages.*.message.name llm.output_messages.*.message.name
        llm.input_messages.*.message.tool_call_id llm.output_messages.*.message.tool_call_id
        llm.input_messages.*.message.tool_calls.*.tool_call.id
        llm.input_messages.*.message.tool_calls.*.tool_call.function.name
        llm.output_messages.*.message.tool_calls.*.tool_call.id
        llm.output_messages.*.message.tool_calls.*.tool_call.function.name
        llm.input_messages.*.message.function_call_name
        llm.output_messages.*.message.function_call_name
        llm.input_messages.*.message.contents.*.message_content.type
        llm.output_messages.*.message.contents.*.message_content.type
        llm.prompt_template.version tool.name tool.id agent.name graph.node.id graph.node.name
        graph.node.parent_id prompt.vendor prompt.id retrieval.documents.*.document.id
        retrieval.documents.*.document.score retrieval.documents.*.document.mime_type
        gen_ai.agent.id gen_ai.agent.name gen_ai.tool.name gen_ai.tool.type gen_ai.tool.call.id
        gen_ai.conversation.id gen_ai.data_source.id gen_ai.workflow.name gen_ai.prompt.name
        gen_ai.prompt.version gen_ai.prompt.*.role gen_ai.completion.*.role
        gen_ai.prompt.*.tool_call_id gen_ai.prompt.*.tool_calls.*.id
        gen_ai.prompt.*.tool_calls.*.name gen_ai.completion.*.tool_calls.*.id
        gen_ai.completion.*.tool_calls.*.name gen_ai.openai.response.system_fingerprint
        gen_ai.openai.request.service_tier gen_ai.openai.response.service_tier
        traceloop.workflow.name traceloop.entity.name traceloop.entity.path
        traceloop.entity.version langfuse.session.id session.id user.id enduser.id langfuse.user.id
        langfuse.observation.prompt.name langfuse.observation.prompt.version logfire.msg_template
        agent_name agent.version role id tool_call_id index finish_reason gen_ai.evaluation.name
        gen_ai.evaluation.score.value gen_ai.evaluation.score.label ai.operationId
        ai.telemetry.functionId ai.toolCall.name ai.toolCall.id
    """,
    Kind.LABEL: """
        gen_ai.request.** llm.request.** llm.openai.** llm.top_k llm.frequency_penalty llm.presence_penalty
        llm.chat.stop_sequences embedding.invocation_parameters traceloop.association.properties.**
        langfuse.observation.model.parameters langfuse.trace.name langfuse.trace.tags
        langfuse.tags langfuse.observation.metadata.** langfuse.trace.metadata.**
        langfuse.observation.metadata langfuse.trace.metadata logfire.tags
        gen_ai.agent.description ai.settings.** ai.telemetry.metadata.**
    """,
    Kind.SYSTEM: """
        gen_ai.system_instructions gen_ai.system_instructions_ref llm.prompt_template.**
        gen_ai.system.message
    """,
    Kind.INPUT: """
        input.value llm.input_messages.** llm.prompts.** gen_ai.input.** gen_ai.prompt.**
        gen_ai.prompt gen_ai.content.prompt gen_ai.prompt.variable.** traceloop.entity.input
        traceloop.prompt.** langfuse.observation.input langfuse.trace.input prompt request_data
        all_messages_events pydantic_ai.all_messages pydantic_ai.new_messages logfire.msg
        logfire.json_schema events embedding.embeddings.*.embedding.text reranker.query
        retrieval.query gen_ai.retrieval.query.text gen_ai.embeddings.input content message
        gen_ai.event.content ai.prompt.** ai.prompt ai.value ai.values
    """,
    Kind.OUTPUT: """
        output.value llm.output_messages.** llm.choices.** llm.completions.** gen_ai.output.**
        gen_ai.completion.** gen_ai.completion gen_ai.content.completion traceloop.entity.output
        langfuse.observation.output langfuse.trace.output response_data final_result completion
        ai.response.text ai.response.object ai.response.toolCalls response
    """,
    Kind.REASONING: """
        gen_ai.completion.*.reasoning ai.response.reasoning
        llm.output_messages.*.message.contents.*.message_content.signature
        llm.output_messages.*.message.contents.*.message_content.encrypted_content
    """,
    Kind.TOOL_DEFINITION: """
        llm.tools.** llm.function_call gen_ai.tool.definitions gen_ai.tool.description
        llm.request.functions.** tool.description tool.json_schema model_request_parameters ai.prompt.tools
    """,
    Kind.TOOL_ARGUMENTS: """
        tool.parameters gen_ai.tool.call.arguments tool_arguments
        llm.input_messages.*.message.tool_calls.** llm.output_messages.*.message.tool_calls.**
        llm.input_messages.*.message.function_call_arguments_json
        llm.output_messages.*.message.function_call_arguments_json
        gen_ai.prompt.*.tool_calls.** gen_ai.completion.*.tool_calls.** ai.toolCall.args
    """,
    Kind.TOOL_RESULT: "gen_ai.tool.call.result tool_response ai.toolCall.result",
    Kind.DOCUMENT: """
        retrieval.documents.** input.documents.** output.documents.** reranker.input_documents.**
        reranker.output_documents.** gen_ai.retrieval.documents prompt.url
    """,
    Kind.FEEDBACK: """
        annotations.** evaluations.** trace.annotations.** trace.evaluations.**
        session.annotations.** session.evaluations.** gen_ai.evaluation.explanation
    """,
    Kind.ERROR: """
        exception.message exception.stacktrace langfuse.observation.status_message
        logfire.exception.fingerprint error.message otel.status_description code.stacktrace
    """,
    Kind.MEDIA: """
        input.images.** output.images.** ai.response.files
        llm.input_messages.*.message.contents.*.message_content.image.**
        llm.input_messages.*.message.contents.*.message_content.audio.**
        llm.input_messages.*.message.contents.*.message_content.video.**
        llm.input_messages.*.message.contents.*.message_content.data
        llm.output_messages.*.message.contents.*.message_content.image.**
        llm.output_messages.*.message.contents.*.message_content.audio.**
        llm.output_messages.*.message.contents.*.message_content.video.**
        llm.output_messages.*.message.contents.*.message_content.data
    """,
    Kind.EMBEDDING: "embedding.embeddings.** ai.embedding ai.embeddings",
}

FEEDBACK: dict[str, tuple[str, str]] = {
    "annotations": ("span", "annotation"),
    "evaluations": ("span", "evaluation"),
    "trace.annotations": ("trace", "annotation"),
    "trace.evaluations": ("trace", "evaluation"),
    "session.annotations": ("session", "annotation"),
    "session.evaluations": ("session", "evaluation"),
}
"""Where results stand: ``{collection}.{number}.{word}.{field}``, by collection what was judged."""

VERDICTS = ("name", "score", "label", "annotator_kind", "identifier")
"""Fields of a result that are no content; the others say why."""

SKELETONS = frozenset(
    {
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "pydantic_ai.all_messages",
        "all_messages_events",
    }
)
"""Keys whose JSON keeps roles and shape at level ``metadata``; the words in it go."""

SKELETON_NAMES = frozenset({"role", "type", "finish_reason"})
"""Names inside that JSON whose text stays."""

LLM_MARKS = ("gen_ai.", "llm.", "traceloop.", "langfuse.", "openinference.", "ai.", "pydantic_ai.")
"""Beginnings of keys that only spans about LLM work carry."""

_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")

KINDS: dict[str, Kind] = {
    pattern: kind for kind, patterns in _FOREIGN.items() for pattern in patterns.split()
}
KINDS.update((key, field.kind) for field in FIELDS for key in field.keys)
KINDS.update((f"{field.openinference}.**", field.kind) for field in FIELDS if field.openinference)
KINDS.update((key, Kind.LABEL) for key in PARAMETERS.values())
KINDS.update(dict.fromkeys((CAPTURE_LEVEL, CONTENT_DROPPED), Kind.CORE))
KINDS.update(
    (f"{collection}.*.{word}.{field}", Kind.METADATA)
    for collection, (_, word) in FEEDBACK.items()
    for field in VERDICTS
)


@lru_cache(maxsize=4096)
def kind_of(key: str) -> Kind | None:
    """The kind of an attribute key of any known instrumentor; None for a stranger.

    The exact pattern wins, then the longest beginning that ends in ``**``.
    """
    pattern = _INDEX.sub("*", key)
    found = KINDS.get(pattern)
    while found is None and pattern:
        pattern = pattern.rpartition(".")[0]
        found = KINDS.get(f"{pattern}.**")
    return found


def is_llm(keys: Iterable[str]) -> bool:
    """Whether attribute keys are those of a span about LLM work."""
    return any(key.startswith(LLM_MARKS) for key in keys)


@cache
def keys_for(genai: GenAI) -> Mapping[str, tuple[str, ...]]:
    """Field name to the attribute keys it is written under in this generation."""
    return MappingProxyType({field.name: field.keys_in(genai) for field in FIELDS})


@cache
def metric_keys_for(genai: GenAI) -> tuple[tuple[str, str], ...]:
    """The fields of `METRIC_FIELDS` with their attribute keys in this generation."""
    known = {field.name: field for field in FIELDS}
    return tuple((name, known[name].genai_in(genai)) for name in METRIC_FIELDS)


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
