"""A control plane in its own process, and agents that answer as told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from llm_observe.control.client import ControlClient
from llm_observe.opamp import events
from llm_observe.opamp.io.websocket import WebSocketClient
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
)
from llm_observe.settings.layers import as_document
from llm_observe.settings.model import Settings
from llm_observe.settings.schema import schema_hash

DEADLINE_S = 60.0
CAPABILITIES = (
    AgentCapabilities.REPORTS_STATUS
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS
)
REASON = "destinations.x.endpoint: found no answer, expected a destination that answers"
Manner = Literal["acknowledges", "refuses", "is silent"]


def until(reached: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """``llm-observe serve`` on a free port; its address."""
    command = [
        sys.executable, "-m", "llm_observe.cli", "serve", "--port", "0", "--otlp-port", "0",
        "--data-dir", str(folder),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield found.group()
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


@contextmanager
def agent(server: str, service: str, manner: Manner = "acknowledges") -> Iterator[str]:
    """An agent that is connected and known to the control plane; its uid."""
    uid = uuid.uuid4()
    ready = threading.Event()

    def answer(event: events.ClientEvent) -> None:
        ready.wait(DEADLINE_S)
        if isinstance(event, events.ConfigOffered) and manner != "is silent":
            refuses = manner == "refuses"
            state = ConfigState.FAILED if refuses else ConfigState.APPLIED
            status = ConfigStatus(event.config_hash, state, REASON if refuses else "")
            client.report(config_status=status)

    client = WebSocketClient(f"{server}/v1/opamp", uid.bytes, CAPABILITIES, answer)
    document = json.dumps(as_document(Settings())).encode()
    client.report(
        description=AgentDescription({"service.name": service}, {}),
        health=Health(True, status="fine"),
        effective_config={"llm-observe": ConfigFile(document, "application/json")},
        components=Components(
            b"c",
            {
                "settings": Component({"schema.hash": schema_hash()}),
                "detectors": Component({}, {"email": Component({})}),
            },
        ),
    )
    ready.set()
    client.start()
    try:
        with ControlClient(server) as plane:
            until(lambda: any(a["uid"] == str(uid) and a["service"] for a in plane.agents()))
        yield str(uid)
    finally:
        client.stop()
