"""`serve` as a process: ports, tokens, signals, and what survives ``kill -9``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from llm_observe.control.app import COLLECT
from llm_observe.control.assembly import ServeOptions, assembled
from tests.control.conftest import DEADLINE_S, App

PROGRAM = """
import gc, sys
from pathlib import Path
from llm_observe.control.app import ServeOptions, serve
host, port, otlp, data = sys.argv[1:]
code = serve(ServeOptions(host=host, port=int(port), otlp_port=int(otlp), data_dir=Path(data)))
if code == 0: print("garbage", gc.get_threshold())
sys.exit(code)
"""


class Serve:
    """One control plane as a process; its address is read from what it prints."""

    def __init__(self, data: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, host, str(port), "0", str(data)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.printed: list[str] = []

    def ready(self) -> Serve:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.printed.append(line)
            if "is ready on " in line:
                self.url = line.split("is ready on ")[1].split(",")[0].strip()
                self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=DEADLINE_S)
                return self
        raise AssertionError(self.process.communicate()[1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        if hasattr(self, "http"):
            self.http.close()
        self.printed.append(out)
        return self.process.returncode, err


@pytest.fixture
def serves() -> Iterator[list[Serve]]:
    running: list[Serve] = []
    yield running
    for serve in running:
        if serve.process.poll() is None:
            serve.end(signal.SIGKILL)


def wait_for(look: Any, what: str) -> Any:
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


def state(serve: Serve, version: int) -> str:
    return str(serve.http.get(f"/api/v1/versions/{version}/progress").json()["state"])


def in_force(serve: Serve, path: str, ratio: float) -> Any:
    agent = serve.http.get(path).json()
    return agent if agent["sampling_ratio"] == ratio else None


def test_it_says_where_it_is_ready_and_stops_at_once_when_asked(
    tmp_path: Path, serves: list[Serve]
) -> None:
    serves.append(serve := Serve(tmp_path / "data").ready())
    assert serve.http.get("/readyz").status_code == 200
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    with serve.http.stream("GET", "/api/v1/events") as events:
        assert next(events.iter_lines()) == "retry: 2000"
        assert serve.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_it_in_good_order(
    tmp_path: Path, serves: list[Serve], number: signal.Signals
) -> None:
    serves.append(serve := Serve(tmp_path / "data").ready())
    assert serve.end(number) == (0, "")


def test_a_taken_port_is_one_clear_sentence(tmp_path: Path, serves: list[Serve]) -> None:
    serves.append(first := Serve(tmp_path / "a").ready())
    port = int(first.url.rpartition(":")[2])
    serves.append(second := Serve(tmp_path / "b", port=port))
    out, err = second.process.communicate(timeout=DEADLINE_S)
    assert second.process.returncode == 1
    assert err.strip() == (
        f"llm-observe: port {port} on 127.0.0.1 is taken by another program; "
        "choose another with --port"
    )
    assert out == ""
    assert not (tmp_path / "b").exists()


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path, serves: list[Serve]) -> None:
    serves.append(Serve(tmp_path / "data").ready())
    serves.append(second := Serve(tmp_path / "data"))
    _, err = second.process.communicate(timeout=DEADLINE_S)
    assert second.process.returncode == 1
    assert "in use" in err
    assert "Traceback" not in err


def test_beyond_loopback_the_first_tokens_are_made_and_shown_once(
    tmp_path: Path, serves: list[Serve]
) -> None:
    serves.append(serve := Serve(tmp_path / "data", host="0.0.0.0").ready())
    rest = serve.process.stdout
    assert rest is not None
    tokens = dict(rest.readline().strip().split(" token, shown only now: ") for _ in range(2))
    assert tokens.keys() == {"ingest", "admin"}
    assert serve.http.get("/api/v1/status").status_code == 401
    bearer = {"authorization": f"Bearer {tokens['admin']}"}
    assert serve.http.get("/api/v1/status", headers=bearer).status_code == 200
    serve.end()
    database = b"".join(p.read_bytes() for p in (tmp_path / "data").glob("control.db*"))
    assert tokens["admin"].encode() not in database

    serves.append(again := Serve(tmp_path / "data", host="0.0.0.0").ready())
    again.end()
    assert "shown only now" not in "".join(again.printed)


@pytest.mark.anyio
async def test_versions_and_acknowledgements_survive_being_killed(
    tmp_path: Path, serves: list[Serve]
) -> None:
    serves.append(first := Serve(tmp_path / "data").ready())
    port = int(first.url.rpartition(":")[2])
    async with App(first.url) as app:
        path = f"/api/v1/agents/{app.uid}"
        wait_for(lambda: first.http.get(path).json().get("manageable"), "it is known")
        for ratio in (0.5, 0.25):
            body = {"set": {"sampling.ratio": ratio}}
            assert first.http.patch("/api/v1/settings", json=body).status_code == 201
        wait_for(lambda: state(first, 2) == "acknowledged", "it acknowledged")
        before = wait_for(lambda: in_force(first, path, 0.25), "it reported what is in force")
        offers = len(app.offers)
        first.end(signal.SIGKILL)

        serves.append(second := Serve(tmp_path / "data", port=port).ready())
        assert [v["version"] for v in second.http.get("/api/v1/versions").json()["items"]] == [2, 1]
        assert state(second, 2) == "acknowledged"
        after = second.http.get(path).json()
        assert after["acknowledged"] == before["acknowledged"]
        assert after["desired"] == before["desired"]
        assert after["effective"]["document"] == before["effective"]["document"]
        wait_for(lambda: second.http.get(path).json()["connected"], "it came back by itself")
        assert len(app.offers) == offers
        assert second.http.get(path).json()["config"]["state"] == "in sync"


@pytest.mark.anyio
async def test_a_restarted_server_shows_the_agents_it_knew_offline_with_their_age(
    tmp_path: Path, serves: list[Serve]
) -> None:
    serves.append(first := Serve(tmp_path / "data").ready())
    async with App(first.url) as app:
        path = f"/api/v1/agents/{app.uid}"
        wait_for(lambda: first.http.get(path).json().get("manageable"), "it is known")
        first.end(signal.SIGKILL)
    serves.append(second := Serve(tmp_path / "data").ready())
    agent = second.http.get(path).json()
    assert (agent["state"], agent["connected"]) == ("offline", False)
    assert agent["last_seen"] <= second.http.get("/api/v1/status").json()["started"]
    assert agent["effective"]["document"]["capture"]["level"] == "metadata"


AGENT = """
import asyncio, sys
from uuid import UUID
from tests.control.conftest import App
async def main():
    async with App(sys.argv[1], uid=UUID(sys.argv[2])):
        await asyncio.sleep(600)
asyncio.run(main())
"""


def test_an_agent_that_is_frozen_shows_its_old_values_and_one_that_is_killed_is_offline(
    tmp_path: Path, serves: list[Serve]
) -> None:
    serves.append(serve := Serve(tmp_path / "data").ready())
    uid = UUID(int=77)
    path = f"/api/v1/agents/{uid}"
    command = [sys.executable, "-c", AGENT, serve.url, str(uid)]
    agent = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        before = wait_for(
            lambda: (a := serve.http.get(path).json()).get("manageable") and a, "it is known"
        )
        os.kill(agent.pid, signal.SIGSTOP)
        made = serve.http.patch("/api/v1/settings", json={"set": {"capture.level": "off"}}).json()
        frozen = serve.http.get(path).json()
        assert frozen["desired"]["document"] == {"capture": {"level": "off"}}
        assert frozen["effective"] == before["effective"]
        assert frozen["capture_level"] == "metadata"
        assert state(serve, made["version"]) == "pending"
        os.kill(agent.pid, signal.SIGCONT)
        wait_for(lambda: state(serve, made["version"]) == "acknowledged", "it went on")
        wait_for(lambda: serve.http.get(path).json()["capture_level"] == "off", "it reported it")
    finally:
        agent.kill()
        agent.wait()
    gone = wait_for(
        lambda: (a := serve.http.get(path).json())["state"] == "offline" and a, "it is missed"
    )
    assert gone["acknowledged"]["state"] == "applied"
    assert gone["effective"]["document"]["capture"]["level"] == "off"


@pytest.mark.anyio
async def test_a_folder_that_is_there_keeps_its_mode_and_our_files_are_the_owners_only(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    async with assembled(ServeOptions(data_dir=folder)):
        modes = {path.name: path.stat().st_mode & 0o077 for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o755
    assert set(modes.values()) == {0}, modes


def test_garbage_is_looked_for_as_the_guide_has_a_host_of_many_agents_do(tmp_path: Path) -> None:
    running = Serve(tmp_path / "data").ready()
    running.end()
    guide = (Path(__file__).parents[2] / "docs" / "opamp.md").read_text()
    first, second, third = COLLECT
    assert f"gc.set_threshold({first:_}, {second}, {third})" in guide
    assert f"garbage {COLLECT}" in running.printed[-1]
