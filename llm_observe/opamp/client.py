"""An agent's side of one conversation, without I/O.

Order of calls::

    protocol = ClientProtocol(instance_uid, capabilities)
    protocol.report(description=…, health=…)       # the truth; at any time, nothing is sent yet
    protocol.connected()                           # a line stands: the next message is a report
    data = protocol.message_to_send(now)           # until None; composed now, takes the next number
    events = protocol.receive(data)                # whatever arrived
    when = protocol.next_deadline(now)             # call message_to_send again no later than this
    protocol.disconnected()                        # the line is gone: unacknowledged parts are due
    protocol.leave_line()                          # the next message is the last one of this line
    protocol.say_goodbye()                         # the next message is the last one of all

``now`` is in seconds, on any clock that only goes forward. Nothing here raises for what a peer
sends: a malformed message is an event. Not safe for threads: the driver holds one lock.
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_observe.errors import LocalProtocolError, RemoteProtocolError
from llm_observe.opamp import events, wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.custom import MAX_CUSTOM_MESSAGES, CustomQueue
from llm_observe.opamp.heard import Heard
from llm_observe.opamp.parts import BY_NAME, Outbox
from llm_observe.opamp.telling import ENVELOPE_BYTES, Telling, defined
from llm_observe.opamp.values import (
    UID_BYTES,
    AgentCapabilities,
    ConfigStatus,
    ConnectionStatus,
    ErrorKind,
)

HEARTBEAT_S = 30.0
"""The interval of heartbeats unless set or offered otherwise (OpAMP, "WebSocket Message Exchange")."""

__all__ = ["HEARTBEAT_S", "MAX_CUSTOM_MESSAGES", "ClientProtocol", "check_uid"]

LONGEST_HEARTBEAT_S = 24 * 3600.0
_FULL = opamp_pb2.ServerToAgentFlags_ReportFullState
_COMPONENTS = opamp_pb2.ServerToAgentFlags_ReportAvailableComponents
_WANT_UID = opamp_pb2.AgentToServerFlags_RequestInstanceUid


def check_uid(uid: bytes) -> bytes:
    """The uid, if it has the 16 bytes of one and is not all zero; else `ValueError`."""
    if len(uid) != UID_BYTES or not any(uid):
        raise ValueError(f"an instance uid has {UID_BYTES} bytes, not all of them 0")
    return bytes(uid)


class ClientProtocol(Telling):
    """One agent's conversation with one server, over however many lines.

    ``framed`` is True over WebSocket, False over plain HTTP. ``request_uid`` asks the server to
    assign an instance uid; the given one is then temporary.
    """

    def __init__(
        self,
        instance_uid: bytes,
        capabilities: AgentCapabilities,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        framed: bool = True,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
        request_uid: bool = False,
    ) -> None:
        self.instance_uid = check_uid(instance_uid)
        self.capabilities = defined(capabilities)
        self._heard = Heard()
        self.heartbeat_s = heartbeat_s
        self.framed = framed
        self.max_message_bytes = max_message_bytes
        self._request_uid = request_uid
        self._outbox = Outbox()
        # To have applied nothing yet is a status too, and part of a full report.
        self._outbox.report("config_status", BY_NAME["config_status"].to_pb(ConfigStatus()))
        nothing = BY_NAME["connection_status"].to_pb(ConnectionStatus())
        self._outbox.report("connection_status", nothing)
        self._next_number = 0
        # Uids of ours that replies under way may still carry.
        self._former_uid = b""
        self._custom_capabilities: frozenset[str] = frozenset()
        self._custom = CustomQueue(max_message_bytes)
        # Whether a line stands that may still be written to.
        self.on_line = False
        # A message is owed even if no part is due: a new line, new capabilities.
        self._must_speak = False
        # The next message ends the line; the conversation as well.
        self._parting = self._leaving = False
        self._last_sent: float | None = None
        # Whether the last message has had no answer of any kind yet.
        self.unanswered = False

    # ----------------------------------------------------------------------------------- the line

    def connected(self, *, framed: bool | None = None) -> None:
        """A line stands. "A status report MUST be the first message" on it.

        ``framed`` says of which kind, where that may change during the conversation.
        """
        if self._leaving:
            raise LocalProtocolError("this conversation has ended")
        if framed is not None:
            self.framed = framed
        self._parting = False
        self.on_line = self._must_speak = True

    def disconnected(self) -> None:
        """The line is gone, or a request failed: what was not acknowledged is due again."""
        self.on_line = False
        self.lost()

    def lost(self) -> None:
        """What was not acknowledged may never have arrived: it is due again."""
        self._outbox.lost()
        self._custom.lost()

    def unsent(self) -> None:
        """The last message certainly never reached the server: its number is free again."""
        if self.unanswered:
            self._next_number, self.unanswered = self._next_number - 1, False
        self.disconnected()

    def refused(self) -> None:
        """The last message was refused for good: what it carried is not sent again."""
        self._acknowledged()

    def leave_line(self) -> None:
        """The next message says that the agent disconnects; the one after it takes a new line.

        "To close the connection the Agent MUST send an AgentDisconnect" (OpAMP, "Closing
        Connection"), whatever the reason: an overloaded server, a fault of the peer, a move.
        """
        self._parting = self.on_line

    def say_goodbye(self) -> None:
        """The next message says that the agent disconnects; there is none after it."""
        self._leaving = self._parting = True

    def forget_server(self) -> None:
        """The next line may lead to another server: it is told everything, and nothing is known."""
        self._outbox.everything()
        self._heard.forget_server()

    def reborn(self, instance_uid: bytes) -> ClientProtocol:
        """A new conversation of another agent with the same truth: what a forked child needs."""
        child = ClientProtocol(
            instance_uid,
            self.capabilities,
            heartbeat_s=self.heartbeat_s,
            framed=self.framed,
            max_message_bytes=self.max_message_bytes,
        )
        child._outbox = self._outbox.copy_truth()
        child._heard = self._heard.reborn()
        child._custom_capabilities = self._custom_capabilities
        return child

    # ------------------------------------------------------------------------------------ sending

    def message_to_send(self, now: float) -> bytes | None:
        """The next message, composed now, or None for silence. Each call takes one number."""
        if not self.on_line or not self._has_something(now):
            return None
        message = self._compose()
        self._must_speak, self._last_sent, self.unanswered = False, now, True
        if self._parting:
            self.on_line = self._parting = False
        return wire.encode(message, framed=self.framed, limit=self.max_message_bytes)

    def next_deadline(self, now: float) -> float | None:
        """When `message_to_send` will have something if nothing else happens; None for never."""
        if not self.on_line:
            return None
        if self._has_something(now):
            return now
        return self._next_heartbeat()

    def _has_something(self, now: float) -> bool:
        beat = self._next_heartbeat()
        return bool(
            self._must_speak
            or self._parting
            or self._custom
            or self._outbox.due(self.capabilities, self.server_capabilities)
            or (beat is not None and beat <= now)
        )

    @property
    def interval_s(self) -> float:
        """How long the agent may stay silent on the line; 0 is for ever.

        Over plain HTTP it is the interval of polling: that takes no capability and never ends
        ("Plain HTTP Transport": the client MUST poll).
        """
        if not self.framed:
            return self.heartbeat_s or HEARTBEAT_S
        return self.heartbeat_s if self._can(AgentCapabilities.REPORTS_HEARTBEAT) else 0.0

    def _next_heartbeat(self) -> float | None:
        # "Heartbeat": counted from the last AgentToServer of any kind.
        if not self.interval_s or self._last_sent is None:
            return None
        return self._last_sent + self.interval_s

    def _compose(self) -> opamp_pb2.AgentToServer:
        message = opamp_pb2.AgentToServer(
            instance_uid=self.instance_uid,
            sequence_num=self._take_number(),
            capabilities=int(self.capabilities),
            flags=_WANT_UID if self._request_uid else 0,
        )
        if self._parting:
            message.agent_disconnect.SetInParent()
        custom = self._custom.take(self.max_message_bytes - ENVELOPE_BYTES)
        if custom is not None:
            message.custom_message.CopyFrom(custom)
        due = self._outbox.due(self.capabilities, self.server_capabilities)
        self._outbox.fill(message, due, self.max_message_bytes - len(wire.HEADER))
        return message

    def _take_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    # ---------------------------------------------------------------------------------- receiving

    def receive(self, data: bytes) -> tuple[events.ClientEvent, ...]:
        """What a message from the server says. Never raises for its content."""
        happened: list[events.ClientEvent] = []
        try:
            message = wire.decode_server(data, framed=self.framed, limit=self.max_message_bytes)
            for event in self._process(message):
                happened.append(event)
        except RemoteProtocolError as error:
            happened.append(events.Malformed(str(error)))
        return tuple(happened)

    def _process(self, message: opamp_pb2.ServerToAgent) -> Iterator[events.ClientEvent]:
        if message.instance_uid and not self._is_ours(message.instance_uid):
            yield events.Malformed("a message addressed to another instance")
            return
        if message.HasField("error_response"):  # "all other fields MUST be unset"
            yield self._server_error(message.error_response)
            return
        self._acknowledged()
        yield from self._heard.read_capabilities(message)
        if message.HasField("command") and self._can(AgentCapabilities.ACCEPTS_RESTART_COMMAND):
            yield self._command(message.command)  # "the Agent will ignore the other fields"
            return
        yield from self._read_flags(message)
        yield from self._read_heartbeat(message)
        yield from self._heard.read_config(message, self.capabilities)
        yield from self._heard.read_connections(message, self.capabilities)
        yield from self._read_identity(message)
        yield from self._heard.read_custom(message, self._custom_capabilities)

    def _is_ours(self, uid: bytes) -> bool:
        if uid == self.instance_uid:
            self._former_uid = b""
            return True
        return uid == self._former_uid

    def _acknowledged(self) -> None:
        self.unanswered = False
        self._outbox.acknowledged()
        self._custom.acknowledged()

    def _can(self, capability: AgentCapabilities) -> bool:
        return capability in self.capabilities

    def _server_error(self, error: opamp_pb2.ServerErrorResponse) -> events.ServerErrorReceived:
        self.unanswered = False
        kind = ErrorKind.from_wire(error.type)
        if kind is ErrorKind.UNAVAILABLE:
            self._outbox.lost()
        else:  # "SHOULD NOT retry sending" what was answered so
            self._acknowledged()
        nanoseconds = error.retry_info.retry_after_nanoseconds
        retry_s = nanoseconds / 1e9 if error.HasField("retry_info") else None
        return events.ServerErrorReceived(kind, error.error_message, retry_s)

    def _command(self, command: opamp_pb2.ServerToAgentCommand) -> events.ClientEvent:
        if command.type == opamp_pb2.CommandType_Restart:
            return events.RestartRequested()
        return events.Malformed(f"unknown command {command.type}")

    def _read_flags(self, message: opamp_pb2.ServerToAgent) -> Iterator[events.ClientEvent]:
        full, components = bool(message.flags & _FULL), bool(message.flags & _COMPONENTS)
        if full:
            self._outbox.everything()
            self._must_speak = True
        if components:
            self._outbox.component_map()
        if full or components:
            yield events.ReportRequested(full, components)

    def _read_heartbeat(self, message: opamp_pb2.ServerToAgent) -> Iterator[events.ClientEvent]:
        # The interval counts even where the rest of the offer is refused; no block: as before.
        if not message.connection_settings.HasField("opamp"):
            return
        seconds = message.connection_settings.opamp.heartbeat_interval_seconds
        interval = min(float(seconds), LONGEST_HEARTBEAT_S)
        may = interval if not self.framed else self._can(AgentCapabilities.REPORTS_HEARTBEAT)
        if may and interval != self.heartbeat_s:
            self.heartbeat_s = interval
            yield events.HeartbeatChanged(interval)

    def _read_identity(self, message: opamp_pb2.ServerToAgent) -> Iterator[events.ClientEvent]:
        new = message.agent_identification.new_instance_uid
        if not message.HasField("agent_identification") or new == self.instance_uid:
            return
        try:
            self.instance_uid, self._former_uid = check_uid(new), self.instance_uid
        except ValueError as error:
            yield events.Malformed(str(error))
            return
        self._request_uid = False
        self._outbox.everything()  # the server knows nothing of the new instance
        yield events.IdentityAssigned(self.instance_uid)
