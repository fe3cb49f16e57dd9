"""How long a change of settings takes: from the push to the first call that obeys.

    python benchmarks/settings.py [--pushes 200] [--json FILE]

A real control plane and an observed program, each a process of its own on loopback, linked by
OpAMP over WebSocket; the destinations are healthy. The program makes calls through the `replicate`
client all the time, one in some 3 ms; where a call must be seen to leave, it flushes after each,
which makes one in some 14 ms, and so coarse is what is seen. This process pushes one change after
the other over REST and turns it back with the next. Milliseconds since just before the request:

- answered: the control plane has stored the version and answers.
- applied: REST says that the agent acknowledged it (asked again and again: some 3 ms of grain).
- obeys: the begin of the first call from which on all calls obey. The goal is a p99 below 100 ms.

Seen from outside: whether a call is recorded, by the span that is current while it talks to the
service; what it shows and where it goes, by what reaches two OTLP receivers. The last column counts
calls that began after the acknowledgement and did not obey; it must be 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from answers import PROMPT
from machine import machine
from traffic import Replicate

from llm_observe.control.client import ControlClient
from llm_observe.testing import OTLPSink, serve_in_thread

SERVICE, MOST_PUSHES, PATIENCE_S = "bench", 5000, 30.0
PAUSE_S = 0.02
"""Least and most, times three, between an acknowledgement and the next push."""


class Seen(NamedTuple):
    """One call: when it began and had left, its number, and whether its span was recorded."""

    began_ns: int
    ended_ns: int
    number: int
    recorded: bool


class Push(NamedTuple):
    """One change: when it was sent, answered and seen acknowledged, and which of two it was."""

    sent_ns: int
    answered_ns: int
    applied_ns: int
    odd: bool


class Kind(NamedTuple):
    """One row: two sets of values that take turns, and whether a call obeys the first of them."""

    name: str
    values: tuple[Mapping[str, Any], Mapping[str, Any]]
    flushes: bool
    is_first: Callable[[Seen, Mapping[int, str]], bool | None]
    """By the call and what arrived of it; None: nothing tells."""


def kinds(one: str, other: str) -> tuple[Kind, ...]:
    """All rows; the URLs of two receivers."""
    arrives = ("one", "other")
    return (
        Kind(
            "sampling.ratio 0 / 1",
            ({"sampling.ratio": 0.0}, {"sampling.ratio": 1.0}),
            False,
            lambda call, arrived: not call.recorded,
        ),
        Kind(
            "capture.level metadata / full",
            ({"capture.level": "metadata"}, {"capture.level": "full"}),
            True,
            lambda call, arrived: _told(arrived.get(call.number), "bare", "content"),
        ),
        Kind(
            "a destination's endpoint",
            tuple({"destinations.bench.endpoint": url} for url in (one, other)),  # type: ignore[arg-type]  # two of them
            True,
            lambda call, arrived: _told(arrived.get(call.number), *arrives),
        ),
    )


def _told(found: str | None, first: str, second: str) -> bool | None:
    return None if found is None else first in found if second not in found else False


# -------------------------------------------------------------------------------- the observed program


def observed(server: str, endpoint: str, flushes: bool) -> None:
    """Make calls until standard input ends, then print them. Run in a process of its own."""
    import threading

    from opentelemetry import trace

    import llm_observe

    calls: list[Seen] = []
    recorded = False
    client = Replicate(None)
    answer = client._answer

    def looked(http: Any, request: Any) -> Any:
        nonlocal recorded
        recorded = trace.get_current_span().is_recording()
        return answer(http, request)

    client._answer = looked  # type: ignore[method-assign]  # the service, seen from the call
    destinations = {"bench": {"endpoint": endpoint, "signals": ["traces"]}}
    handle = llm_observe.observe(SERVICE, server=server, settings={"destinations": destinations})
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("ready", flush=True)
    while not ended.wait(0.001):
        began = time.time_ns()
        with llm_observe.context(session=f"s-{len(calls)}"):
            client.whole()
        if flushes:
            handle.flush(PATIENCE_S)
        calls.append(Seen(began, time.time_ns(), len(calls), recorded))
    print(json.dumps(calls))


# ------------------------------------------------------------------------------------------ the pushes


@contextmanager
def control_plane(folder: Path) -> Iterator[str]:
    """`llm-observe serve`; its URL."""
    ports = [_free_port(), _free_port()]
    command = [sys.executable, "-m", "llm_observe.cli", "serve", "--data-dir", str(folder)]
    command += ["--port", str(ports[0]), "--otlp-port", str(ports[1])]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        _until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if look():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit("it did not start")


def pushed(client: ControlClient, kind: Kind, count: int) -> list[Push]:
    """Push so many changes, each when the one before is acknowledged."""
    source, pushes = random.Random(1), []
    for number in range(count):
        values = kind.values[number % 2]
        sent = time.time_ns()
        made = client.change(values, service=SERVICE)["version"]
        answered = time.time_ns()
        state = ""
        while state != "acknowledged":
            state = client.progress(made)["state"]
            if state == "refused" or time.time_ns() - sent > PATIENCE_S * 1e9:
                raise SystemExit(f"{values}: {state}")
        pushes.append(Push(sent, answered, time.time_ns(), bool(number % 2)))
        time.sleep(PAUSE_S * (1 + 2 * source.random()))
    return pushes


def measure(
    kind: Kind, count: int, sinks: tuple[OTLPSink, OTLPSink], urls: list[str]
) -> dict[str, Any]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(control_plane(Path(folder)))
        client = stack.enter_context(ControlClient(server))
        unwanted = ("OTEL_", "LLM_OBSERVE_")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        app = subprocess.Popen(
            [sys.executable, __file__, "--observed", server, urls[1], str(int(kind.flushes))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environ, "LLM_OBSERVE_STATE_DIR": folder},
        )
        stack.callback(app.kill)
        assert app.stdout is not None
        assert app.stdout.readline().strip() == "ready"
        _until(lambda: any(x["connected"] for x in client.agents(service=SERVICE)))
        pushed(client, kind, 4)  # everything loaded once
        pushes = pushed(client, kind, count)
        calls = [Seen(*each) for each in json.loads(app.communicate()[0])]
    return {"name": kind.name, "pushes": count, **_figures(kind, pushes, calls, arrived(sinks))}


def arrived(sinks: tuple[OTLPSink, OTLPSink]) -> dict[int, str]:
    """Of each call, by number: which receiver its span reached, and whether with content."""
    found: dict[int, str] = {}
    for name, sink in zip(("one", "other"), sinks, strict=True):
        for request in sink.requests("traces"):
            for resource in request.message.resource_spans:
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    told = {each.key: each.value.string_value for each in span.attributes}
                    shown = "content" if PROMPT in told.values() else "bare"
                    number = int(told["session.id"].removeprefix("s-"))
                    found[number] = f"{found.get(number, '')} {name} {shown}"
        sink.clear()
    return found


def _figures(
    kind: Kind, pushes: list[Push], calls: list[Seen], told: Mapping[int, str]
) -> dict[str, Any]:
    ends = [*(push.sent_ns for push in pushes[1:]), calls[-1].ended_ns + 1]
    obeys, late = [], 0
    for push, end in zip(pushes, ends, strict=True):
        # What leaves after the next push may obey that one already.
        window = [call for call in calls if push.sent_ns <= call.began_ns and call.ended_ns < end]
        judged = [(call, kind.is_first(call, told)) for call in window]
        wrong = [call for call, first in judged if first is push.odd]
        after = [call for call in window if not wrong or call.began_ns > wrong[-1].began_ns]
        obeys.append((after[0].began_ns - push.sent_ns) / 1e6 if after else float("inf"))
        late += sum(call.began_ns > push.applied_ns for call in wrong)
    return {
        "answered_ms": _spread([(push.answered_ns - push.sent_ns) / 1e6 for push in pushes]),
        "applied_ms": _spread([(push.applied_ns - push.sent_ns) / 1e6 for push in pushes]),
        "obeys_ms": _spread(obeys),
        "calls": len(calls),
        "calls_seen": sum(kind.is_first(call, told) is not None for call in calls),
        "disobeyed_after_applied": late,
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(p99, 1),
        "most": round(ordered[-1], 1),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    print(f"{'p50 / p99 / most, ms':34}{'answered':>22}{'applied':>22}{'obeys':>22}{'after':>7}")
    for row in rows:
        cells = ""
        for name in ("answered_ms", "applied_ms", "obeys_ms"):
            told = " / ".join(f"{row[name][each]:g}" for each in ("p50", "p99", "most"))
            cells += f"{told:>22}"
        print(f"{row['name']:34}{cells}{row['disobeyed_after_applied']:>7}")


def main() -> None:
    """Measure, show, write."""
    if sys.argv[1:2] == ["--observed"]:
        observed(sys.argv[2], sys.argv[3], sys.argv[4] == "1")
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pushes", type=int, default=200, help=f"a row, at most {MOST_PUSHES}")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    count = min(max(2, options.pushes), MOST_PUSHES)
    sinks = OTLPSink(limit=1_000_000), OTLPSink(limit=1_000_000)
    with ExitStack() as stack:
        urls = [stack.enter_context(serve_in_thread(sink)).url for sink in sinks]
        rows = []
        for kind in kinds(*urls):
            print(kind.name, file=sys.stderr)
            rows.append(measure(kind, count, sinks, urls))
    show(rows)
    if options.json:
        versions = {name: version(name) for name in ("llm-observe", "replicate")}
        report = {"machine": machine(), "versions": versions, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
