"""Web servers with their own ideas about processes and signals: gunicorn and uvicorn."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.harness import eventually
from tests.opamp.io.serving import free_port
from tests.processes.world import PROGRAMS, UNOBSERVED, Program, World

WSGI, ASGI = "tests.processes.programs.web_wsgi:app", "tests.processes.programs.web_asgi:app"


@dataclass
class Server:
    """A web server under test."""

    program: Program
    http: httpx.Client

    def ask(self, path: str = "/", remark: str = "") -> dict[str, object]:
        answer: dict[str, object] = self.http.get(path, params={"why": remark}).json()
        return answer

    def instances(self, processes: int) -> set[object]:
        """Ask until every worker has answered; their instance uids."""
        found: set[object] = set()

        def look() -> bool:
            found.add(self.ask()["instance"])
            return len(found) >= processes

        eventually(look, f"{processes} workers answered")
        return found


Start = Callable[..., Server]


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    clients: list[httpx.Client] = []

    def start(*command: str, **environ: str) -> Server:
        port = free_port()
        words = [word.replace("PORT", str(port)) for word in command]
        program = world.run(*words, **environ)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
        clients.append(client)
        eventually(lambda: listens(port) or program.process.poll() is not None, "it listens")
        return Server(program, client)

    yield start
    for client in clients:
        client.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


_UVICORN_WORKER = "uvicorn_worker.UvicornWorker"
_WIDE = pytest.mark.wide


@pytest.mark.parametrize(
    ("app", "options", "agents"),
    [
        pytest.param(WSGI, [], 2, id="gunicorn"),
        pytest.param(WSGI, ["--preload"], 3, id="gunicorn-preload"),
        pytest.param(WSGI, ["-k", "gthread"], 2, id="gunicorn-threads", marks=_WIDE),
        pytest.param(ASGI, ["-k", _UVICORN_WORKER], 2, id="uvicorn-worker", marks=_WIDE),
        pytest.param(ASGI, ["--preload", "-k", _UVICORN_WORKER], 3, id="uvicorn-worker-preload"),
    ],
)
def test_gunicorn_workers_are_agents_and_lose_nothing(
    world: World, start: Start, app: str, options: list[str], agents: int
) -> None:
    server = start("-m", "gunicorn", app, "-w", "2", "-b", "127.0.0.1:PORT", *options)
    # The kernel gives lone requests to whom it likes: with threads, always to one worker.
    _serves_as_agents(world, server, agents, 1 if "gthread" in options else 2)
    server.program.signal(signal.SIGTERM)
    assert server.program.end() == 0
    _lost_nothing(world)


@pytest.mark.parametrize(
    ("options", "processes", "agents"),
    [
        pytest.param(["-m", "uvicorn", ASGI, "--port", "PORT"], 1, 1, id="one"),
        pytest.param(
            ["-m", "uvicorn", ASGI, "--port", "PORT", "--workers", "2"], 2, 2, id="two-workers"
        ),
        pytest.param([str(PROGRAMS / "web_asgi.py"), "PORT"], 1, 1, id="in-the-program"),
    ],
)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.wide)]
)
def test_uvicorn_processes_are_agents_and_lose_nothing(
    world: World,
    start: Start,
    options: list[str],
    processes: int,
    agents: int,
    number: signal.Signals,
) -> None:
    server = start(*options)
    _serves_as_agents(world, server, agents, processes)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.ask, "/slow", "stopping")
        eventually(lambda: _was_asked(world, "slow"), "a request is under way")
        server.program.signal(number)
        assert slow.result()["pid"]
    assert server.program.end() == _without_us(start, options, number)
    _lost_nothing(world)
    assert any(span.question.endswith("stopping") for span in world.spans())


def _without_us(start: Start, options: list[str], number: signal.Signals) -> int:
    """How the same server ends where nothing is observed."""
    server = start(*options, OTEL_SDK_DISABLED="true")
    server.ask(remark=UNOBSERVED)
    server.program.signal(number)
    return server.program.end()


def _was_asked(world: World, remark: str) -> bool:
    return any(question.endswith(remark) for question in world.asked)


def _serves_as_agents(world: World, server: Server, agents: int, processes: int) -> None:
    """Each process is an agent by the name that its spans carry, and acknowledges for itself."""
    instances = server.instances(processes)
    eventually(lambda: len(world.fleet.present) == agents, f"{agents} agents")
    assert instances <= set(world.fleet.present)
    digest = world.fleet.offer({"destinations": {"default": {"timeout_s": 9.0}}})
    eventually(lambda: len(world.fleet.acknowledged(digest)) == agents, "all acknowledge")
    for _ in range(5):
        server.ask(remark="after")


def _lost_nothing(world: World) -> None:
    spans = world.exact(world.asked.total())
    assert {span.instance for span in spans} <= set(world.fleet.seen)
    eventually(lambda: not world.fleet.present, "all said goodbye")
