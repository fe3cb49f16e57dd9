"""What starting to observe costs the thread that asks for it.

    python benchmarks/startup.py [--rounds 15] [--json FILE]

Each figure comes from fresh processes, taken in turns so that a busy machine hits all alike. The
peer is the OpenTelemetry SDK set up by hand: a provider, a batch processor, an OTLP/HTTP exporter.
After the set-up each process makes one span and flushes it to a receiver on loopback; the CPU
is that of all threads up to then, so that work moved to other threads does not go unseen.
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

PEER = "OpenTelemetry SDK, OTLP/HTTP"
_CLOCK = "import time; wall, cpu = time.perf_counter(), time.thread_time()\n"
_LAP = """
wall, cpu = (time.perf_counter() - wall) * 1e3, (time.thread_time() - cpu) * 1e3
"""
_REPORT = """
import json
print(json.dumps({"wall_ms": wall, "cpu_ms": cpu, "all_cpu_ms": time.process_time() * 1e3}))
"""

_SDK = """
import sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(sys.argv[1] + "/v1/traces")))
trace.set_tracer_provider(provider)
"""
_PIPELINE = """
import sys
from opentelemetry.sdk.resources import Resource
from llm_observe.settings.model import Destination, Settings
from llm_observe.tracing.pipeline import Pipeline
destinations = {"bench": Destination(endpoint=sys.argv[1], signals=("traces",))}
pipeline = Pipeline(Resource.create({"service.name": "bench"}), Settings(destinations=destinations))
provider = pipeline.tracer_provider
"""
_OBSERVE = """
import os, sys
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sys.argv[1]
import llm_observe
handle = llm_observe.observe(service_name="bench")
from opentelemetry import trace
provider = trace.get_tracer_provider()
"""
_SPAN = """
provider.get_tracer("bench").start_span("one").end()
provider.force_flush()
"""


class Subject(NamedTuple):
    """One way to start."""

    name: str
    setup: str
    exports: bool = True


SUBJECTS = (
    Subject(PEER, _SDK),
    Subject("llm_observe Pipeline", _PIPELINE),
    Subject("llm_observe.observe()", _OBSERVE),
    Subject("import llm_observe", "import llm_observe\n", exports=False),
)


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
    script = _CLOCK + subject.setup + _LAP + (_SPAN if subject.exports else "") + _REPORT
    before = Receiver.taken
    unwanted = ("OTEL_", "LLM_OBSERVE_", "PYTHON")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    # An installed package is compiled; a checkout may lie where Python cannot or must not write.
    environ |= {"PYTHONPYCACHEPREFIX": compiled, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", script, url],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
        timeout=120,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures | {"exported_bytes": float(Receiver.taken - before)}


def measure(rounds: int, url: str, compiled: str) -> dict[str, Any]:
    """Medians per subject, and the ratio to the peer."""
    for subject in SUBJECTS:  # compiled files and the disk's cache, once for all
        run(subject, url, compiled)
    found: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in SUBJECTS}
    for _ in range(rounds):
        for subject in SUBJECTS:
            found[subject.name].append(run(subject, url, compiled))
    medians: dict[str, Any] = {name: _summary(runs) for name, runs in found.items()}
    for figures in medians.values():
        figures["ratio"] = round(figures["wall_ms"] / medians[PEER]["wall_ms"], 3)
    return medians


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    medians = {key: round(statistics.median(r[key] for r in runs), 2) for key in runs[0]}
    return medians | {"wall_ms_least": round(min(r["wall_ms"] for r in runs), 2)}


def show(medians: dict[str, Any]) -> None:
    """The table."""
    columns = ("wall_ms", "wall_ms_least", "cpu_ms", "ratio", "all_cpu_ms", "exported_bytes")
    print(f"{'':30}" + "".join(f"{name:>16}" for name in columns))
    for name, figures in medians.items():
        print(f"{name:30}" + "".join(f"{figures[column]:>16}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as compiled:
        url = f"http://127.0.0.1:{server.server_port}"
        medians = measure(max(1, options.rounds), url, compiled)
    server.shutdown()
    show(medians)
    if options.json:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count()}
        report = {"machine": machine, "rounds": options.rounds, "medians": medians}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
