"""Real processes for the end-to-end tests: the control plane, an observed program, a patient eye."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.opamp.io.serving import free_port

T = TypeVar("T")
APP = Path(__file__).with_name("app.py")
DEADLINE_S = 60.0


def eventually(look: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The first true value that ``look`` returns; fails with ``what`` and the last value seen."""
    until = time.monotonic() + deadline_s
    seen: object = None
    while time.monotonic() < until:
        try:
            found = look()
            if found:
                return found
            seen = found
        except (httpx.TransportError, KeyError, IndexError) as error:
            seen = error
        time.sleep(0.1)
    raise AssertionError(f"not within {deadline_s:g} s: {what}; last seen: {seen!r}")


class ControlPlane:
    """`llm-observe serve` as a process that can be killed and started again on its data."""

    def __init__(self, data: Path) -> None:
        self.port, self.otlp_port, self.data = free_port(), free_port(), data
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> ControlPlane:
        command = [sys.executable, "-m", "llm_observe.cli", "serve", "--port", str(self.port)]
        command += ["--otlp-port", str(self.otlp_port), "--data-dir", str(self.data)]
        with (self.data.parent / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(
            lambda: self.http.get("/readyz").status_code == 200, "the control plane is ready"
        )
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}:
            self._process.wait(DEADLINE_S)

    def stop(self) -> int:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGTERM)
        self.http.close()
        return (self._process.returncode or 0) if self._process else 0

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/api/v1{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def set(self, service: str | None = None, /, **changes: Any) -> dict[str, Any]:
        """One new version; keys are written with ``__`` for the dot."""
        document = {path.replace("__", "."): value for path, value in changes.items()}
        answer = self.http.patch("/api/v1/settings", json={"service": service, "set": document})
        assert answer.status_code == 201, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def progress(self, version: int, *states: str) -> dict[str, Any]:
        """Wait until the version stands in one of these states."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/versions/{version}/progress")
            return found if found["state"] in states else None

        found = eventually(look, f"version {version} is {' or '.join(states)}")
        assert found is not None
        return found

    def agent(self, service: str) -> dict[str, Any]:
        """The one connected agent of a service, whole."""

        def look() -> dict[str, Any] | None:
            items = self.get("/agents", service=service)["items"]
            here = [item for item in items if item["connected"]]
            return here[0] if here else None

        found = eventually(look, f"an agent of {service} is connected")
        assert found is not None
        whole: dict[str, Any] = self.get(f"/agents/{found['uid']}")
        return whole

    def traces(self, **query: Any) -> list[dict[str, Any]]:
        """Every trace, all pages."""
        items: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.get("/traces", limit=200, **query, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items


class App:
    """The observed program, driven line by line."""

    def __init__(self, replicate_url: str, environ: Mapping[str, str], **observe: Any) -> None:
        env = {**os.environ, "REPLICATE_BASE_URL": replicate_url, "REPLICATE_API_TOKEN": "r8_test"}
        self._process = subprocess.Popen(
            [sys.executable, str(APP), json.dumps(observe)],
            env={**env, "REPLICATE_POLL_INTERVAL": "0.01", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def ask(self, *request: Any) -> Any:
        self.tell(*request)
        return self._answer()

    def tell(self, *request: Any) -> None:
        """Ask without waiting for the answer; `answer` gets it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        return self._answer()

    def status(self) -> Any:
        return self.ask("status")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        """End of input: the program returns and flushes at exit."""
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        code = self._process.wait(DEADLINE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert code == 0

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the program ended with {self._process.poll()}"
        return json.loads(line)
