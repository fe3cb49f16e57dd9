"""How fast the embedded span store takes spans in and answers questions.

    python benchmarks/spanstore.py [--spans 200000] [--json FILE]

Spans are chats with a prompt and an answer of about 3 KB that hardly compress, four spans to a
trace. Inserting is measured from OTLP bytes to the acknowledgement after COMMIT, with one sender
that keeps a few requests under way. Questions are asked by a reader while nothing is written; the
first and the median of several runs are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from llm_observe.spanstore.model import MetricRow, SeriesQuery, SpanFilter, TraceFilter
from llm_observe.spanstore.otlp import decode_traces
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.sqlite import SpanStore

BATCH, IN_FLIGHT, RUNS = 512, 4, 7
SPANS_PER_TRACE = 4
SECOND = 10**9
MODELS = ("meta/llama-2-7b-chat", "meta/llama-2-13b-chat", "meta/llama-2-70b-chat")
BOUNDS = tuple(0.01 * 2**step for step in range(14))
WORDS = ["".join(random.Random(n).choices("abcdefghijklmnop", k=7)) for n in range(4000)]
Report = dict[str, Any]


def prose(chance: random.Random, characters: int) -> str:
    return " ".join(chance.choices(WORDS, k=characters // 8))


def fill(span: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        pair = span.attributes.add(key=key)
        if isinstance(value, int):
            pair.value.int_value = value
        else:
            pair.value.string_value = value


def request(first: int, size: int, start_ns: int, chance: random.Random) -> bytes:
    """Spans ``first`` to ``first + size``: a turn with three calls in it, again and again."""
    made = ExportTraceServiceRequest()
    holder = made.resource_spans.add()
    fill(holder.resource, {"service.name": f"chatbot-{first // 4096 % 3}"})
    scope = holder.scope_spans.add()
    for number in range(first, first + size):
        trace, place = divmod(number, SPANS_PER_TRACE)
        begin = start_ns + number * SECOND // 20
        span = scope.spans.add(
            trace_id=(trace + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            parent_span_id=(number - place + 1).to_bytes(8, "big") if place else b"",
            name="chat" if place else "turn",
            start_time_unix_nano=begin,
            end_time_unix_nano=begin + chance.randrange(SECOND, 5 * SECOND),
        )
        fill(span, attributes(trace, place, chance))
        if number % 97 == 0:
            span.status.code = Status.STATUS_CODE_ERROR
    return made.SerializeToString()


def attributes(trace: int, place: int, chance: random.Random) -> dict[str, Any]:
    session = {"session.id": f"session-{trace // 5}"}
    if not place:
        return session | {"openinference.span.kind": "CHAIN"}
    tokens = chance.randrange(20, 400)
    return session | {
        "openinference.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "replicate",
        "llm.model_name": MODELS[trace % len(MODELS)],
        "llm.token_count.prompt": 300,
        "llm.token_count.completion": tokens,
        "llm_observe.config.hash": f"{trace // 5000:016x}",
        "input.value": prose(chance, 2200),
        "output.value": prose(chance, 800),
    }


def insert(store: SpanStore, bodies: Iterator[bytes]) -> tuple[float, float, list[float]]:
    """Seconds in all, seconds of them spent decoding, and milliseconds per acknowledgement."""
    waits: list[float] = []
    pending: deque[tuple[float, Future[Any]]] = deque()
    total = decoding = 0.0
    for body in bodies:  # made outside the measured time
        started = time.perf_counter()
        rows = decode_traces(body, "application/x-protobuf")
        decoding += time.perf_counter() - started
        pending.append((time.perf_counter(), store.append(rows, [])))
        if len(pending) >= IN_FLIGHT:
            settle(pending, waits)
        total += time.perf_counter() - started
    started = time.perf_counter()
    while pending:
        settle(pending, waits)
    return total + time.perf_counter() - started, decoding, waits


def settle(pending: deque[tuple[float, Future[Any]]], waits: list[float]) -> None:
    begun, future = pending.popleft()
    future.result(600)
    waits.append((time.perf_counter() - begun) * 1000)


def metrics(start_s: int, hours: int) -> Iterator[list[MetricRow]]:
    """One point per model every ten seconds."""
    chance = random.Random(1)  # only data
    for second in range(start_s, start_s + hours * 3600, 10):
        yield [histogram(model, second, chance) for model in MODELS]


def histogram(model: str, second: int, chance: random.Random) -> MetricRow:
    counts = tuple(chance.randrange(5) for _ in range(len(BOUNDS) + 1))
    return MetricRow(
        metric="gen_ai.client.operation.duration",
        unit="s",
        stream=model.encode(),
        start_ns=(second - 10) * SECOND,
        time_ns=second * SECOND,
        cumulative=False,
        count=sum(counts),
        sum=1.0,
        bounds=BOUNDS,
        counts=counts,
        service="chatbot-0",
        model=model,
    )


def questions(reader: SpanReader, spans: int, start_s: int) -> dict[str, Callable[[], Any]]:
    middle = f"{spans // SPANS_PER_TRACE // 2 + 1:032x}"
    newest = reader.traces(limit=1).items[0]
    text = TraceFilter(text="occurs nowhere")
    day = SeriesQuery("duration", start_s, start_s + 86400, 600, "model")
    hour = SeriesQuery("duration", start_s, start_s + 3600, 10, "model")
    deep = reader.traces(limit=10_000).next
    return {
        "newest 50 traces": lambda: reader.traces(limit=50),
        "50 traces, 10,000 further down": lambda: reader.traces(limit=50, cursor=deep),
        "50 traces of a model": lambda: reader.traces(TraceFilter(model=MODELS[0])),
        "50 traces of a service and model": lambda: reader.traces(
            TraceFilter(service="chatbot-1", model=MODELS[1])
        ),
        "traces of a session": lambda: reader.traces(TraceFilter(session=newest.session)),
        "50 traces with an error": lambda: reader.traces(TraceFilter(error=True)),
        "traces over an hour long (none)": lambda: reader.traces(
            TraceFilter(min_duration_ms=3.6e6)
        ),
        "text that occurs nowhere, one bounded page": lambda: reader.traces(text),
        "one trace with its content": lambda: reader.trace(middle),
        "5,000 span rows": lambda: reader.spans(limit=5000),
        "5,000 span rows with prompt and answer": lambda: reader.spans(
            SpanFilter(), ["model", "input", "output"], 5000
        ),
        "a day of percentiles per model": lambda: reader.series(day),
        "an hour of percentiles, 10 s steps": lambda: reader.series(hour),
        "facets": reader.facets,
        "50 sessions": reader.sessions,
        "newest (a poll)": reader.newest,
        "stats": reader.stats,
    }


def timed(ask: Callable[[], Any]) -> tuple[float, float]:
    took = []
    for _ in range(RUNS):
        started = time.perf_counter()
        ask()
        took.append((time.perf_counter() - started) * 1000)
    return took[0], statistics.median(took)


def measure(path: Path, spans: int) -> Report:
    start_s = int(time.time()) - spans // 20 - 3600
    store = SpanStore(path)
    chance = random.Random(7)  # only data
    sizes = range(0, spans, BATCH)
    bodies = (request(n, min(BATCH, spans - n), start_s * SECOND, chance) for n in sizes)
    total_s, decoding_s, waits = insert(store, bodies)
    size = path.stat().st_size
    started = time.perf_counter()
    points = [store.append([], rows) for rows in metrics(start_s, 24)]
    for future in points:
        future.result(600)
    points_s = time.perf_counter() - started
    reader = store.reader()
    asked = {name: timed(ask) for name, ask in questions(reader, spans, start_s).items()}
    reader.close()
    store.close()
    return {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        },
        "spans": spans,
        "insert": {
            "spans_per_s": round(spans / total_s),
            "of_which_decoding": round(decoding_s / total_s, 2),
            "acknowledged_p50_ms": round(statistics.median(waits), 1),
            "acknowledged_max_ms": round(max(waits), 1),
            "bytes_per_span": round(size / spans),
            "metric_points_per_s": round(len(points) * len(MODELS) / points_s),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        },
        "queries_ms": {
            name: {"first": round(first, 2), "median": round(median, 2)}
            for name, (first, median) in asked.items()
        },
    }


def show(report: Report) -> None:
    print(f"{report['spans']:,} spans, batches of {BATCH}, {report['machine']}\n")
    for name, value in report["insert"].items():
        print(f"  {name:<46}{value:>12,}")
    print(f"\n  {'question':<46}{'first ms':>12}{'median ms':>12}")
    for question, took in report["queries_ms"].items():
        print(f"  {question:<46}{took['first']:>12,.2f}{took['median']:>12,.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder) / "spans.db", max(options.spans, 50_000))
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
