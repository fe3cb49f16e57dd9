"""What it costs an application to be observed: ours beside every peer, on the same traffic.

    python benchmarks/overhead.py [--rounds 5] [--calls 200] [--only NAME] [--json FILE]

Two kinds of calls, whole and in pieces, through the real client libraries. On the caller's thread
they meet a transport in the same process, so that no network noise is in the figures; the CPU of
the whole process is taken over real connections to a server in another process. Prompt and answer
are exported by everybody (checked), as OTLP/HTTP to the same sink.

Each figure is the difference between the calls with a contender and the same calls before it was
set up, in the same process. Rounds are taken in turns so that a busy machine hits all alike, and
of each side the least disturbed round counts. On the caller's thread the figure is that of a call
that nothing disturbed (10th percentile); the median is told beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, MISSING, NOTES, OURS, SDK_ROW, Contender, environment, versions
from traffic import STREAMS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "overhead.json"
MOST_ROUNDS, MOST_CALLS = 50, 5000
CHUNKS = STREAMS["long"] - STREAMS["short"]

Figures = dict[str, Any]

COLUMNS = {
    "call_us": "caller, µs/call",
    "call_median_us": "caller, median µs/call",
    "call_wall_us": "caller, wall µs/call",
    "stream_us": "caller, µs/short stream",
    "chunk_us": "caller, µs/chunk",
    "whole_cpu_us": "process, µs/call",
    "stream_cpu_us": "process, µs/stream",
    "cpu_ns_per_byte": "process, ns/byte",
    "peak_kib": "memory, KiB/call",
    "startup_ms": "start-up, ms",
    "spans": "spans/call",
    "attributes": "attributes/call",
    "bytes": "bytes/call",
}
"""Figure to its heading. ``ns/byte``: CPU of the process per byte of span exported, before gzip."""


@contextmanager
def backend() -> Iterator[str]:
    """The server's URL."""
    command = [sys.executable, str(HERE / "backend.py")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait(30)


def run(contender: Contender, measure: str, url: str, calls: int) -> Figures:
    """One job in a fresh process of the contender's environment."""
    job = {
        "measure": measure,
        "client": contender.client,
        "setup": contender.setup,
        "url": url,
        "calls": calls if measure == "thread" else max(1, calls // 3),
    }
    unwanted = ("OTEL_", "LLM_OBSERVE_", "PYTHON", "REPLICATE_", "OPENAI_")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    done = subprocess.run(
        [environment(contender), str(HERE / "traffic.py"), json.dumps(job)],
        capture_output=True,
        text=True,
        env=environ,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{contender.name} ({contender.client}), {measure}:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(contenders: list[Contender], url: str, rounds: int, calls: int) -> list[Figures]:
    """All figures of all contenders."""
    jobs = [(contender, kind) for contender in contenders for kind in ("thread", "process")]
    jobs += [(contender, "startup") for contender in (*contenders, SDK_ROW)]
    found: dict[tuple[Contender, str], list[Figures]] = {job: [] for job in jobs}
    for number in range(rounds):
        for contender, kind in jobs:
            said = f"round {number + 1} of {rounds}: {contender.name} ({contender.client}), {kind}"
            print(said, file=sys.stderr)
            found[contender, kind].append(run(contender, kind, url, calls))
    yardstick = _startup(found[SDK_ROW, "startup"])
    return [
        {
            "name": contender.name,
            "client": contender.client,
            **_thread(found[contender, "thread"]),
            **_process(found[contender, "process"]),
            "startup_ms": (start := _startup(found[contender, "startup"])),
            "startup_to_sdk": round(start / yardstick, 3),
        }
        for contender in contenders
    ]


def _thread(runs: list[Figures]) -> Figures:
    cost = _least(runs)
    return {
        "call_us": round(cost["call_us"], 2),
        "call_median_us": round(cost["call_median_us"], 2),
        "call_wall_us": round(cost["call_wall_us"], 2),
        "stream_us": round(cost["short_us"], 2),
        "chunk_us": round((cost["long_us"] - cost["short_us"]) / CHUNKS, 3),
        "chunk_wall_us": round((cost["long_wall_us"] - cost["short_wall_us"]) / CHUNKS, 3),
        "peak_kib": round(cost["peak_kib"], 2),
    }


def _process(runs: list[Figures]) -> Figures:
    cost, exported = _least(runs), runs[-1]["exported"]
    calls = runs[-1]["calls"]
    size = (exported["bytes"] + exported["log_bytes"]) / calls
    mean = (cost["whole_cpu_us"] + cost["stream_cpu_us"]) / 2
    return {
        "whole_cpu_us": round(cost["whole_cpu_us"], 1),
        "stream_cpu_us": round(cost["stream_cpu_us"], 1),
        "cpu_ns_per_byte": round(mean * 1000 / size, 1) if size else None,
        "spans": round(exported["spans"] / calls, 2),
        "attributes": round(exported["attributes"] / calls, 1),
        "bytes": round(size),
        "wire_bytes": round(exported["wire_bytes"] / calls),
        "log_bytes": round(exported["log_bytes"] / calls),
        "content": min(exported["prompts"], exported["answers"]) >= calls,
    }


def _least(runs: list[Figures]) -> dict[str, float]:
    """With a contender less without it, of each the round that was least disturbed."""
    return {
        name: min(run["after"][name] for run in runs) - min(run["before"][name] for run in runs)
        for name in runs[0]["after"]
    }


def _startup(runs: list[Figures]) -> float:
    return round(statistics.median(run["wall_ms"] for run in runs), 1)


def show(rows: list[Figures]) -> None:
    """A table per client: a column per contender, each figure of a peer with its ratio to ours."""
    ours = next((row for row in rows if row["name"] == OURS), None)
    for client in dict.fromkeys(row["client"] for row in rows):
        shown = [row for row in rows if row["client"] == client]
        print(f"\n{client:26}" + "".join(f"{row['name']:>20}" for row in shown))
        for name, heading in COLUMNS.items():
            print(f"{heading:26}" + "".join(f"{_cell(row, name, ours):>20}" for row in shown))
        for row in shown:
            if not row["content"]:
                print(f"{row['name']} exported calls without prompt or answer: not comparable")
            if row["name"] in NOTES:
                print(f"{row['name']}: {NOTES[row['name']]}")
        if client in MISSING:
            print(f"{MISSING[client]}; the ratios are to ours on replicate")
    print("\nIn brackets: the peer's figure as a multiple of ours.")


def _cell(row: Figures, name: str, ours: Figures | None) -> str:
    value = row[name]
    if value is None or ours is None or row is ours or not ours[name]:
        return f"{value}"
    return f"{value} ({value / ours[name]:.2f})"


def report(
    rows: list[Figures], contenders: list[Contender], options: argparse.Namespace
) -> Figures:
    """What is written: figures, and what they were taken with."""
    names = {"opentelemetry-sdk"}
    found = {
        f"{each.name} ({each.client})": versions(
            environment(each), (*each.shown, each.client, *sorted(names))
        )
        for each in contenders
    }
    machine: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count()}
    machine["load_15_minutes"] = round(os.getloadavg()[2], 1)  # of whatever else ran here
    return {
        "machine": machine,
        "rounds": options.rounds,
        "calls": options.calls,
        "versions": found,
        "notes": NOTES,
        "missing": MISSING,
        "rows": rows,
    }


def _count(most: int) -> Any:
    def read(text: str) -> int:
        value = int(text)
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"{value}: expected 1 to {most}")
        return value

    return read


def main() -> None:
    """Measure, show, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_count(MOST_ROUNDS), default=5)
    parser.add_argument("--calls", type=_count(MOST_CALLS), default=200, help="per kind and round")
    parser.add_argument("--only", default="", help="contenders whose name has this in it, and ours")
    parser.add_argument("--renew", action="store_true", help="make all environments anew, newest")
    parser.add_argument("--json", type=Path, help=f"where to write; usually {RESULTS.name}")
    options = parser.parse_args()
    wanted = options.only.lower()
    chosen = [x for x in CONTENDERS if wanted in x.id or x.name.startswith(OURS)]
    for contender in chosen:
        environment(contender, options.renew)
    with backend() as url:
        rows = measure(chosen, url, options.rounds, options.calls)
    show(rows)
    if options.json:
        written = json.dumps(report(rows, chosen, options), indent=1, ensure_ascii=False)
        options.json.write_text(written + "\n")


if __name__ == "__main__":
    main()
