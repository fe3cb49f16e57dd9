"""What may leave at which capture level: one table.

Three verdicts: keep as it is, mask (detectors run over it first), drop. What detectors cannot
look into (images, vectors, logs) is dropped below ``full``. Free text that the app itself attached
(tags, metadata, parameters) is masked where it is let through at all.
"""

from __future__ import annotations

from enum import Enum, auto

from llm_observe.conventions import Kind
from llm_observe.settings.model import CaptureLevel


class Verdict(Enum):
    """What happens to a value before it leaves."""

    KEEP = auto()
    MASK = auto()
    DROP = auto()


_KEEP, _MASK, _DROP = Verdict.KEEP, Verdict.MASK, Verdict.DROP

#                     off    metadata redacted full
_PLAIN = dict(zip(CaptureLevel, (_KEEP, _KEEP, _KEEP, _KEEP), strict=True))
_CONTEXT = dict(zip(CaptureLevel, (_DROP, _KEEP, _KEEP, _KEEP), strict=True))
_LABEL = dict(zip(CaptureLevel, (_DROP, _MASK, _MASK, _KEEP), strict=True))
_CONTENT = dict(zip(CaptureLevel, (_DROP, _DROP, _MASK, _KEEP), strict=True))
_OPAQUE = dict(zip(CaptureLevel, (_DROP, _DROP, _DROP, _KEEP), strict=True))

_TABLE: dict[Kind, dict[CaptureLevel, Verdict]] = dict.fromkeys(Kind, _CONTENT) | {
    Kind.CORE: _PLAIN,
    Kind.METADATA: _CONTEXT,
    Kind.LABEL: _LABEL,
    Kind.LOG: _OPAQUE,
    Kind.MEDIA: _OPAQUE,
    Kind.EMBEDDING: _OPAQUE,
}


def verdict(kind: Kind, level: CaptureLevel) -> Verdict:
    """What happens to a value of this kind at this level."""
    return _TABLE[kind][level]


def shows_content(level: CaptureLevel) -> bool:
    """Whether prompts and answers leave at all, masked or not."""
    return verdict(Kind.INPUT, level) is not Verdict.DROP
