from __future__ import annotations

import re
import socket
import subprocess
import sys
import time

import httpx

from chatbot_app.launch import PAGE, command, streamlit_arguments


def test_the_command_serves_the_page_on_loopback_without_telemetry() -> None:
    words = streamlit_arguments(8601)
    assert words[:2] == ["run", str(PAGE)]
    assert PAGE.is_file()
    assert "--server.port=8601" in words
    assert "--server.address=127.0.0.1" in words
    assert "--browser.gatherUsageStats=false" in words
    assert command(8601) == [sys.executable, "-m", "chatbot_app", "--port", "8601"]


def test_the_program_starts_answers_and_ends_on_sigterm() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "chatbot_app", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert _health(port) == "ok"
        process.terminate()
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(60)
    assert process.returncode == 0
    assert not re.search(r"not a valid|No such option|Traceback", said)


def _health(port: int) -> str:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/_stcore/health").text
        except httpx.TransportError:
            time.sleep(0.2)
    return "silent"
