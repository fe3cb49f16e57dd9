"""The server's side of one agent's conversation, without I/O.

Order of calls::

    protocol = ServerProtocol(instance_uid, capabilities)
    protocol.line_opened()  # on each new line; over HTTP never
    events = protocol.receive(message, now)  # a decoded AgentToServer
    data = protocol.reply(now)  # exactly one for each message received
    if protocol.has_news():  # after an offer: a message nobody asked for
        data = protocol.reply(now)
    protocol.line_closed(reason)

A message that cannot be processed is answered by `refusal` instead of `reply`. ``now`` is in
seconds, on any clock that only goes forward.

What keeps the server's picture true, and the conversation from becoming an endless echo:
a number that is not one more than the last asks for a full report, and so does an agent that is
not known; an offer goes out with each reply until the agent reports its hash; both are repeated
no more often than every `REPEAT_S` to an agent that answers without complying.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm_observe.opamp import events, wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.asking import MAX_VAIN, REPEAT_S, Asking
from llm_observe.opamp.custom import CustomQueue
from llm_observe.opamp.interning import Interned
from llm_observe.opamp.parts import COMPONENTS, is_complete, missing_components, read_parts
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentState,
    Components,
    ErrorKind,
    ServerCapabilities,
)
from llm_observe.opamp.wanting import Wanting
from llm_observe.opamp.wishes import FIELD_BYTES, CapabilitiesWish, ConfigWish, ConnectionWish, Wish

__all__ = ["MAX_VAIN", "REPEAT_S", "ServerProtocol", "refusal", "wants_uid"]

_FULL = opamp_pb2.ServerToAgentFlags_ReportFullState
_COMPONENTS = opamp_pb2.ServerToAgentFlags_ReportAvailableComponents
_WANT_UID = opamp_pb2.AgentToServerFlags_RequestInstanceUid


def refusal(uid: bytes, kind: ErrorKind, text: str, retry_after_s: float | None = None) -> bytes:
    """The protobuf bytes of an error response; "all other fields MUST be unset" but the uid."""
    error = opamp_pb2.ServerErrorResponse(
        type=opamp_pb2.ServerErrorResponseType.Name(kind), error_message=text
    )
    if retry_after_s is not None:
        error.retry_info.retry_after_nanoseconds = round(retry_after_s * 1e9)
    message = opamp_pb2.ServerToAgent(instance_uid=uid, error_response=error)
    return message.SerializeToString()


def wants_uid(message: opamp_pb2.AgentToServer) -> bool:
    """Whether an agent asks for an instance uid to be made for it."""
    return bool(message.flags & _WANT_UID)


_BEAT = b"a heartbeat"
_BARE_FIELDS = 3


def _digest(message: opamp_pb2.AgentToServer) -> bytes:
    return hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=16).digest()


class ServerProtocol(Wanting):
    """One agent's conversation with this server.

    ``instance_uid`` is the one the agent shall have. If it speaks under another one, each reply
    tells it so (OpAMP, "AgentIdentification"). ``heartbeat_s`` is offered to agents that beat and
    would not take it for a change of their connection; None offers nothing. What ``interned``
    holds is shared with the conversations of other agents.
    """

    __slots__ = (
        "_components",
        "_digest",
        "_forgotten",
        "_idle_reply",
        "_interned",
        "_limit",
        "_number",
        "_spoken_uid",
        "_state",
        "_wishes",
        "capabilities",
        "connected",
        "instance_uid",
    )

    def __init__(
        self,
        instance_uid: bytes,
        capabilities: ServerCapabilities,
        *,
        heartbeat_s: float | None = None,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
        custom_capabilities: frozenset[str] = frozenset(),
        interned: Interned | None = None,
    ) -> None:
        self.instance_uid = instance_uid
        defined = ServerCapabilities.from_wire(int(capabilities))
        self.capabilities = defined | ServerCapabilities.ACCEPTS_STATUS
        self._limit = max_message_bytes - len(wire.HEADER)
        self._interned = interned
        # The number by itself: it is all that an idle agent changes.
        self._state, self._number = AgentState(), -1
        self.connected, self._forgotten = False, False
        # The uid under which the agent spoke last, and a digest of what it said.
        self._spoken_uid = instance_uid
        self._digest = b""
        self._full = Asking()
        self._components = Asking()
        self._config = ConfigWish(max_message_bytes, interned)
        self._connections = ConnectionWish(heartbeat_s, max_message_bytes)
        self._announced = CapabilitiesWish(custom_capabilities)
        self._wishes: tuple[Wish, ...] = (self._config, self._connections, self._announced)
        self._custom = CustomQueue(max_message_bytes)
        self._restart = False
        self._full_is_news = False
        # The reply to an agent that there is nothing to tell, and the uid it is for.
        self._idle_reply = (b"", b"")

    @property
    def state(self) -> AgentState:
        """What is known of the agent."""
        if self._state.sequence_num != self._number:
            self._state = replace(self._state, sequence_num=self._number)
        return self._state

    @state.setter
    def state(self, state: AgentState) -> None:
        self._state, self._number = state, state.sequence_num

    @property
    def took_uid(self) -> bool:
        """Whether the agent speaks under the uid it shall have."""
        return self._spoken_uid == self.instance_uid

    @property
    def beats(self) -> bool:
        """Whether the agent was told, on this line, how often to send heartbeats."""
        return self._connections.beats

    # ----------------------------------------------------------------------------------- the line

    def line_opened(self) -> None:
        """The agent comes over a new line: what was said on the old one may be lost."""
        self._digest = b""
        for wish in self._wishes:
            wish.line_opened()

    def line_closed(self, reason: str) -> tuple[events.ServerEvent, ...]:
        """The line broke, or the agent fell silent. What it reported stays, with its age."""
        if not self.connected:
            return ()
        self.connected, self._digest = False, b""
        return (events.AgentDisconnected(reason),)

    def forget(self) -> None:
        """Drop what is known, as after a failure to store it: the agent is asked for all again.

        Its next message is `AgentConnected` once more. If it goes without another one, that is
        still told.
        """
        self.state = AgentState()
        self._forgotten, self._digest = True, b""

    # ---------------------------------------------------------------------------------- receiving

    def receive(self, message: opamp_pb2.AgentToServer) -> tuple[events.ServerEvent, ...]:
        """What a message says.

        Raises `MalformedMessage` for one whose parts cannot be read; its number counts as heard,
        everything else is left as it was.
        """
        if self.hears_beat(message):
            return ()
        self._spoken_uid = message.instance_uid
        if self.repeats(message):  # answered, but processed once
            return ()
        self._digest = _digest(message)
        return tuple(self._process(message))

    def repeats(self, message: opamp_pb2.AgentToServer) -> bool:
        """Whether a message is the last one over again ("Retrying Messages")."""
        if message.sequence_num != self._number or not self._digest:
            return False
        if self._digest == _BEAT:
            return self._is_bare(message)
        return _digest(message) == self._digest

    def hears_beat(self, message: opamp_pb2.AgentToServer) -> bool:
        """Take in a message that says nothing but that the agent is there; False if it says more.

        What idle agents send most of the time, so it is short: it touches two attributes.
        """
        in_order = message.sequence_num == self._number + 1
        if not (in_order and self.connected and self._is_bare(message)):
            return False
        if message.instance_uid != self._spoken_uid:
            return False
        self._number, self._digest = message.sequence_num, _BEAT
        return True

    def _is_bare(self, message: opamp_pb2.AgentToServer) -> bool:
        """Whether there is nothing in it but uid, number and the capabilities known already."""
        same = message.capabilities == self._state.capabilities
        return same and message.sequence_num > 0 and len(message.ListFields()) == _BARE_FIELDS

    def _process(self, message: opamp_pb2.AgentToServer) -> Iterator[events.ServerEvent]:
        former, self._number = self._number, message.sequence_num
        known, in_order = former >= 0, message.sequence_num == former + 1
        self._note_order(message, known=known, in_order=in_order)
        parts = read_parts(message, self._interned)
        if self._forgotten or not self.connected:
            self.connected, self._forgotten = True, False
            yield events.AgentConnected()
        if known and not in_order:
            yield events.SequenceBroken(former + 1, message.sequence_num)
        yield from self._fold(message, parts)
        yield from self._custom_events(message)
        if wants_uid(message):
            yield events.UidRequested()
        if message.HasField("agent_disconnect"):
            yield from self.line_closed("the agent disconnected")

    def _note_order(self, message: opamp_pb2.AgentToServer, *, known: bool, in_order: bool) -> None:
        """Decide whether a full report is needed ("Agent Status Compression")."""
        describes = message.HasField("agent_description")
        if known and not in_order:
            # A report that breaks the order again was asked for a moment ago: not at once.
            self._full.want(at_once=not describes or not self._full.wanted)
            self._config.line_opened()
        elif not known and message.sequence_num:
            # What it left out before this server knew it, nobody can tell from one message.
            self._full.want(at_once=True)
        elif is_complete(message) or (describes and self._full.tried_in_vain()):
            self._full.fulfilled()
        elif not known:
            self._full.want(at_once=True)

    def _fold(
        self, message: opamp_pb2.AgentToServer, parts: dict[str, Any]
    ) -> Iterator[events.ServerEvent]:
        former = self._state
        if COMPONENTS in parts:
            parts[COMPONENTS] = self._merge_components(parts[COMPONENTS])
        if message.capabilities:  # 0 is impossible; some peers leave it out of heartbeats
            parts["capabilities"] = AgentCapabilities.from_wire(message.capabilities)
        changed = frozenset(n for n, value in parts.items() if getattr(former, n) != value)
        self._state = replace(former, sequence_num=self._number, **parts)
        if changed:
            yield events.StatusReported(self.state, changed)

    def _merge_components(self, reported: Components) -> Components:
        """A bare hash that is the one we know means: as before."""
        known = self._state.components
        if reported.components is None and known is not None and known.hash == reported.hash:
            reported = known
        if reported.components is None:
            self._components.want()
        else:
            self._components.fulfilled()
        return reported

    def _custom_events(self, message: opamp_pb2.AgentToServer) -> Iterator[events.ServerEvent]:
        custom = message.custom_message
        supported = custom.capability in self._announced.capabilities
        if message.HasField("custom_message") and supported:
            yield events.CustomMessageReceived(custom.capability, custom.type, custom.data)

    # ------------------------------------------------------------------------------------- sending

    def has_news(self) -> bool:
        """Whether something waits that the agent has not been sent, on a line that can push."""
        waiting = self._restart or self._full_is_news or len(self._custom) > 0
        if waiting:
            return True
        state = self._state  # asked after each message: no loop, and the number does not matter
        return (
            self._config.is_news(state)
            or self._connections.is_news(state)
            or self._announced.is_news(state)
        )

    def reply(self, now: float) -> bytes:
        """The protobuf bytes of the next message to the agent, composed now."""
        if self._has_nothing_to_say():
            if self._idle_reply[0] != self._spoken_uid:
                self._idle_reply = (self._spoken_uid, self._compose(now))
            return self._idle_reply[1]
        return self._compose(now)

    def _has_nothing_to_say(self) -> bool:
        asks = self._full.wanted or self._components.wanted
        if asks or self._restart or len(self._custom) or not self.took_uid:
            return False
        state = self._state
        return not (
            self._config.is_open(state)
            or self._connections.is_open(state)
            or self._announced.is_open(state)
        )

    def _compose(self, now: float) -> bytes:
        message = opamp_pb2.ServerToAgent(
            instance_uid=self._spoken_uid, capabilities=int(self.capabilities)
        )
        if self._restart:  # "all other fields" but these "MUST be unset"
            message.command.type = opamp_pb2.CommandType_Restart
            self._restart = False
        else:
            self._fill(message, now)
        return message.SerializeToString(deterministic=True)

    def _fill(self, message: opamp_pb2.ServerToAgent, now: float) -> None:
        if not self.took_uid:
            message.agent_identification.new_instance_uid = self.instance_uid
        if self._full.is_due(now):
            message.flags |= _FULL
            self._full.asked(now)
        self._full_is_news = False  # asked for, or not wanted any more
        if missing_components(self._state) and self._components.is_due(now):
            message.flags |= _COMPONENTS
            self._components.asked(now)
        for wish in self._wishes:
            wish.add(message, self._state, now, self._limit)
        self._add_custom(message)

    def _add_custom(self, message: opamp_pb2.ServerToAgent) -> None:
        custom = self._custom.take(self._limit - message.ByteSize() - FIELD_BYTES)
        if custom is not None:  # at most once: nothing tells whether it arrived
            message.custom_message.CopyFrom(custom)
            self._custom.acknowledged()
