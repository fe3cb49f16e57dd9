"""Real backends as processes: an OpenTelemetry Collector and Phoenix, built by ``scripts/peers``."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.harness import DEADLINE_S, eventually
from tests.opamp.io.serving import free_port

RECIPES = Path(__file__).with_name("peers")

needs_peers = pytest.mark.skipif(
    not os.environ.get("LLM_OBSERVE_FULL"), reason="peers that are not ours: scripts/test --full"
)


def peer(name: str, program: str, *recipe: str) -> str:
    """The program of one peer, as ``scripts/peers`` leaves it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    peers = os.environ.get("LLM_OBSERVE_PEERS") or Path(cache) / "llm-observe" / "peers"
    found = Path(peers) / f"{name}-{_cksum(_contents(recipe))}" / program
    assert found.exists(), f"{found} is missing; scripts/peers {name} builds it"
    return str(found)


def _contents(files: Sequence[str]) -> bytes:
    return b"".join((RECIPES / file).read_bytes() for file in files)


def _cksum(data: bytes) -> int:
    """POSIX ``cksum``: a CRC over the data and its length."""
    crc, length = 0, len(data)
    while length:
        data, length = data + bytes([length & 0xFF]), length >> 8
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        crc &= 0xFFFFFFFF
    return crc ^ 0xFFFFFFFF


@contextmanager
def running(
    command: list[str],
    log: Path,
    ready: str = "",
    *,
    stop: signal.Signals = signal.SIGTERM,
    **environ: str,
) -> Iterator[None]:
    """The program until the end of the block; ready when it answers ``ready`` with 200."""
    with log.open("wb") as out:
        env = {**os.environ, **environ}
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env)
        try:
            if ready:
                eventually(lambda: answers(ready), f"{command[0]} is ready", 120)
            yield
        finally:
            process.send_signal(stop)
            try:
                process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(DEADLINE_S)


def answers(url: str) -> bool:
    """Whether something answers there with 200."""
    return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200


_COLLECTOR = """
extensions:
  health_check: {{endpoint: "127.0.0.1:{health}"}}
receivers:
  otlp/http: {{protocols: {{http: {{endpoint: "127.0.0.1:{http}"}}}}}}
  otlp/grpc: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}}}}}
exporters:
  otlp_http/http: {{endpoint: "{sinks[http]}", sending_queue: {{enabled: false}}}}
  otlp_http/grpc: {{endpoint: "{sinks[grpc]}", sending_queue: {{enabled: false}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces/http: {{receivers: [otlp/http], exporters: [otlp_http/http]}}
    traces/grpc: {{receivers: [otlp/grpc], exporters: [otlp_http/grpc]}}
    metrics/http: {{receivers: [otlp/http], exporters: [otlp_http/http]}}
    metrics/grpc: {{receivers: [otlp/grpc], exporters: [otlp_http/grpc]}}
"""


_MANAGED = """
extensions:
  health_check: {{endpoint: "127.0.0.1:{health}"}}
  opamp:
    server: {{ws: {{endpoint: "{opamp}"}}}}
    agent_description: {{non_identifying_attributes: {{team: llamas}}}}
receivers: {{nop: }}
exporters:
  otlp_http: {{endpoint: "http://127.0.0.1:1", headers: {{authorization: {secret}}}}}
service:
  extensions: [health_check, opamp]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [nop], exporters: [otlp_http]}}}}
"""


@contextmanager
def collector(folder: Path, sinks: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A Collector whose two receivers hand on to two sinks; the receivers' endpoints by protocol."""
    ports = {name: free_port() for name in ("http", "grpc")}
    with _collecting(folder, _COLLECTOR, sinks=sinks, **ports):
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


@contextmanager
def managed_collector(folder: Path, opamp_url: str, secret: str) -> Iterator[None]:
    """A Collector whose OpAMP extension reports there; its config holds a secret."""
    with _collecting(folder, _MANAGED, opamp=opamp_url, secret=secret):
        yield


@contextmanager
def _collecting(folder: Path, template: str, **values: object) -> Iterator[None]:
    health, config = free_port(), folder / "collector.yaml"
    config.write_text(template.format(health=health, **values))
    command = [peer("collector", "otelcol", "collector.yaml"), "--config", str(config)]
    with running(command, folder / "collector.log", f"http://127.0.0.1:{health}"):
        yield


@contextmanager
def phoenix(folder: Path) -> Iterator[str]:
    """Phoenix on an empty working folder; its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(
        [peer("phoenix", "env/bin/phoenix", "phoenix.txt"), "serve"],
        folder / "phoenix.log",
        f"{url}/healthz",
        PHOENIX_WORKING_DIR=str(folder),
        PHOENIX_HOST="127.0.0.1",
        PHOENIX_PORT=str(port),
        PHOENIX_GRPC_PORT=str(free_port()),
        PHOENIX_TELEMETRY_ENABLED="false",
    ):
        yield url
