"""An agent that records what it sees, over either transport."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from llm_observe.opamp.events import ConfigOffered, StatusReported
from llm_observe.opamp.io.polling import PollingClient
from llm_observe.opamp.io.websocket import WebSocketClient
from llm_observe.opamp.values import ConfigState, ConfigStatus, Health
from llm_observe.uids import new_uid
from tests.link import AGENT, DESCRIPTION
from tests.opamp.io.peers import DEADLINE_S, Recorder

LONG_S = 3600.0


class Agent(Recorder):
    """A client with its events recorded; it acknowledges what it is offered."""

    def __init__(
        self,
        address: str,
        kind: type[WebSocketClient | PollingClient] = WebSocketClient,
        **options: Any,
    ) -> None:
        super().__init__()
        url = address if "://" in address else f"http://{address}"
        self.client = kind(url, new_uid(), AGENT, self.on, **options)
        self.client.report(description=DESCRIPTION, health=Health(), effective_config={})

    def on(self, event: Any) -> None:
        if isinstance(event, ConfigOffered):
            self.client.report(config_status=ConfigStatus(event.config_hash, ConfigState.APPLIED))
        self.take(b"", event)

    def saw(self, kind: type[Any], times: int = 1) -> None:
        self.wait_until(lambda: len(self.of(kind)) >= times, f"{kind.__name__} × {times}")

    def __enter__(self) -> Agent:
        self.client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop(DEADLINE_S)


def polling(address: str, **options: Any) -> Agent:
    """An agent over plain HTTP, which speaks only when it has something to say."""
    return Agent(address, PollingClient, **{"interval_s": LONG_S, **options})


def until(true: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


def said(recorder: Recorder, status: str) -> bool:
    """Whether an agent reported this status of its health."""
    healths = [event.state.health for event in recorder.of(StatusReported)]
    return any(health is not None and health.status == status for health in healths)
