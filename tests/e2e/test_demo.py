"""`llm-observe demo` as a person meets it: a real browser, a real small Llama, real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from chatbot_app.engine import LlamaServer
from chatbot_app.weights import SMOLLM2, fetch
from llm_observe.testing import OTLPSink, serve_in_thread
from llm_observe.testing.dialogue import messages_of
from tests.control.ui.test_browser import CHROMIUM, SWITCHES
from tests.e2e.harness import eventually
from tests.opamp.io.serving import free_port

pytestmark = pytest.mark.e2e
PATIENCE_MS = 120_000
CANARY = "canary-51c3"


class Demo:
    def __init__(self, folder: Path) -> None:
        self.ports = {
            name: free_port() for name in ("port", "otlp-port", "chatbot-port", "llama-port")
        }
        self.log = folder / "demo.log"
        options = [text for name, port in self.ports.items() for text in (f"--{name}", str(port))]
        command = [sys.executable, "-m", "llm_observe.cli", "demo", *options]
        environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        environ.pop("REPLICATE_API_TOKEN", None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(folder / "data")],
                env=environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._ready, "the demo is up", 300)
        self.http = httpx.Client(base_url=self.url("port"), timeout=30, trust_env=False)

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "Ctrl-C stops everything" in self.log.read_text()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def calls(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.http.get("/api/v1/traces").json()["items"]
        return items

    def set(self, **changes: Any) -> None:
        document = {path.replace("__", "."): value for path, value in changes.items()}
        number = self.http.patch("/api/v1/settings", json={"set": document}).json()["version"]
        progress = f"/api/v1/versions/{number}/progress"
        eventually(
            lambda: self.http.get(progress).json()["state"] == "acknowledged", "acknowledged"
        )

    def stop(self) -> int:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def page(demo: Demo) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        opened = browser.new_page()
        opened.set_default_timeout(PATIENCE_MS)
        opened.goto(demo.url("chatbot-port"))
        opened.get_by_text("How may I assist you today?").first.wait_for()
        yield opened
        browser.close()


def chat(demo: Demo, page: Page, question: str) -> dict[str, Any]:
    """Ask in the page; the newest call once it is in the control plane."""
    before = len(demo.calls())
    box = page.get_by_test_id("stChatInputTextArea")
    box.fill(question)
    box.press("Enter")
    eventually(lambda: len(demo.calls()) > before, "the call is in the control plane", 120)
    return demo.calls()[0]


def test_the_chatbot_is_listed_before_anybody_opens_it(demo: Demo) -> None:
    def listed() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = demo.http.get("/api/v1/agents").json()["items"]
        return items

    (agent,) = eventually(listed, "the chatbot is listed")
    assert (agent["service"], agent["connected"]) == ("llama2-chatbot", True)
    assert agent["version"] != ""


def test_a_chat_becomes_a_span_with_true_tokens(demo: Demo, page: Page) -> None:
    call = chat(demo, page, "Why is the sky blue?")
    spans = demo.http.get(f"/api/v1/traces/{call['trace_id']}").json()["spans"]
    said = next(span for span in spans if span["operation"] == "chat")["input"]
    by_role = {message["role"]: message["content"] for message in said}
    llama = LlamaServer(fetch(), name=SMOLLM2.name, threads=1)
    key = {"Authorization": f"Bearer {llama.api_key}"}
    with httpx.Client(base_url=llama.url, headers=key, timeout=60, trust_env=False) as peer:
        asked = {"messages": messages_of(by_role["user"], by_role.get("system"))}
        text = peer.post("/apply-template", json=asked).json()["prompt"]
        counted = peer.post("/tokenize", json={"content": text, "parse_special": True}).json()
    llama.close()
    assert call["tokens_in"] == len(counted["tokens"])
    assert call["tokens_out"] > 0
    browser = page.context.browser
    assert browser is not None
    shown = browser.new_page()
    shown.goto(f"{demo.url('port')}/traces/{call['trace_id']}")
    assert "Why is the sky blue?" in shown.content()
    shown.close()


def test_capture_off_hides_what_is_said_from_then_on(demo: Demo, page: Page) -> None:
    sink = OTLPSink()
    with serve_in_thread(sink) as served:
        demo.set(capture__level="off", destinations__sink__endpoint=served.url)
        call = chat(demo, page, f"Remember the word {CANARY}.")
        assert sink.wait_for(lambda: len(sink.spans()) >= 2)
        assert not sink.holds(CANARY)
        demo.set(destinations__sink__enabled=False)
    assert call["capture_level"] == "off"
    for known in demo.calls():
        assert CANARY not in demo.http.get(f"/api/v1/traces/{known['trace_id']}").text
    assert demo.http.get("/api/v1/traces", params={"text": CANARY}).json()["items"] == []


def test_control_c_stops_all_of_it(demo: Demo) -> None:
    assert demo.stop() == 0, demo.log.read_text()
    for port in demo.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
