"""The demo as a user runs it: started, watched, stopped; with real child processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llm_observe.cli.main import run
from llm_observe.cli.processes import answers, port_taken, report

DEADLINE_S = 180.0


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


class Demo:
    def __init__(self, folder: Path, *options: str) -> None:
        self.control, self.otlp, self.chatbot, self.llama = self.ports = free_ports(4)
        self.folder, self.out = folder, folder / "out.log"
        arguments = [
            "--port", self.control, "--otlp-port", self.otlp, "--chatbot-port", self.chatbot,
            "--llama-port", self.llama, "--data-dir", folder / "data", *options,
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k != "REPLICATE_API_TOKEN"}
        with self.out.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llm_observe.cli", "demo", *map(str, arguments)],
                stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.out.read_text()

    def ready(self) -> bool:
        assert self.process.poll() is None, self.said
        return "Ctrl-C stops everything." in self.said

    def ended(self) -> int:
        return self.process.wait(DEADLINE_S)


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[Demo]:
    running = Demo(folder, *options)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_everything_starts_answers_and_stops_with_nothing_left(tmp_path: Path) -> None:
    with demo(tmp_path, "--scripted") as running:
        until(running.ready)
        assert answers(f"http://127.0.0.1:{running.control}/healthz")
        assert answers(f"http://127.0.0.1:{running.chatbot}/_stcore/health")
        assert report(f"http://127.0.0.1:{running.llama}/healthz")["real"] is False
        assert "scripted text, no model" in running.said
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == 0
        assert not any(map(port_taken, running.ports))
        assert "Traceback" not in running.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_it_too(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, "--no-chatbot") as running:
        until(running.ready)
        running.process.send_signal(number)
        assert running.ended() == 0
        assert not port_taken(running.control)


def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    with demo(tmp_path, "--scripted") as running:
        until(lambda: (tmp_path / "data" / "logs").exists())
        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 0
        until(lambda: not any(map(port_taken, running.ports)))


def test_if_one_dies_it_is_said_and_the_others_are_stopped(tmp_path: Path) -> None:
    with demo(tmp_path, "--scripted") as running:
        until(running.ready)
        llama = pid_of("chatbot_app.local_llama", str(running.llama))
        os.kill(llama, signal.SIGKILL)
        assert running.ended() == 1
        assert "local Llama was ended by signal 9" in running.said
        assert not any(map(port_taken, running.ports))


def pid_of(*words: str) -> int:
    """The process whose command line holds these words."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if all(word in command for word in words):
                return int(entry.name)
    raise AssertionError(words)


@pytest.mark.parametrize("option", ["--port", "--otlp-port", "--chatbot-port", "--llama-port"])
def test_a_taken_port_is_a_sentence_that_names_its_option(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    names = ("--port", "--otlp-port", "--chatbot-port", "--llama-port")
    ports = dict(zip(names, free_ports(4), strict=True))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[option] = taken.getsockname()[1]
        arguments = [word for name, port in ports.items() for word in (name, str(port))]
        assert run(["demo", *arguments, "--data-dir", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert str(ports[option]) in err
    assert err.rstrip().endswith(option)
    assert len(err.splitlines()) == 1


def test_a_folder_that_cannot_be_used_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    port, otlp = free_ports(2)
    arguments = ["--port", str(port), "--otlp-port", str(otlp), "--no-chatbot"]
    assert run(["demo", *arguments, "--data-dir", str(tmp_path / "file" / "data")]) == 1
    assert "--data-dir" in capsys.readouterr().err


def test_a_missing_package_is_a_sentence_with_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_observe.cli.demo.needed_packages", lambda plan: ["no_such_package"])
    assert run(["demo"]) == 1
    err = capsys.readouterr().err
    assert "no_such_package" in err
    assert "pip install" in err
