"""Two protocols joined by a line that a test can damage, and what they should agree on."""

from __future__ import annotations

from typing import Any

from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.events import ClientEvent, ServerEvent
from llm_observe.opamp.io.memory import MemoryPair
from llm_observe.opamp.server import ServerProtocol
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    ServerCapabilities,
)

UID = bytes(range(1, 17))
HEARTBEAT_S = 30.0
AGENT = (
    AgentCapabilities.REPORTS_HEALTH
    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_REMOTE_CONFIG
    | AgentCapabilities.REPORTS_HEARTBEAT
    | AgentCapabilities.REPORTS_AVAILABLE_COMPONENTS
)
SERVER = ServerCapabilities.OFFERS_REMOTE_CONFIG | ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG
DESCRIPTION = AgentDescription({"service.name": "chat"}, {"os.type": "linux"})


def make_client(capabilities: AgentCapabilities = AGENT, **options: Any) -> ClientProtocol:
    return ClientProtocol(UID, capabilities, heartbeat_s=HEARTBEAT_S, **options)


def make_server(capabilities: ServerCapabilities = SERVER, **options: Any) -> ServerProtocol:
    return ServerProtocol(UID, capabilities, **options)


class Link(MemoryPair):
    """The pair, the clock, and the damage."""

    def __init__(
        self, client: ClientProtocol | None = None, server: ServerProtocol | None = None
    ) -> None:
        super().__init__(client or make_client(), server or make_server())
        self.now = 0.0
        self.truth: dict[str, Any] = {}
        # Every message the client ever put on the line, lost or not.
        self.sent: list[opamp_pb2.AgentToServer] = []

    def report(self, **parts: Any) -> None:
        self.truth.update(parts)
        self.client.report(**parts)

    def speak(self, now: float) -> bool:
        before = len(self.to_server)
        spoke = super().speak(now)
        for data in list(self.to_server)[before:]:
            self.sent.append(wire.decode_agent(data, framed=self.client.framed))
        return spoke

    def settle(self) -> tuple[list[ClientEvent], list[ServerEvent]]:
        """Deliver all that is under way and all that comes of it."""
        return self.exchange(self.now)

    def quiet_round(self) -> tuple[list[ClientEvent], list[ServerEvent]]:
        """A heartbeat's time passes without damage."""
        self.wait()
        return self.settle()

    def wait(self) -> None:
        """A heartbeat's time passes."""
        self.now += HEARTBEAT_S

    def lose(self) -> None:
        """The oldest message of each direction is lost."""
        for queue in (self.to_server, self.to_agent):
            if queue:
                queue.popleft()

    def repeat(self) -> None:
        """The oldest message of each direction arrives once more, later."""
        for queue in (self.to_server, self.to_agent):
            if queue:
                queue.append(queue[0])

    def restart_server(self) -> None:
        """A server that knows nothing; the line under it is a new one."""
        self.disconnect()
        self.server = make_server(self.server.capabilities)
        self.connect()

    def view(self) -> dict[str, Any]:
        """What the server knows, in the shape of the truth."""
        return {name: getattr(self.server.state, name) for name in self.truth}

    def agrees(self) -> bool:
        return self.view() == self.truth

    @property
    def numbers(self) -> list[int]:
        return [message.sequence_num for message in self.sent]


def fields(message: opamp_pb2.AgentToServer | opamp_pb2.ServerToAgent) -> set[str]:
    """The names of the fields that a message carries."""
    return {field.name for field, _ in message.ListFields()}


__all__ = [
    "AGENT",
    "DESCRIPTION",
    "HEARTBEAT_S",
    "SERVER",
    "UID",
    "Link",
    "fields",
    "make_client",
    "make_server",
]
