"""What an OpAMP client costs the program it lives in: ours beside OpenTelemetry's.

    python benchmarks/opamp_client.py [--beats 60] [--offers 200] [--json FILE]

Each client runs in a process of its own, against one server in another. Measured: the import, the
memory that the client adds to a bare Python, its threads, the CPU time of one heartbeat (also as
CPU seconds per hour at one heartbeat in 30 s), and the time from an offer of 4 KB to its
acknowledgement. OpenTelemetry's client speaks plain HTTP only, so an offer waits for its next
poll; both HTTP clients poll at the same interval here.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SIZE = 4096
INTERVAL_S = 1.0
UID = bytes(range(16))
BEATS_PER_HOUR = 120
Report = dict[str, Any]


# ------------------------------------------------------------------------- the clients, each a child


def resident() -> int:
    """Bytes."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def start_ours(url: str, make: Callable[..., Any]) -> None:
    from llm_observe.opamp.events import ConfigOffered
    from llm_observe.opamp.values import (
        AgentCapabilities,
        AgentDescription,
        ConfigState,
        ConfigStatus,
    )

    def on_event(event: Any) -> None:
        if isinstance(event, ConfigOffered):
            status = ConfigStatus(event.config_hash, ConfigState.APPLIED, "")
            client.report(config_status=status)

    wanted = (
        AgentCapabilities.REPORTS_STATUS
        | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
        | AgentCapabilities.REPORTS_REMOTE_CONFIG
        | AgentCapabilities.REPORTS_HEARTBEAT
    )
    client = make(url, UID, wanted, on_event)
    client.report(description=AgentDescription({"service.name": "chat"}, {}))
    client.start()


def websocket(address: str) -> None:
    from llm_observe.opamp.io.websocket import WebSocketClient

    start_ours(f"ws://{address}/v1/opamp", WebSocketClient)


def polling(address: str) -> None:
    from llm_observe.opamp.io.polling import PollingClient

    start_ours(
        f"http://{address}/v1/opamp",
        lambda *given: PollingClient(*given, interval_s=INTERVAL_S),
    )


def theirs(address: str) -> None:
    from opentelemetry._opamp.agent import OpAMPAgent
    from opentelemetry._opamp.callbacks import OpAMPCallbacks
    from opentelemetry._opamp.client import OpAMPClient
    from opentelemetry._opamp.proto import opamp_pb2

    class Callbacks(OpAMPCallbacks):
        def on_message(self, agent: Any, client: Any, message: Any) -> None:
            remote = message.remote_config
            if remote is None:
                return
            status = client.update_remote_config_status(
                remote.config_hash, opamp_pb2.RemoteConfigStatuses_APPLIED
            )
            if status is not None:
                agent.send(client.build_remote_config_status_response_message(status))

    client = OpAMPClient(
        endpoint=f"http://{address}/v1/opamp",
        agent_identifying_attributes={"service.name": "chat"},
    )
    OpAMPAgent(interval=INTERVAL_S, callbacks=Callbacks(), client=client).start()


CLIENTS: dict[str, Callable[[str], None]] = {
    "ours, WebSocket": websocket,
    "ours, HTTP": polling,
    "opentelemetry-opamp-client": theirs,
}


def live(name: str, address: str) -> None:
    """Start the client, say what that cost, then answer ``cpu`` with the CPU time so far."""
    memory, began = resident(), time.perf_counter()
    CLIENTS[name](address)
    started = time.perf_counter() - began
    for line in sys.stdin:
        report = {
            "cpu_s": time.process_time(),
            "start_ms": started * 1e3,
            "memory_mib": (resident() - memory) / 2**20,
            "threads": threading.active_count() - 1,
        }
        print(json.dumps(report if line.strip() == "cost" else {}), flush=True)


# --------------------------------------------------------------------------------- the server, a child


class Fleet:
    """Counts messages, and times offers."""

    server: Any

    def __init__(self) -> None:
        self.reported = asyncio.Event()
        self.acknowledged = asyncio.Event()
        self.target = b""

    async def authenticate(self, headers: Mapping[str, str], client: Any) -> int | None:
        return None

    async def on_event(self, agent: Any, event: Any) -> None:
        if getattr(event, "state", None) is None:
            return
        self.reported.set()
        status = event.state.config_status
        if status is not None and status.hash == self.target:
            self.acknowledged.set()

    async def offer(self, number: int) -> float:
        from llm_observe.opamp.values import ConfigFile

        body = f'{{"n": {number:09}, "pad": "{"x" * (SIZE - 28)}"}}'.encode()
        self.acknowledged.clear()
        self.target = hashlib.sha256(body).digest()
        (link,) = self.server.agents.values()
        began = time.perf_counter()
        await link.offer_config({"llm-observe": ConfigFile(body, "application/json")}, self.target)
        await asyncio.wait_for(self.acknowledged.wait(), 60)
        return time.perf_counter() - began

    def number(self) -> int:
        (link,) = self.server.agents.values()
        found: int = link.state.sequence_num
        return found


async def measure(name: str, beats: int, offers: int) -> Report:
    import uvicorn

    from llm_observe.opamp.io.asgi import OpAMPServer
    from llm_observe.opamp.values import ServerCapabilities

    fleet, up = Fleet(), asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            up.set()

    wanted = ServerCapabilities.ACCEPTS_STATUS | ServerCapabilities.OFFERS_REMOTE_CONFIG
    fleet.server = OpAMPServer(fleet, capabilities=wanted, heartbeat_s=INTERVAL_S)
    options: Report = {"ws": "websockets-sansio", "ws_per_message_deflate": False}
    server = Server(
        uvicorn.Config(fleet.server, port=0, log_level="error", lifespan="on", **options)
    )
    serving = asyncio.create_task(server.serve())
    await up.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--live", name, "--address", f"127.0.0.1:{port}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        await asyncio.wait_for(fleet.reported.wait(), 60)
        return await _figures(fleet, child, beats, offers)
    finally:
        child.kill()
        await child.wait()
        server.should_exit = True
        await serving


async def _cost(child: asyncio.subprocess.Process) -> Report:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"cost\n")
    found: Report = json.loads(await child.stdout.readline())
    return found


async def _figures(fleet: Fleet, child: Any, beats: int, offers: int) -> Report:
    await asyncio.sleep(1.0)
    before, first = await _cost(child), fleet.number()
    await asyncio.sleep(beats * INTERVAL_S)
    after, last = await _cost(child), fleet.number()
    per_beat = (after["cpu_s"] - before["cpu_s"]) / max(1, last - first)
    times = [await fleet.offer(number) * 1e3 for number in range(offers)]
    cuts = statistics.quantiles(times, n=100)
    return {
        "start_ms": round(before["start_ms"], 1),
        "memory_mib": round(before["memory_mib"], 1),
        "threads": before["threads"],
        "beats": last - first,
        "cpu_ms_per_beat": round(per_beat * 1e3, 3),
        "cpu_s_per_hour": round(per_beat * BEATS_PER_HOUR, 3),
        "offer_p50_ms": round(cuts[49], 2),
        "offer_p99_ms": round(cuts[98], 2),
    }


HEADS = {
    "start_ms": "start ms",
    "memory_mib": "MiB",
    "threads": "threads",
    "cpu_ms_per_beat": "CPU ms/beat",
    "cpu_s_per_hour": "CPU s/hour",
    "offer_p50_ms": "yes p50 ms",
    "offer_p99_ms": "yes p99 ms",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beats", type=int, default=60, help="heartbeats to measure")
    parser.add_argument("--offers", type=int, default=200, help="offers to measure")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--live", help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.live:
        live(given.live, given.address)
        return
    rows, load = {}, round(os.getloadavg()[0], 1)
    for name in CLIENTS:
        print(f"{name} …", file=sys.stderr)
        rows[name] = asyncio.run(measure(name, given.beats, given.offers))
    print(f"{'client':28}", *(f"{head:>12}" for head in HEADS.values()))
    for name, row in rows.items():
        print(f"{name:28}", *(f"{row[figure]:>12,}" for figure in HEADS))
    if given.json:
        report = {
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "load_1_minute_before": load,
            "offers": given.offers,
            "clients": rows,
        }
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
