"""A WSGI app that asks when it is asked, and says who it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import llm_observe
from tests.processes.programs.work import ask

handle = llm_observe.observe()


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    ask(1, environ.get("QUERY_STRING", ""))
    body = json.dumps({"pid": os.getpid(), "instance": handle.instance_id}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Connection", "close")])
    return [body]
