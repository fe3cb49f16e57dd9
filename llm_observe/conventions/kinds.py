"""What a value says, and which release of the GenAI conventions it is named by."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


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
