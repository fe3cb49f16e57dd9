"""A program that does what it reads, a word a line, and ends with its input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import llm_observe
from tests.processes.programs.work import ask, say

if __name__ == "__main__":
    handle = llm_observe.observe()
    say(handle.instance_id)
    verbs: dict[str, Callable[[], Any]] = {
        "name": lambda: handle.instance_id,
        "ask": ask,
        "ratio": lambda: handle.settings().sampling.ratio,
    }
    for line in sys.stdin:
        say(verbs[line.strip()]())
