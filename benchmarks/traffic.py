"""One contender in one process: the same calls without it and with it.

Run by ``overhead.py`` with the interpreter of the contender's environment, so it needs nothing but
the client library. Takes a job as JSON in its argument, prints what it measured as JSON.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import time
import tracemalloc
import urllib.request
from collections.abc import Callable
from typing import Any

import answers
from answers import MODEL, PIECES, PROMPT

Call = Callable[[], None]
STREAMS = {"short": 10, "long": 210}
"""Pieces of the streams whose difference is the cost of a piece."""

WARM, RUNS = 30, 4


# -- the clients ---------------------------------------------------------------------------------


class Replicate:
    """`replicate` 1.x by its module functions, which is where some contenders look."""

    def __init__(self, url: str | None) -> None:
        os.environ["REPLICATE_API_TOKEN"] = "bench"
        if url:
            os.environ["REPLICATE_BASE_URL"] = url
        self._module: Any = importlib.import_module("replicate")
        self.pieces = PIECES
        if url is None:
            http: Any = importlib.import_module("httpx")
            transport = http.MockTransport(lambda request: self._answer(http, request))
            self._module.default_client._client_kwargs["transport"] = transport

    def whole(self) -> None:
        """A blocking call."""
        self._module.run(MODEL, input={"prompt": PROMPT, "temperature": 0.7})

    def stream(self) -> None:
        """A call in pieces."""
        for _ in self._module.stream(MODEL, input={"prompt": PROMPT, "temperature": 0.7}):
            pass

    def _answer(self, http: Any, request: Any) -> Any:
        if request.url.path == "/stream":
            headers = {"content-type": "text/event-stream"}
            return http.Response(
                200, headers=headers, content=answers.replicate_events(self.pieces)
            )
        if request.method == "GET":
            return http.Response(200, json=answers.prediction("succeeded"))
        streamed = b'"stream":true' in request.content.replace(b" ", b"")
        return http.Response(201, json=answers.prediction("starting" if streamed else "succeeded"))


class OpenAI:
    """`openai`, chat completions."""

    def __init__(self, url: str | None) -> None:
        module: Any = importlib.import_module("openai")
        self.pieces = PIECES
        options: dict[str, Any] = {"api_key": "bench"}
        if url is None:
            base: Any = importlib.import_module("openai._base_client")
            http: Any = getattr(base, "httpx2", None) or base.httpx  # renamed in openai 3
            transport = http.MockTransport(lambda request: self._answer(http, request))
            options |= {"http_client": http.Client(transport=transport), "base_url": "http://o/v1"}
        else:
            options["base_url"] = f"{url}/openai/v1"
        self._client = module.OpenAI(**options)

    def whole(self) -> None:
        """A blocking call."""
        self._create()

    def stream(self) -> None:
        """A call in pieces, with usage at its end."""
        for _ in self._create(stream=True, stream_options={"include_usage": True}):
            pass

    def _create(self, **options: Any) -> Any:
        return self._client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": PROMPT}],
            temperature=0.7,
            **options,
        )

    def _answer(self, http: Any, request: Any) -> Any:
        if b'"stream":true' in request.content.replace(b" ", b""):
            headers = {"content-type": "text/event-stream"}
            return http.Response(200, headers=headers, content=answers.openai_events(self.pieces))
        return http.Response(200, json=answers.openai_answer())


CLIENTS: dict[str, Callable[[str | None], Any]] = {"replicate": Replicate, "openai": OpenAI}


# -- the measures --------------------------------------------------------------------------------


def thread_cost(job: dict[str, Any]) -> dict[str, Any]:
    """µs on the caller's thread, in CPU and by the wall; KiB at the highest point of a call."""
    client = CLIENTS[job["client"]](None)
    before = _thread_figures(client, job["calls"])
    flush = set_up(job)
    _repeat(client.whole, WARM)
    _repeat(client.stream, WARM)
    after = _thread_figures(client, job["calls"])
    flush()
    return {"before": before, "after": after}


def _thread_figures(client: Any, calls: int) -> dict[str, float]:
    _repeat(client.whole, WARM)
    found = _per_call("call", client.whole, calls)
    for name, client.pieces in STREAMS.items():
        _repeat(client.stream, 3)
        found |= _per_call(name, client.stream, calls // 4 + 8)
    client.pieces = PIECES
    return {**found, "peak_kib": _peak(client.whole, min(calls, 50))}


def _per_call(name: str, call: Call, calls: int) -> dict[str, float]:
    """µs: CPU of this thread in a call that was not disturbed, and in the middle; wall likewise."""
    cpu, wall = [], []
    gc.collect()
    for _ in range(calls):
        began = time.thread_time_ns(), time.perf_counter_ns()
        call()
        cpu.append((time.thread_time_ns() - began[0]) / 1e3)
        wall.append((time.perf_counter_ns() - began[1]) / 1e3)
    return {
        f"{name}_us": statistics.quantiles(cpu, n=10)[0],
        f"{name}_median_us": statistics.median(cpu),
        f"{name}_wall_us": statistics.quantiles(wall, n=10)[0],
    }


def _peak(call: Call, calls: int) -> float:
    """KiB above the start at the highest point of one call, median; all threads."""
    found = []
    tracemalloc.start()
    for _ in range(calls):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        found.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    return statistics.median(found) / 1024


def process_cost(job: dict[str, Any]) -> dict[str, Any]:
    """µs of CPU of all threads per call, over real connections; and what was exported."""
    client = CLIENTS[job["client"]](job["url"])
    _repeat(client.whole, WARM)
    _repeat(client.stream, WARM)
    before = _process_figures(client, job["calls"], lambda: None)
    flush = set_up(job)
    _repeat(client.whole, WARM)
    _repeat(client.stream, WARM)
    flush()
    exported(job)
    after = _process_figures(client, job["calls"], flush)
    return {
        "before": before,
        "after": after,
        "exported": exported(job),
        "calls": job["calls"] * 2 * RUNS,
    }


def _process_figures(client: Any, calls: int, flush: Call) -> dict[str, float]:
    return {
        "whole_cpu_us": _process_cpu(client.whole, calls, flush),
        "stream_cpu_us": _process_cpu(client.stream, calls, flush),
    }


def _process_cpu(call: Call, calls: int, flush: Call) -> float:
    """Of several runs, each with its flush, the one that was least disturbed."""
    gc.collect()
    found = []
    for _ in range(RUNS):
        begin = time.process_time_ns()
        _repeat(call, calls)
        flush()
        found.append((time.process_time_ns() - begin) / calls / 1e3)
    return min(found)


def startup(job: dict[str, Any]) -> dict[str, float]:
    """ms for import and set-up in this fresh process, the client library being there already."""
    client = CLIENTS[job["client"]](job["url"])
    wall, cpu = time.perf_counter(), time.thread_time()
    flush = set_up(job)
    figures = {
        "wall_ms": (time.perf_counter() - wall) * 1e3,
        "cpu_ms": (time.thread_time() - cpu) * 1e3,
    }
    begin = time.process_time()
    client.whole()
    flush()
    return {**figures, "first_call_cpu_ms": (time.process_time() - begin) * 1e3}


def set_up(job: dict[str, Any]) -> Call:
    """Run the contender's set-up; its flush."""
    names: dict[str, Any] = {"URL": job["url"] + "/otlp"}
    exec(compile(job["setup"], "<set-up>", "exec"), names)
    flush: Call = names["flush"]
    return flush


def exported(job: dict[str, Any]) -> dict[str, Any]:
    """What the sink got since it was last asked."""
    with urllib.request.urlopen(job["url"] + "/exported", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _repeat(call: Call, times: int) -> None:
    for _ in range(times):
        call()


MEASURES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "thread": thread_cost,
    "process": process_cost,
    "startup": startup,
}


def main() -> None:
    """Do one job."""
    job = json.loads(sys.argv[1])
    print(json.dumps(MEASURES[job["measure"]](job)))


if __name__ == "__main__":
    main()
