"""What starting to observe costs the thread that asks for it.

    python benchmarks/startup.py [--rounds 15] [--no-peers] [--json FILE]

Each figure comes from fresh processes, taken in turns so that a busy machine hits all alike. The
yardstick is the OpenTelemetry SDK set up by hand: a provider, a batch processor, an OTLP/HTTP
exporter. Where a row names a client library, that was imported before the clock starts, as in an
application that uses it: the peers would import it themselves. After the set-up each process makes
one span and flushes it to a receiver on loopback; the CPU is that of all threads up to then, so
that work moved to other threads does not go unseen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from contenders import CONTENDERS, SDK_ROW, Contender, environment

YARDSTICK = "OpenTelemetry SDK, OTLP/HTTP"
MOST_ROUNDS = 200
_CLOCK = "import time; wall, cpu = time.perf_counter(), time.thread_time()\n"
_LAP = """
wall, cpu = (time.perf_counter() - wall) * 1e3, (time.thread_time() - cpu) * 1e3
"""
_REPORT = """
import json
print(json.dumps({"wall_ms": wall, "cpu_ms": cpu, "all_cpu_ms": time.process_time() * 1e3}))
"""

_PIPELINE = """
from opentelemetry.sdk.resources import Resource
from llm_observe.settings.model import Destination, Settings
from llm_observe.tracing.pipeline import Pipeline
destinations = {"bench": Destination(endpoint=URL, signals=("traces",))}
pipeline = Pipeline(Resource.create({"service.name": "bench"}), Settings(destinations=destinations))
from opentelemetry import trace
trace.set_tracer_provider(pipeline.tracer_provider)
flush = lambda: pipeline.flush(30)
"""
_SPAN = """
from opentelemetry import trace
trace.get_tracer("bench").start_span("one").end()
flush()
"""


class Subject(NamedTuple):
    """One way to start."""

    name: str
    setup: str
    python: str = sys.executable
    client: str = ""
    """Imported before the clock starts."""
    exports: bool = True


def subjects(peers: bool) -> tuple[Subject, ...]:
    """The rows; those of peers in environments of their own."""
    ours = (
        Subject(YARDSTICK, SDK_ROW.setup),
        Subject("llm_observe Pipeline", _PIPELINE),
        Subject("llm_observe.observe()", CONTENDERS[0].setup),
        Subject("import llm_observe", "import llm_observe\n", exports=False),
    )
    rows = [x for x in CONTENDERS if not x.name.endswith("*")]
    return ours + tuple(map(_peer, rows if peers else []))


def _peer(row: Contender) -> Subject:
    name = f"{row.name}, {row.client}"
    return Subject(name, row.setup, str(environment(row)), row.client)


class Receiver(BaseHTTPRequestHandler):
    """Takes everything, and counts the bytes of spans."""

    taken = 0

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        self.rfile.read(size)
        if self.path == "/v1/traces":
            type(self).taken += size
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def run(subject: Subject, url: str, compiled: str) -> dict[str, float]:
    """One fresh process; its figures in milliseconds, and the bytes of spans that arrived."""
    before_clock = f"import sys, {subject.client or 'sys'}\nURL = sys.argv[1]\n"
    span = _SPAN if subject.exports else ""
    script = before_clock + _CLOCK + subject.setup + _LAP + span + _REPORT
    before = Receiver.taken
    unwanted = ("OTEL_", "LLM_OBSERVE_", "PYTHON")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    # An installed package is compiled; a checkout may lie where Python cannot or must not write.
    environ |= {"PYTHONPYCACHEPREFIX": compiled, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [subject.python, "-c", script, url],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
        timeout=120,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures | {"exported_bytes": float(Receiver.taken - before)}


def measure(rows: tuple[Subject, ...], rounds: int, url: str, compiled: str) -> dict[str, Any]:
    """Medians per subject, and the ratio to the yardstick."""
    for subject in rows:  # compiled files and the disk's cache, once for all
        run(subject, url, compiled)
    found: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in rows}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for subject in rows:
            found[subject.name].append(run(subject, url, compiled))
    medians: dict[str, Any] = {name: _summary(runs) for name, runs in found.items()}
    for figures in medians.values():
        figures["ratio"] = round(figures["wall_ms"] / medians[YARDSTICK]["wall_ms"], 3)
        figures["cpu_ratio"] = round(figures["cpu_ms"] / medians[YARDSTICK]["cpu_ms"], 3)
    return medians


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    medians = {key: round(statistics.median(r[key] for r in runs), 2) for key in runs[0]}
    return medians | {"wall_ms_least": round(min(r["wall_ms"] for r in runs), 2)}


def show(medians: dict[str, Any]) -> None:
    """The table."""
    columns = (
        "wall_ms", "wall_ms_least", "ratio", "cpu_ms", "cpu_ratio", "all_cpu_ms", "exported_bytes",
    )  # fmt: skip
    print(f"{'':30}" + "".join(f"{name:>16}" for name in columns))
    for name, figures in medians.items():
        print(f"{name:30}" + "".join(f"{figures[column]:>16}" for column in columns))


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"at most {MOST_ROUNDS}")
    parser.add_argument("--no-peers", action="store_true", help="only ours and the SDK")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = min(max(1, options.rounds), MOST_ROUNDS)
    rows = subjects(not options.no_peers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as compiled:
        medians = measure(rows, rounds, f"http://127.0.0.1:{server.server_port}", compiled)
    server.shutdown()
    show(medians)
    if options.json:
        machine: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count()}
        machine["load_15_minutes"] = round(os.getloadavg()[2], 1)  # of whatever else ran here
        report = {"machine": machine, "rounds": rounds, "medians": medians}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
