"""One pass over a text that tells which of many patterns it can match at all.

Done by RE2, whose time is linear in the text whatever the patterns. Where it is not installed
(extra ``llm-observe[privacy]``) every pattern may match, which is slower and finds the same.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

Candidates = Callable[[str], Sequence[int]]
"""The numbers of the patterns that a text may match, in their order."""


def re2() -> Any:
    """The module, or None where it is not installed. Heavy: loaded when it is first asked for."""
    try:
        return importlib.import_module("re2")
    except ImportError:
        return None


def prefilter(patterns: Sequence[str]) -> Candidates:
    """What to ask for each text. The patterns must be such as RE2 reads."""
    every = range(len(patterns))
    module = re2()
    if module is None or not patterns:
        return lambda text: every
    found = module.Set.SearchSet()
    for pattern in patterns:
        found.Add(pattern)
    found.Compile()

    def candidates(text: str) -> Sequence[int]:
        try:
            return sorted(found.Match(text) or ())
        except UnicodeEncodeError:  # half a surrogate pair: no UTF-8, so RE2 cannot look
            return every

    return candidates
