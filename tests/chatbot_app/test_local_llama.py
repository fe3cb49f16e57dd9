from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from replicate.client import Client

from chatbot_app.local_llama import LoopbackOnly, main, parse
from llm_observe.testing import FakeReplicate, ScriptedEngine, serve_in_thread

MODEL = "meta/llama-2-7b-chat"


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program, and the address in its ready line."""
    command = [sys.executable, "-W", "error", "-m", "chatbot_app.local_llama", "--port", "0"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"ready at (http://127\.0\.0\.1:\d+)", line):
                yield process, found[1]
                return
        pytest.fail(f"no ready line; {process.stderr.read() if process.stderr else ''}")
    finally:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_scripted_text_says_so_and_ends_cleanly(number: signal.Signals) -> None:
    with started("--scripted") as (process, url):
        health = httpx.get(f"{url}/healthz").json()
        assert (health["engine"], health["real"]) == ("scripted", False)
        client = Client("any", base_url=url)
        words = [str(event) for event in client.stream(MODEL, input={"prompt": "Hi"})]
        assert "scripted text" in "".join(words)
        client._client.close()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_it_serves_the_real_model_and_says_so() -> None:
    with started("--threads", "1") as (process, url):
        health = httpx.get(f"{url}/healthz").json()
        assert (health["engine"], health["real"]) == ("SmolLM2-135M-Instruct", True)
        client = Client("any", base_url=url, timeout=httpx.Timeout(300))
        assert client.run(MODEL, input={"prompt": "Hi", "max_new_tokens": 3})
        client._client.close()
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_a_taken_port_is_a_sentence_and_exit_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "chatbot_app.local_llama", "--scripted", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=120,
            env=dict(os.environ),
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {port}" in done.stderr


def test_a_model_that_is_not_there_is_a_sentence_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main(["--port", "0", "--model", "absent.gguf"]) == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "no model file at absent.gguf" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--threads", "0"],
        ["--openai-url", "file:///etc"],
        ["--scripted", "--model", "x.gguf"],
    ],
)
def test_senseless_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:5320"}, 200),
        ({"Host": "[::1]:5320"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[broken"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_only_programs_on_this_machine_are_answered(headers: dict[str, str], status: int) -> None:
    app = LoopbackOnly(FakeReplicate(ScriptedEngine()))
    with serve_in_thread(app) as server:
        assert httpx.get(f"{server.url}/healthz", headers=headers).status_code == status
