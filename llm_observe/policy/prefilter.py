"""Patterns looked for by RE2, whose time is linear in the text whatever the patterns.

Where it is not installed (extra ``llm-observe[privacy]``) the same is found, slower.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

_BUDGETS = (8 << 20, 64 << 20)
"""Bytes that all patterns may take together; most take a fraction of the first."""

Candidates = Callable[[str], Sequence[int]]
"""The numbers of the patterns that a text may match, in their order."""
Places = Callable[[str], Iterable[tuple[int, int]]]
"""Where a pattern matches, from left to right."""


def re2() -> Any:
    """The module, or None where it is not installed. Heavy: loaded when it is first asked for."""
    try:
        return importlib.import_module("re2")
    except ImportError:
        return None


def compiled(pattern: str) -> Any:
    """A pattern read by RE2, which must be installed.

    Raises:
        re2.error: RE2 does not read it.
    """
    options = re2().Options()
    options.log_errors = False
    return re2().compile(pattern, options)


def prefilter(patterns: Sequence[str]) -> Candidates:
    """One pass over a text that tells which of many patterns it can match at all.

    Without RE2 every pattern may match, and so it is where the patterns are too large together.
    They must be such as RE2 reads.
    """
    every = range(len(patterns))
    found = _together(patterns) if patterns and re2() is not None else None
    if found is None:
        return lambda text: every

    def candidates(text: str) -> Sequence[int]:
        try:
            numbers = found.Match(text)
            return sorted(numbers) if numbers else ()
        except UnicodeEncodeError:  # half a surrogate pair: no UTF-8, so RE2 cannot look
            return every

    return candidates


def _together(patterns: Sequence[str]) -> Any:
    """All patterns as one; None if they are too large together, though none is alone."""
    for budget in _BUDGETS:
        options = re2().Options()
        options.log_errors, options.max_mem = False, budget
        found = re2().Set.SearchSet(options)
        for pattern in patterns:
            found.Add(pattern)
        try:
            found.Compile()
        except re2().error:
            continue
        return found
    return None


def scanner(pattern: str) -> Places:
    """Where a pattern matches that RE2 and `re` read alike; made ready when it is first used."""

    def places(text: str) -> Iterable[tuple[int, int]]:
        try:
            data = text.encode()
        except UnicodeEncodeError:  # half a surrogate pair: RE2 cannot look
            return [(0, len(text))]
        # In ASCII, places in bytes are places in characters, and cost no counting.
        subject: Any = data if len(data) == len(text) else text
        engine = _engine(pattern)
        if isinstance(engine, re.Pattern):
            subject = text
        return (match.span() for match in engine.finditer(subject))

    return places


@cache
def _engine(pattern: str) -> Any:
    return re.compile(pattern) if re2() is None else compiled(pattern)
