"""How many OpAMP agents one server process bears: ours beside opamp-go's, under the same crowd.

    python benchmarks/opamp_server.py [--agents 1000 10000] [--transport ws http] [--json FILE]

Needs Go: the crowd of agents and the server made with opamp-go are programs of ``opamp_go/``. Both
servers know the last state of every agent (a description and an effective config of 4 KB), and
offer a config of 4 KB to all when told so. For each: resident memory per agent once all have
reported, heartbeats answered per second with all agents taking turns, the server's CPU time per
heartbeat, and the time from the offer to the last agent's yes. Over HTTP agents poll at an interval
(``--interval``), which the last figure includes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SIZE = 4096
BEAT_S = 5.0
DEADLINE_S = 600.0
Report = dict[str, Any]


# ------------------------------------------------------------------------------- our server, a child


class Fleet:
    """Counts who has said yes."""

    def __init__(self) -> None:
        self.target, self.began, self.yes = b"", 0.0, 0

    async def authenticate(self, headers: Mapping[str, str], client: Any) -> int | None:
        return None

    async def on_event(self, agent: Any, event: Any) -> None:
        state = getattr(event, "state", None)
        if not self.target or state is None or "config_status" not in event.changed:
            return
        if state.config_status is not None and state.config_status.hash == self.target:
            self.yes += 1
            if self.yes == len(self.server.agents):
                seconds = time.perf_counter() - self.began
                say({"acknowledged": self.yes, "seconds": seconds})

    async def offer(self, size: int) -> None:
        from llm_observe.opamp.values import ConfigFile

        body = (b'{"key": "a value"} ' * (size // 19 + 1))[:size]
        self.began, self.yes, self.target = time.perf_counter(), 0, hashlib.sha256(body).digest()
        files = {"llm-observe": ConfigFile(body, "application/json")}
        for number, link in enumerate(list(self.server.agents.values())):
            await link.offer_config(files, self.target)
            if number % 100 == 0:
                await asyncio.sleep(0)

    server: Any


def say(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)


async def serve() -> None:
    import uvicorn

    from llm_observe.opamp.io.asgi import OpAMPServer
    from llm_observe.opamp.values import ServerCapabilities

    gc.set_threshold(20_000, 20, 50)  # as docs/opamp.md has a host of thousands do
    fleet = Fleet()
    wanted = (
        ServerCapabilities.ACCEPTS_STATUS
        | ServerCapabilities.OFFERS_REMOTE_CONFIG
        | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
    )
    fleet.server = OpAMPServer(fleet, capabilities=wanted, max_message_bytes=1 << 22)
    config = uvicorn.Config(
        fleet.server,
        port=0,
        log_level="error",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="on",
        backlog=4096,
    )
    up = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            up.set()

    server = Server(config)
    loop = asyncio.get_running_loop()

    def orders() -> None:
        for line in sys.stdin:
            _, size = line.split()
            asyncio.run_coroutine_threadsafe(fleet.offer(int(size)), loop)
        server.should_exit = True

    serving = asyncio.create_task(server.serve())
    await up.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    threading.Thread(target=orders, daemon=True).start()
    say({"address": f"127.0.0.1:{port}"})
    await serving


# ---------------------------------------------------------------------------------------- measuring


class Child:
    """A program that takes orders and answers in JSON lines."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def answer(self) -> Report:
        assert self.process.stdout is not None
        timer = threading.Timer(DEADLINE_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended with {self.process.wait()}")
        found: Report = json.loads(line)
        return found

    def ask(self, order: str) -> Report:
        self.tell(order)
        return self.answer()

    def resident(self) -> int:
        """Bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Seconds of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def child(*command: str) -> Iterator[Child]:
    running = Child(list(command))
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def measure(server: list[str], load: Path, agents: int, transport: str, interval: float) -> Report:
    with child(*server) as ours:
        address = ours.answer()["address"]
        url = f"{transport}://{address}/v1/opamp"
        with child(
            str(load), "-url", url, "-agents", str(agents), "-interval", f"{interval}s"
        ) as crowd:
            empty = ours.resident()
            connected = crowd.ask("connect")
            time.sleep(1.0)
            full = ours.resident()
            cpu = ours.cpu()
            beats = crowd.ask(f"beat {BEAT_S}")
            spent = ours.cpu() - cpu
            ours.tell(f"offer {SIZE}")
            crowd.tell("await")
            offered = ours.answer()
            awaited = crowd.answer()
    failed = awaited["failed"]
    if failed or awaited["count"] != agents:
        raise SystemExit(f"{failed} exchanges failed, {awaited['count']} of {agents} said yes")
    return {
        "connect_per_s": round(agents / connected["seconds"]),
        "kib_per_agent": round((full - empty) / agents / 1024, 1),
        "beats_per_s": round(beats["count"] / beats["seconds"]),
        "cpu_us_per_beat": round(spent / beats["count"] * 1e6, 1),
        "all_acknowledged_s": round(offered["seconds"], 3),
    }


def build(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    environ = {**os.environ, "GOFLAGS": "-buildvcs=false"}
    command = ["go", "build", "-o", f"{target}/", "./load", "./server"]
    subprocess.run(command, cwd=HERE / "opamp_go", env=environ, check=True)


HEADS = {
    "connect_per_s": "connects/s",
    "kib_per_agent": "KiB/agent",
    "beats_per_s": "beats/s",
    "cpu_us_per_beat": "CPU µs/beat",
    "all_acknowledged_s": "all yes, s",
}


def table(rows: list[Report]) -> None:
    print(f"{'transport':10}{'agents':>8}  {'server':10}", *(f"{x:>12}" for x in HEADS.values()))
    for row in rows:
        figures = (f"{row[name]:>12,}" for name in HEADS)
        print(f"{row['transport']:10}{row['agents']:>8,}  {row['server']:10}", *figures)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--transport", nargs="+", choices=("ws", "http"), default=["ws", "http"])
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between polls")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        import uvloop

        uvloop.run(serve())
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    programs = cache / "llm-observe" / "bench" / "opamp-go"
    build(programs)
    servers = {
        "ours": [sys.executable, __file__, "--serve"],
        "opamp-go": [str(programs / "server")],
    }
    rows: list[Report] = []
    for transport in given.transport:
        load = round(os.getloadavg()[0], 1)
        for agents in given.agents:
            for name, command in servers.items():
                print(f"{transport}, {agents} agents, {name} …", file=sys.stderr)
                found = measure(command, programs / "load", agents, transport, given.interval)
                kind = {"transport": transport, "agents": agents, "server": name}
                rows.append({**kind, **found, "load_1_minute_before": load})
    table(rows)
    if given.json:
        report = {"python": platform.python_version(), "cpus": os.cpu_count(), "rows": rows}
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
