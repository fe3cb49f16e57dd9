"""A client and a server joined without a socket: for tests, notebooks and demonstrations.

Time is passed in, nothing happens by itself::

    pair = MemoryPair(client, server)
    pair.connect()
    client_events, server_events = pair.exchange(now=0.0)
"""

from __future__ import annotations

from collections import deque

from llm_observe.errors import LocalProtocolError, RemoteProtocolError
from llm_observe.opamp import wire
from llm_observe.opamp.client import ClientProtocol
from llm_observe.opamp.events import ClientEvent, ServerEvent
from llm_observe.opamp.server import ServerProtocol, refusal
from llm_observe.opamp.values import ErrorKind

MAX_MESSAGES = 100


class MemoryPair:
    """One agent's two protocols and the messages under way between them, oldest first."""

    def __init__(self, client: ClientProtocol, server: ServerProtocol) -> None:
        self.client = client
        self.server = server
        self.to_server: deque[bytes] = deque()
        self.to_agent: deque[bytes] = deque()

    def connect(self) -> None:
        """Open a line; what was under way on the one before is gone."""
        self.disconnect()
        self.client.connected()
        self.server.line_opened()

    def disconnect(self, reason: str = "the line was cut") -> tuple[ServerEvent, ...]:
        """Cut the line, with everything on it."""
        self.to_server.clear()
        self.to_agent.clear()
        self.client.disconnected()
        return self.server.line_closed(reason)

    def speak(self, now: float) -> bool:
        """Let both sides put what they have to say on the line; False if neither has."""
        said = self.client.message_to_send(now)
        if said is not None:
            self.to_server.append(said)
        pushed = self.server.connected and self.server.has_news()
        if pushed:
            self._answer(self.server.reply(now))
        return said is not None or pushed

    def server_hears(self, now: float) -> tuple[ServerEvent, ...]:
        """Deliver the oldest message to the server, which answers it."""
        data = self.to_server.popleft()
        try:
            message = wire.decode_agent(data, framed=self.client.framed)
            happened = self.server.receive(message)
        except RemoteProtocolError as error:
            self._answer(refusal(b"", ErrorKind.BAD_REQUEST, str(error)))
            return ()
        self._answer(self.server.reply(now))
        return happened

    def agent_hears(self) -> tuple[ClientEvent, ...]:
        """Deliver the oldest message to the agent."""
        return self.client.receive(self.to_agent.popleft())

    def exchange(self, now: float) -> tuple[list[ClientEvent], list[ServerEvent]]:
        """Deliver everything until both sides are silent; what each of them saw.

        Raises `LocalProtocolError` after `MAX_MESSAGES`: the two would never stop.
        """
        seen_by_client: list[ClientEvent] = []
        seen_by_server: list[ServerEvent] = []
        for _ in range(MAX_MESSAGES):
            said = self.speak(now)
            if not said and not self.to_server and not self.to_agent:
                return seen_by_client, seen_by_server
            if self.to_server:
                seen_by_server += self.server_hears(now)
            if self.to_agent:
                seen_by_client += self.agent_hears()
        raise LocalProtocolError("the two sides do not come to rest")

    def _answer(self, payload: bytes) -> None:
        self.to_agent.append(wire.add_header(payload) if self.client.framed else payload)
