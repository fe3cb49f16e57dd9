"""What every observed program here does: ask Replicate a question that names the asker."""

from __future__ import annotations

import itertools
import json
import os
import sys
from typing import Any

from replicate.client import Client

MODEL = "meta/llama-2-7b-chat"
_numbers = itertools.count()
_clients: dict[int, Client] = {}


def _client() -> Client:
    """One per process: a forked child must not use its parent's connections."""
    pid = os.getpid()
    if pid not in _clients:
        _clients[pid] = Client()
    return _clients[pid]


def ask(count: int = 1, remark: str = "") -> None:
    """One call each."""
    for _ in range(count):
        question = f"{os.getpid()} asks {next(_numbers)} {remark}".strip()
        _client().run(MODEL, input={"prompt": question})


def open_stream(remark: str = "") -> Any:
    """A stream under way: its first piece has come."""
    question = f"{os.getpid()} asks {next(_numbers)} {remark}".strip()
    stream = _client().stream(MODEL, input={"prompt": question})
    next(stream)
    return stream


def say(value: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
