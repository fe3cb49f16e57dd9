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
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp import codec, events, wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.parts import COMPONENTS, is_complete, missing_components, read_parts
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentState,
    Components,
    ConfigFile,
    ErrorKind,
    ServerCapabilities,
)

REPEAT_S = 5.0
MAX_VAIN = 3
"""Full reports that lack what the agent's capabilities promise, before that is taken for all."""

MAX_CUSTOM_MESSAGES = 100
ENVELOPE_BYTES = 1024

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


def _digest(message: opamp_pb2.AgentToServer) -> bytes:
    return hashlib.blake2b(message.SerializeToString(deterministic=True), digest_size=16).digest()


class _Asking:
    """Something asked of the agent until it complies, not more often than `REPEAT_S`."""

    def __init__(self) -> None:
        self.wanted = False
        self._asked_at: float | None = None
        self._vain = 0

    def want(self, *, at_once: bool = False) -> None:
        self.wanted, self._vain = True, 0
        if at_once:
            self._asked_at = None

    def fulfilled(self) -> None:
        self.wanted, self._asked_at = False, None

    def tried_in_vain(self) -> bool:
        """Count an attempt to comply that fell short; True for the last one worth asking for."""
        self._vain += self.wanted
        return self._vain >= MAX_VAIN

    def is_due(self, now: float) -> bool:
        return self.wanted and (self._asked_at is None or now - self._asked_at >= REPEAT_S)

    def asked(self, now: float) -> None:
        self._asked_at = now


class ServerProtocol:
    """One agent's conversation with this server.

    ``instance_uid`` is the one the agent shall have. If it speaks under another one, each reply
    tells it so (OpAMP, "AgentIdentification"). ``heartbeat_s`` is offered to agents that beat and
    would not take it for a change of their connection; None offers nothing.
    """

    def __init__(
        self,
        instance_uid: bytes,
        capabilities: ServerCapabilities,
        *,
        heartbeat_s: float | None = None,
        max_message_bytes: int = wire.MAX_MESSAGE_BYTES,
    ) -> None:
        self.instance_uid = instance_uid
        self.capabilities = capabilities | ServerCapabilities.ACCEPTS_STATUS
        self.state = AgentState()
        self.connected, self._forgotten = False, False
        self._heartbeat_s = heartbeat_s
        self._max_message_bytes = max_message_bytes
        # The uid under which the agent spoke last, and a digest of what it said.
        self._spoken_uid = instance_uid
        self._digest = b""
        self._full = _Asking()
        self._components = _Asking()
        self._offer: opamp_pb2.AgentRemoteConfig | None = None
        self._offering = _Asking()
        self._offer_is_news = False
        self._heartbeat_offered = False
        self._custom: deque[opamp_pb2.CustomMessage] = deque()

    @property
    def took_uid(self) -> bool:
        """Whether the agent speaks under the uid it shall have."""
        return self._spoken_uid == self.instance_uid

    @property
    def beats(self) -> bool:
        """Whether the agent was told, on this line, how often to send heartbeats."""
        return self._heartbeat_offered

    # ----------------------------------------------------------------------------------- the line

    def line_opened(self) -> None:
        """The agent comes over a new line: what was said on the old one may be lost."""
        self._digest = b""
        self._heartbeat_offered = False
        self._offering.want(at_once=True)

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
        self._spoken_uid = message.instance_uid
        if self.repeats(message):  # answered, but processed once
            return ()
        self._digest = _digest(message)
        return tuple(self._process(message))

    def repeats(self, message: opamp_pb2.AgentToServer) -> bool:
        """Whether a message is the last one over again ("Retrying Messages")."""
        same_number = message.sequence_num == self.state.sequence_num
        return same_number and bool(self._digest) and _digest(message) == self._digest

    def _process(self, message: opamp_pb2.AgentToServer) -> Iterator[events.ServerEvent]:
        former, known = self.state, self.state.sequence_num >= 0
        self.state = replace(former, sequence_num=message.sequence_num)
        in_order = message.sequence_num == former.sequence_num + 1
        self._note_order(message, known=known, in_order=in_order)
        parts = read_parts(message)
        if self._forgotten or not self.connected:
            self.connected, self._forgotten = True, False
            yield events.AgentConnected()
        if known and not in_order:
            yield events.SequenceBroken(former.sequence_num + 1, message.sequence_num)
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
            self._offering.want(at_once=True)
        elif is_complete(message) or (describes and self._full.tried_in_vain()):
            self._full.fulfilled()
        elif not known:
            self._full.want(at_once=True)

    def _fold(
        self, message: opamp_pb2.AgentToServer, parts: dict[str, Any]
    ) -> Iterator[events.ServerEvent]:
        former = self.state
        if COMPONENTS in parts:
            parts[COMPONENTS] = self._merge_components(parts[COMPONENTS])
        if message.capabilities:  # 0 is impossible; some peers leave it out of heartbeats
            parts["capabilities"] = AgentCapabilities.from_wire(message.capabilities)
        changed = frozenset(n for n, value in parts.items() if getattr(former, n) != value)
        self.state = replace(former, **parts)
        if changed:
            yield events.StatusReported(self.state, changed)

    def _merge_components(self, reported: Components) -> Components:
        """A bare hash that is the one we know means: as before."""
        known = self.state.components
        if reported.components is None and known is not None and known.hash == reported.hash:
            reported = known
        if reported.components is None:
            self._components.want()
        else:
            self._components.fulfilled()
        return reported

    def _custom_events(self, message: opamp_pb2.AgentToServer) -> Iterator[events.ServerEvent]:
        if message.HasField("custom_message"):
            custom = message.custom_message
            yield events.CustomMessageReceived(custom.capability, custom.type, custom.data)

    # ------------------------------------------------------------------------------------ offering

    def offer_config(self, files: Mapping[str, ConfigFile], config_hash: bytes) -> None:
        """Offer a configuration until the agent reports its hash, or another one is offered.

        Raises `LocalProtocolError` without a hash, and `MessageTooLarge` beyond the size limit.
        """
        if not config_hash:
            raise LocalProtocolError("an offer needs a hash")
        offer = opamp_pb2.AgentRemoteConfig(
            config=codec.files_to_pb(files), config_hash=config_hash
        )
        wire.check_size(offer.ByteSize() + ENVELOPE_BYTES, self._max_message_bytes)
        if self._offer is not None and self._offer.config_hash == config_hash:
            return
        self._offer, self._offer_is_news = offer, True
        self._offering.want(at_once=True)

    def clear_offer(self) -> None:
        """Offer nothing any more. What the agent already took stays in force there."""
        self._offer, self._offer_is_news = None, False

    def send_custom(self, capability: str, type_: str, data: bytes) -> None:
        """Queue one custom message. Raises `LocalProtocolError` where the agent has no use for it."""
        if capability not in (self.state.custom_capabilities or ()):
            raise LocalProtocolError(f"the agent does not support {capability!r}")
        if len(self._custom) >= MAX_CUSTOM_MESSAGES:
            raise LocalProtocolError(f"{MAX_CUSTOM_MESSAGES} custom messages already wait")
        message = opamp_pb2.CustomMessage(capability=capability, type=type_, data=data)
        wire.check_size(message.ByteSize() + ENVELOPE_BYTES, self._max_message_bytes)
        self._custom.append(message)

    # ------------------------------------------------------------------------------------- sending

    def has_news(self) -> bool:
        """Whether something waits that the agent has not been sent, on a line that can push."""
        return bool(self._custom) or (self._offer_is_news and self._may_offer())

    def reply(self, now: float) -> bytes:
        """The protobuf bytes of the next message to the agent, composed now."""
        message = opamp_pb2.ServerToAgent(
            instance_uid=self._spoken_uid, capabilities=int(self.capabilities)
        )
        if not self.took_uid:
            message.agent_identification.new_instance_uid = self.instance_uid
        if self._full.is_due(now):
            message.flags |= _FULL
            self._full.asked(now)
        if missing_components(self.state) and self._components.is_due(now):
            message.flags |= _COMPONENTS
            self._components.asked(now)
        self._add_offer(message, now)
        self._add_heartbeat(message)
        self._add_custom(message)
        return message.SerializeToString(deterministic=True)

    def _may_offer(self) -> bool:
        """Hashes are compared, never states: a refused offer is not sent again."""
        status = self.state.config_status
        return (
            self._offer is not None
            and AgentCapabilities.ACCEPTS_REMOTE_CONFIG in self.state.capabilities
            and (status is None or status.hash != self._offer.config_hash)
        )

    def _add_offer(self, message: opamp_pb2.ServerToAgent, now: float) -> None:
        if self._offer is None or not self._may_offer() or not self._offering.is_due(now):
            return
        message.remote_config.CopyFrom(self._offer)
        self._offer_is_news = False
        self._offering.asked(now)
        if AgentCapabilities.REPORTS_REMOTE_CONFIG not in self.state.capabilities:
            self._offering.wanted = False  # it will never say that it has it: once a line

    def _add_heartbeat(self, message: opamp_pb2.ServerToAgent) -> None:
        """Not to an agent that would take an offer without an address for a new connection."""
        can = self.state.capabilities
        if (
            self._heartbeat_s is None
            or self._heartbeat_offered
            or AgentCapabilities.REPORTS_HEARTBEAT not in can
            or AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS in can
        ):
            return
        seconds = max(1, round(self._heartbeat_s))
        offers = message.connection_settings
        offers.hash = hashlib.sha256(f"heartbeat {seconds}".encode()).digest()
        offers.opamp.heartbeat_interval_seconds = seconds
        self._heartbeat_offered = True

    def _add_custom(self, message: opamp_pb2.ServerToAgent) -> None:
        if self._custom:
            message.custom_message.CopyFrom(self._custom.popleft())
