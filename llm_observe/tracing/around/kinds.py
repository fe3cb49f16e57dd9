"""From what is said about a step to attributes of both conventions. Pure.

OpenInference's kinds, and OTel GenAI's names for tools, agents and retrieval beside them. Which
of it may leave is decided at export, by the kind of content of each key in
`llm_observe.conventions`.
"""

from __future__ import annotations

import json
import logging
import numbers
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Literal, get_args

from openinference.semconv.trace import (
    DocumentAttributes,
    RerankerAttributes,
)
from openinference.semconv.trace import SpanAttributes as OI

from llm_observe.conventions import OPERATION, SPAN_KIND
from llm_observe.tracing.around.values import JSON, MAX_ITEMS, Bounds, encode, encode_object

logger = logging.getLogger(__name__)

Attributes = dict[str, Any]

StepKind = Literal[
    "chain", "tool", "agent", "retriever", "reranker", "embedding", "guardrail", "evaluator",
    "prompt", "llm",
]  # fmt: skip
"""What OpenInference calls a step."""
KINDS: frozenset[str] = frozenset(get_args(StepKind))
_OPERATIONS = {"tool": "execute_tool", "agent": "invoke_agent", "retriever": "retrieval"}
_PREFIXES = {
    ("reranker", "output"): RerankerAttributes.RERANKER_OUTPUT_DOCUMENTS,
    ("reranker", "input"): RerankerAttributes.RERANKER_INPUT_DOCUMENTS,
    ("retriever", "output"): OI.RETRIEVAL_DOCUMENTS,
}
_NO_CONTENT = frozenset({"id", "score"})
_CONTENTS = ("content", "page_content", "text")
_DOCUMENT = {
    "id": DocumentAttributes.DOCUMENT_ID,
    "score": DocumentAttributes.DOCUMENT_SCORE,
    "content": DocumentAttributes.DOCUMENT_CONTENT,
    "metadata": DocumentAttributes.DOCUMENT_METADATA,
}


def known(kind: object) -> str:
    """The kind in lower case; one that OpenInference does not have becomes ``chain``, logged."""
    lower = str(kind).lower()
    if lower in KINDS:
        return lower
    logger.warning(
        "%r is no kind of step, expected one of %s", lower[:32], ", ".join(sorted(KINDS))
    )
    return "chain"


def start(kind: str, name: str) -> Attributes:
    """What a sampler may want to know: no content."""
    attributes: Attributes = {SPAN_KIND: kind.upper()}
    if kind in _OPERATIONS:
        attributes[OPERATION] = _OPERATIONS[kind]
    if kind == "tool":
        attributes |= tool(name)
    if kind == "agent":
        attributes |= agent(name)
    return attributes


def value(side: str, given: Any) -> Attributes:
    """Input or output (``side``)."""
    text, mime = encode(given)
    return {f"{side}.value": text, f"{side}.mime_type": mime}


def attribute(given: Any) -> Any:
    """What OpenTelemetry can hold as it is; anything else as text."""
    if isinstance(given, bool | int | float):
        return given
    if isinstance(given, numbers.Real):
        return Bounds().copy(given)
    if isinstance(given, list | tuple) and given and _same(given[:MAX_ITEMS]):
        return [Bounds().copy(item) for item in given[:MAX_ITEMS]]
    return encode(given)[0]


def _same(items: Any) -> bool:
    kind = type(items[0])
    return kind in (str, bool, int, float) and all(type(item) is kind for item in items)


def tool(
    name: str = "", parameters: Any = None, description: str = "", call_id: str = ""
) -> Attributes:
    """A tool: who it is, what it was given, and the id of the model's call for it."""
    attributes: Attributes = {}
    for text, keys in (
        (name, (OI.TOOL_NAME, "gen_ai.tool.name")),
        (description, (OI.TOOL_DESCRIPTION, "gen_ai.tool.description")),
        (call_id, ("tool.id", "gen_ai.tool.call.id")),
    ):
        attributes |= dict.fromkeys(keys, Bounds().text(str(text))) if text else {}
    if parameters is not None:
        text = encode(parameters)[0]
        attributes |= {OI.TOOL_PARAMETERS: text, "gen_ai.tool.call.arguments": text}
    return attributes


def agent(name: str) -> Attributes:
    """An agent."""
    return dict.fromkeys((OI.AGENT_NAME, "gen_ai.agent.name"), Bounds().text(str(name)))


def prompt(
    template: str, variables: Mapping[str, Any] | None, version: str, content: bool = True
) -> Attributes:
    """A prompt's template, and what was put into it; without ``content`` its version alone."""
    attributes: Attributes = {}
    if content:
        attributes[OI.LLM_PROMPT_TEMPLATE] = Bounds().text(str(template))
    if content and variables:
        attributes[OI.LLM_PROMPT_TEMPLATE_VARIABLES] = encode_object(variables)
    if version:
        attributes[OI.LLM_PROMPT_TEMPLATE_VERSION] = Bounds().text(str(version))
    return attributes


def documents(given: Iterable[Any], kind: str, side: str, content: bool = True) -> Attributes:
    """Documents, numbered: a retriever's or a reranker's, else those of the step's input or output.

    All of them share the bounds of one value. Without ``content`` ids and scores alone.
    """
    prefix = _PREFIXES.get((kind, side), f"{side}.documents")
    bounds, attributes = Bounds(), {}
    for number, item in enumerate(islice(given, MAX_ITEMS)):
        for field, found in _document(item).items():
            if not content and field not in _NO_CONTENT:
                continue
            attributes[f"{prefix}.{number}.{_DOCUMENT[field]}"] = _field(field, found, bounds)
    return attributes


def _document(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        return {"content": item}
    held = item if isinstance(item, Mapping) else getattr(item, "__dict__", {})
    content = next((held[name] for name in _CONTENTS if held.get(name) is not None), None)
    found = {"content": content, **{name: held.get(name) for name in ("id", "score", "metadata")}}
    return {name: value for name, value in found.items() if value is not None}


def _field(field: str, found: Any, bounds: Bounds) -> Any:
    if field == "score" and isinstance(found, numbers.Real):
        return float(found)
    copied = bounds.copy(found)
    if field == "metadata" or not isinstance(copied, str | int):
        return json.dumps(copied, ensure_ascii=False)
    return str(copied)


def function(kind: str, description: str) -> Attributes:
    """What the code of a decorated function says about the step."""
    return tool(description=description) if kind == "tool" and description else {}


def given(kind: str, arguments: Mapping[str, Any]) -> Attributes:
    """The arguments of a decorated function."""
    text = encode_object(arguments)
    attributes: Attributes = {OI.INPUT_VALUE: text, OI.INPUT_MIME_TYPE: JSON}
    if kind == "tool":
        attributes |= {OI.TOOL_PARAMETERS: text, "gen_ai.tool.call.arguments": text}
    return attributes


def made(kind: str, given: Any, content: bool = True) -> Attributes:
    """What a decorated function returned or yielded; without ``content`` ids of documents alone."""
    attributes: Attributes = {}
    if content:
        attributes |= value("output", given)
    if content and kind == "tool":
        attributes["gen_ai.tool.call.result"] = attributes[OI.OUTPUT_VALUE]
    if kind in ("retriever", "reranker") and isinstance(given, list | tuple):
        attributes |= documents(given, kind, "output", content)
    return attributes
