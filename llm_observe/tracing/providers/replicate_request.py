"""What a request to Replicate says: model, operation, messages, parameters, server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.snapshots import FIXED, snapshot

DEFAULT_SERVER = "https://api.replicate.com"

# Part of a model's name → whose API shape or family it is (OpenInference, `llm.system`).
_SYSTEMS = (
    ("llama", "meta"),
    ("mistral", "mistralai"),
    ("mixtral", "mistralai"),
    ("claude", "anthropic"),
    ("gpt-", "openai"),
    ("deepseek", "deepseek"),
    ("gemini", "google"),
    ("gemma", "google"),
    ("granite", "ibm"),
    ("grok", "xai"),
    ("qwen", "qwen"),
)
_CHAT_NAMES = ("chat", "instruct", "claude", "gpt-", "gemini", "deepseek", "grok")
_LANGUAGE_PARAMETERS = frozenset({"max_new_tokens", "max_tokens", "max_length", "stop_sequences"})

# Texts that steer the model and are no content.
_TEXT_PARAMETERS = frozenset(
    {"stop_sequences", "stop", "scheduler", "output_format", "aspect_ratio", "reasoning_effort"}
)
_ROLES = {"system_prompt": "system", "prompt": "user"}  # in this order


def model_of(ref: Any) -> tuple[str, str]:
    """``owner/name`` and version of anything that the client takes as a reference."""
    if isinstance(ref, str):
        model, _, version = ref.partition(":")
        return model, version
    owner, name = getattr(ref, "owner", None), getattr(ref, "name", None)
    if owner and name:
        return f"{owner}/{name}", str(getattr(ref, "version", None) or "")
    if isinstance(ref, tuple):
        return "/".join(map(str, ref[:2])), ""
    return "", version_of(ref)


def version_of(ref: Any) -> str:
    """A version's id, of a version or an id."""
    return ref if isinstance(ref, str) else str(getattr(ref, "id", ""))


class Family(NamedTuple):
    """What a model's name says."""

    system: str
    """The family; else the owner, so that the required attribute is never made up."""
    chats: bool
    """It takes turns of a conversation, not a raw prompt."""
    writes: bool
    """It is a language model of a known family."""


@lru_cache(maxsize=256)
def family_of(model: str) -> Family:
    """What a model's name says."""
    name = model.lower()
    system = next((system for part, system in _SYSTEMS if part in name), "")
    chats = any(part in name for part in _CHAT_NAMES)
    return Family(system or model.partition("/")[0] or "replicate", chats, bool(system))


def operation_of(family: Family, given: Mapping[str, Any]) -> str:
    """The GenAI operation: chat, completion of a raw prompt, or something that is no text model."""
    if family.chats or "messages" in given or "system_prompt" in given:
        return "chat"
    if family.writes or not _LANGUAGE_PARAMETERS.isdisjoint(given):
        return "text_completion"
    return "generate_content"


def taken(given: Any) -> dict[str, Any]:
    """The inputs as they are now; what the caller changes later does not reach them."""
    if not isinstance(given, Mapping):
        return {}
    return {
        str(name): value if type(value) in FIXED else snapshot(value)
        for name, value in given.items()
    }


def inputs(given: Mapping[str, Any]) -> tuple[list[Message], dict[str, Any], dict[str, Any]]:
    """Messages, parameters, and content that is no message."""
    messages: list[Message] = []
    parameters: dict[str, Any] = {}
    content: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, bool | int | float) or value is None:
            parameters[str(name)] = value
        elif name in _TEXT_PARAMETERS:
            parameters[name] = snapshot(value)
        elif not (isinstance(value, str) and name in _ROLES) and name != "messages":
            content[str(name)] = without_files(value)
    for name, role in _ROLES.items():
        if isinstance(given.get(name), str):
            messages.append(Message(role, given[name]))
    return messages + _turns(given.get("messages")), parameters, content


_MOST_SERVERS = 256
_servers: dict[int, tuple[object, tuple[str, int | None]]] = {}
"""By the address of a client's URL object, which is kept so that the address stays its own."""


def server_of(client: Any) -> tuple[str, int | None]:
    """Host and port that the client talks to, without making it open anything."""
    made = getattr(client, "_Client__client", None) or getattr(
        client, "_Client__async_client", None
    )
    url = getattr(client, "_base_url", None) if made is None else made.base_url
    if url is None:
        return host_and_port(os.environ.get("REPLICATE_BASE_URL") or DEFAULT_SERVER)
    known = _servers.get(id(url))
    if known is None:
        if len(_servers) >= _MOST_SERVERS:
            _servers.clear()
        known = _servers[id(url)] = url, host_and_port(str(url))
    return known[1]


@lru_cache(maxsize=64)
def host_and_port(url: str) -> tuple[str, int | None]:
    """Host and port of a URL; the port by its scheme where it names none."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def limit_of(call: Call) -> int | None:
    """How many tokens the answer was allowed to have, if the request says."""
    names = ("max_new_tokens", "max_tokens", "max_length")
    limits = [call.parameters[name] for name in names if name in call.parameters]
    return limits[0] if limits and isinstance(limits[0], int) else None


def _turns(given: Any) -> list[Message]:
    turns = given if isinstance(given, list | tuple) else ()
    return [_turn(turn) for turn in turns if isinstance(turn, Mapping)]


def _turn(turn: Mapping[str, Any]) -> Message:
    content = turn.get("content", "")
    text = content if isinstance(content, str) else json.dumps(without_files(content))
    return Message(str(turn.get("role", "user")), text)


def without_files(value: Any) -> Any:
    """A value as data, in which files that are inlined as data URIs are only named."""
    return _named(snapshot(value))


def short(text: str) -> str:
    """The text, or of a file that is inlined as a data URI its type and size."""
    if not _INLINED.match(text):
        return text
    return f"{text[:64].partition(',')[0]} ({len(text)} characters)"


_INLINED = re.compile(r"data:[\w.+-]+/[\w.+-]+[;,]")


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return short(value)
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value
