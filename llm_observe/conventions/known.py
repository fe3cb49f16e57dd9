"""Every key of every known instrumentor, and what it says; decides what leaves under a level."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from llm_observe.conventions.fields import CAPTURE_LEVEL, CONTENT_DROPPED, FIELDS, KEPT, PARAMETERS
from llm_observe.conventions.kinds import Kind

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
KINDS.update(dict.fromkeys((CAPTURE_LEVEL, CONTENT_DROPPED, KEPT), Kind.CORE))
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
