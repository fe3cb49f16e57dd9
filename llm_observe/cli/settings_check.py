"""Judging a file of settings as an agent on this machine would, with the place of each problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_observe.agent.offers import ENTRY, read_offer
from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.environment import read_limits
from llm_observe.settings.positions import Position, Positions, position_of
from llm_observe.settings.schema import parse


@dataclass(frozen=True, slots=True)
class Remark:
    """One wrong key of one file, and where it stands."""

    file: str
    place: Position
    problem: Problem

    def __str__(self) -> str:
        """``settings.yaml:3:5: sampling.ratio: found 1.5, expected a number of at most 1``."""
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.problem}"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        problem = self.problem
        return {
            "file": self.file, "line": self.place.line, "column": self.place.column,
            "path": problem.path, "found": problem.found, "expected": problem.expected,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str = ""


def check(name: str, body: bytes, environ: Mapping[str, str]) -> list[Remark]:
    """What an agent on this machine would refuse, from top to bottom; empty if it would take it.

    Args:
        name: Of the file, as it is shown.
        body: YAML or JSON.
        environ: Where the limits of this machine are read (``LLM_OBSERVE_LIMIT_…``).
    """
    try:
        parse(body)
    except SettingsError as error:
        place = position_of(error.__cause__)
        return [Remark(name, place, problem) for problem in error.problems]
    try:
        read_offer({ENTRY: _File(body)}, read_limits(environ)[0])
    except SettingsError as error:
        places = Positions(body)
        found = [Remark(name, places.of(item.path), item) for item in error.problems]
        return sorted(found, key=lambda remark: remark.place)
    return []
