"""What docs say of a key beyond its schema: an example, when a change holds, and which limit caps it.

One row per key. ``<name>`` in a path stands for a name of one's choice. A key without a row is an
error wherever notes are asked for, so a new key comes with its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class When(StrEnum):
    """From when on a change holds, counted from the moment that the program has it."""

    TRACE = "next trace"
    CALL = "next call"
    ENDED = "traces not yet judged"
    LEAVING = "at once, queued spans too"
    PROBED = "once it has answered a probe"
    AT_ONCE = "at once"


class Note(NamedTuple):
    """Of one key."""

    example: str
    """A value, as YAML."""
    when: When
    limit: str = ""
    """The variable of the limit that caps it, besides ``LLM_OBSERVE_LIMIT_REMOTE_KEYS``."""


_LEVEL = "LLM_OBSERVE_LIMIT_CAPTURE_LEVEL"
_HOSTS = "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS"
_LONGEST = "LLM_OBSERVE_LIMIT_GRANT_LONGEST_S"
_SINKS = "LLM_OBSERVE_LIMIT_LOCAL_SINKS"
_FOLDERS = "LLM_OBSERVE_LIMIT_FILE_FOLDERS"
_QUEUE = "LLM_OBSERVE_LIMIT_QUEUE_MIB"
_BUFFER = "LLM_OBSERVE_LIMIT_BUFFER_MIB"

_MATCH = {
    "service": "shop-*", "provider": "replicate", "model": "meta/llama-2-*", "session": "s-17*",
    "user": "ann|bob", "route": "/chat/*", "attributes.<name>": "blue-*",
}  # fmt: skip


def _match(prefix: str, when: When) -> dict[str, Note]:
    return {
        f"{prefix}.<name>.match.{key}": Note(f'"{value}"', when) for key, value in _MATCH.items()
    }


_PARTS = (
    "system", "input", "output", "reasoning", "tool_arguments", "tool_results", "documents",
)  # fmt: skip
_DESTINATION = "destinations.<name>"

NOTES: Mapping[str, Note] = {
    "sampling.ratio": Note("0.25", When.TRACE),
    **_match("sampling.rules", When.TRACE),
    "sampling.rules.<name>.ratio": Note("1.0", When.TRACE),
    "sampling.rules.<name>.order": Note("10", When.TRACE),
    "sampling.by": Note("session", When.TRACE),
    "sampling.per_second": Note("20", When.TRACE),
    "sampling.keep.errors": Note("true", When.ENDED),
    "sampling.keep.slower_than_s": Note("10", When.ENDED),
    "sampling.keep.first_chunk_over_s": Note("2.5", When.ENDED),
    "sampling.keep.tokens_over": Note("8000", When.ENDED),
    "sampling.keep.cost_over_usd": Note("0.05", When.ENDED),
    "sampling.keep.score_under": Note("0.5", When.ENDED),
    "sampling.keep.buffer_s": Note("120", When.ENDED),
    "sampling.keep.buffer_spans": Note("2000", When.AT_ONCE),
    "sampling.keep.buffer_mib": Note("8", When.AT_ONCE, _BUFFER),
    "capture.level": Note("redacted", When.LEAVING, _LEVEL),
    **{f"capture.{part}": Note("off", When.LEAVING, _LEVEL) for part in _PARTS},
    **_match("capture.rules", When.LEAVING),
    "capture.rules.<name>.level": Note("full", When.LEAVING, _LEVEL),
    "capture.rules.<name>.order": Note("10", When.LEAVING),
    **_match("capture.grants", When.LEAVING),
    "capture.grants.<name>.level": Note("full", When.LEAVING, _LEVEL),
    "capture.grants.<name>.until": Note('"2026-12-01T18:00:00Z"', When.LEAVING),
    "capture.grants.<name>.longest_s": Note("900", When.LEAVING, _LONGEST),
    "capture.max_chars": Note("4000", When.LEAVING),
    f"{_DESTINATION}.enabled": Note("false", When.PROBED),
    f"{_DESTINATION}.endpoint": Note('"http://phoenix.example.com:6006"', When.PROBED, _HOSTS),
    f"{_DESTINATION}.protocol": Note("file", When.PROBED, _SINKS),
    f"{_DESTINATION}.signals": Note("[traces]", When.PROBED),
    f"{_DESTINATION}.headers.<name>": Note('"env:PHOENIX_AUTHORIZATION"', When.PROBED),
    f"{_DESTINATION}.compression": Note("none", When.PROBED),
    f"{_DESTINATION}.timeout_s": Note("5", When.PROBED),
    f"{_DESTINATION}.queue_items": Note("20000", When.AT_ONCE),
    f"{_DESTINATION}.queue_mib": Note("64", When.AT_ONCE, _QUEUE),
    f"{_DESTINATION}.ca": Note('"file:/etc/tracing/ca.pem"', When.PROBED),
    f"{_DESTINATION}.client_certificate": Note('"file:/etc/tracing/client.pem"', When.PROBED),
    f"{_DESTINATION}.client_key": Note('"file:/etc/tracing/client.key"', When.PROBED),
    f"{_DESTINATION}.proxy": Note('"http://proxy.example.com:3128"', When.PROBED, _HOSTS),
    f"{_DESTINATION}.proxy_authorization": Note('"env:PROXY_AUTHORIZATION"', When.PROBED),
    f"{_DESTINATION}.path": Note('"/var/log/app/spans.jsonl"', When.PROBED, _FOLDERS),
    f"{_DESTINATION}.file_mib": Note("10", When.PROBED),
    f"{_DESTINATION}.file_keep": Note("5", When.PROBED),
    "redaction.detectors.<name>.enabled": Note("false", When.LEAVING),
    "redaction.detectors.<name>.action": Note("hash", When.LEAVING),
    "redaction.patterns.<name>.pattern": Note(r"'\bEMP-(\d{6})\b'", When.LEAVING),
    "redaction.patterns.<name>.enabled": Note("false", When.LEAVING),
    "redaction.patterns.<name>.action": Note("drop", When.LEAVING),
    "redaction.allow": Note('["*@example.org"]', When.LEAVING),
    "redaction.hash_key": Note('"env:REDACTION_KEY"', When.LEAVING),
    "conventions.genai": Note('"1.36"', When.LEAVING),
    "instrumentation.enabled": Note("false", When.CALL),
    "instrumentation.providers.<name>.enabled": Note("false", When.CALL),
    "instrumentation.log_level": Note("debug", When.AT_ONCE),
}
"""By path."""


def note_of(path: str) -> Note:
    """The row of a key.

    Raises:
        LookupError: There is none.
    """
    try:
        return NOTES[path]
    except KeyError:
        raise LookupError(f"{path} has no row in llm_observe/settings/notes.py") from None
