"""What `doctor` finds: one sentence each, with how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad a finding is. Only ``broken`` makes `doctor` fail."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    area: str
    state: State
    sentence: str


def ok(area: str, sentence: str) -> Finding:
    """As it should be."""
    return Finding(area, State.OK, sentence)


def remark(area: str, sentence: str) -> Finding:
    """Neither good nor bad."""
    return Finding(area, State.NOTE, sentence)


def warning(area: str, sentence: str) -> Finding:
    """Works, but not as one might think."""
    return Finding(area, State.WARNING, sentence)


def broken(area: str, sentence: str) -> Finding:
    """Does not work."""
    return Finding(area, State.BROKEN, sentence)
