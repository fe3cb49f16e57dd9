"""One agent and one server, and everything that can happen between them, in any order.

Messages are lost, come twice, and come late: what was under way on a line that broke may still
arrive after the next one stands. Either side restarts, the server assigns another uid, what the
agent can do changes, offers are made. Whatever happened: when it is quiet for a while, both sides
agree, every offer was taken, and nobody says anything any more.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llm_observe.opamp.connections import ConnectionOffer, ConnectionSettings
from llm_observe.opamp.events import (
    ClientEvent,
    ConfigOffered,
    ConnectionSettingsOffered,
    CustomMessageReceived,
    Malformed,
    ServerEvent,
)
from llm_observe.opamp.parts import BY_NAME
from llm_observe.opamp.values import (
    AgentCapabilities,
    AgentDescription,
    Component,
    Components,
    ConfigFile,
    ConfigState,
    ConfigStatus,
    ConnectionStatus,
    Health,
    ServerCapabilities,
)
from tests.link import AGENT, DESCRIPTION, SERVER, Link, make_client, make_server

CUSTOM = frozenset({"com.example"})
FULL = (
    AGENT
    | AgentCapabilities.REPORTS_OWN_METRICS
    | AgentCapabilities.REPORTS_CONNECTION_SETTINGS_STATUS
)
LESS = AgentCapabilities.REPORTS_HEALTH | AgentCapabilities.REPORTS_HEARTBEAT
QUIET_ROUNDS = 4
SMALL = st.integers(0, 3)


class Conversation(RuleBasedStateMachine):
    """The agent tells the truth, takes what it is offered, and counts what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.uids = [bytes([n]) * 16 for n in range(1, 250)]
        self.link = Link(make_client(FULL), self.new_server())
        self.link.server.instance_uid = self.link.client.instance_uid
        self.late: list[bytes] = []
        self.said_custom: list[bytes] = []
        self.heard_custom: list[bytes] = []
        # Nothing tells an answer from a push, so what breaks with a line may pass for answered.
        # For the state the numbers make up for it; a custom message is lost.
        self.lossless = True
        self.wanted_config = b""
        self.wanted_connection = b""
        self.report(description=DESCRIPTION, health=Health(), effective_config={})
        self.report(components=Components(b"none", {"a": Component()}))
        self.report(custom_capabilities=CUSTOM)
        self.link.connect()

    @staticmethod
    def new_server() -> Any:
        return make_server(SERVER, custom_capabilities=CUSTOM, heartbeat_s=30.0)

    def report(self, **parts: Any) -> None:
        self.link.report(**parts)

    # ------------------------------------------------------------------------------ what is said

    @rule(number=SMALL)
    def health_changes(self, number: int) -> None:
        self.report(health=Health(healthy=number > 0, last_error=str(number)))

    @rule(number=SMALL)
    def several_files_change(self, number: int) -> None:
        files = {str(n): ConfigFile(bytes([n, number]), "text/plain") for n in range(number)}
        self.report(effective_config=files)

    @rule(number=SMALL)
    def description_changes(self, number: int) -> None:
        self.report(description=AgentDescription({"service.name": str(number)}))

    @rule(number=SMALL)
    def components_change(self, number: int) -> None:
        component = Component({"version": str(number)})
        self.report(components=Components(bytes([number]), {"c": component}))

    @rule()
    def what_the_agent_can_do_changes(self) -> None:
        now = self.link.client.capabilities
        self.link.client.set_capabilities(LESS if now & ~LESS & FULL else FULL)

    @rule()
    def the_agent_sends_a_custom_message(self) -> None:
        if "com.example" in self.link.client.server_custom_capabilities:
            self.said_custom.append(bytes([len(self.said_custom) % 256]))
            self.link.client.send_custom("com.example", "t", self.said_custom[-1])

    # --------------------------------------------------------------------------- what is wanted

    @rule(config_hash=st.sampled_from([b"one", b"two"]))
    def a_config_is_wanted(self, config_hash: bytes) -> None:
        self.wanted_config = config_hash
        self.link.server.offer_config({"a": ConfigFile(config_hash)}, config_hash)

    @rule(settings_hash=st.sampled_from([b"c1", b"c2"]))
    def a_connection_is_wanted(self, settings_hash: bytes) -> None:
        self.wanted_connection = settings_hash
        metrics = ConnectionSettings(f"https://{settings_hash.decode()}/v1/metrics")
        self.link.server.offer_connections(ConnectionOffer(settings_hash, own_metrics=metrics))

    @rule()
    def the_server_assigns_another_uid(self) -> None:
        self.link.server.instance_uid = self.uids.pop()

    @rule()
    def the_server_asks_for_everything(self) -> None:
        self.link.server.ask_for_everything()

    # ----------------------------------------------------------------------- what happens to it

    @rule()
    def both_speak(self) -> None:
        self.link.speak(self.link.now)

    @precondition(lambda self: self.link.to_server)
    @rule()
    def the_server_hears(self) -> None:
        self.heard(self.link.server_hears(self.link.now))

    @precondition(lambda self: self.link.to_agent)
    @rule()
    def the_agent_hears(self) -> None:
        self.obey(self.link.agent_hears())

    @rule()
    def everything_arrives(self) -> None:
        self.settle()

    @precondition(lambda self: self.link.to_server or self.link.to_agent)
    @rule()
    def a_message_is_lost_with_its_line(self) -> None:
        self.link.lose()
        self.the_line_breaks_and_another_stands()

    @precondition(lambda self: self.link.to_server or self.link.to_agent)
    @rule()
    def a_message_comes_twice(self) -> None:
        self.link.repeat()

    @rule()
    def the_line_breaks_and_another_stands(self) -> None:
        self.lossless = False
        self.late += self.link.to_server
        self.link.connect()

    @precondition(lambda self: self.late)
    @rule()
    def what_was_under_way_on_an_old_line_arrives_late(self) -> None:
        self.link.to_server.appendleft(self.late.pop(0))

    @rule()
    def time_passes(self) -> None:
        self.link.wait()

    @rule()
    def the_server_restarts(self) -> None:
        self.link.disconnect()
        uid = self.link.server.instance_uid
        self.link.server = self.new_server()
        self.link.server.instance_uid = uid
        self.want_again()
        self.link.connect()

    @rule()
    def the_agent_restarts(self) -> None:
        former = self.link.client
        self.link.disconnect()
        self.link.client = make_client(former.capabilities)
        self.link.client.instance_uid = former.instance_uid  # it kept its uid
        self.said_custom.clear()
        self.heard_custom.clear()
        self.link.client.report(**self.link.truth)
        self.link.connect()

    def want_again(self) -> None:
        if self.wanted_config:
            self.a_config_is_wanted(self.wanted_config)
        if self.wanted_connection:
            self.a_connection_is_wanted(self.wanted_connection)

    # -------------------------------------------------------------------------- what they make of it

    def obey(self, events: tuple[ClientEvent, ...] | list[ClientEvent]) -> None:
        for event in events:
            if isinstance(event, ConfigOffered):
                status = ConfigStatus(event.config_hash, ConfigState.APPLIED)
                self.report(config_status=status)
            elif isinstance(event, ConnectionSettingsOffered):
                taken = ConnectionStatus(event.offer.hash, ConfigState.APPLIED)
                self.report(connection_status=taken)

    def heard(self, events: tuple[ServerEvent, ...] | list[ServerEvent]) -> None:
        self.heard_custom += [e.data for e in events if isinstance(e, CustomMessageReceived)]
        assert not [event for event in events if isinstance(event, Malformed)]

    def settle(self) -> None:
        for _ in range(10):
            by_client, by_server = self.link.settle()
            self.heard(by_server)
            self.obey(by_client)
            if not by_client and not by_server:
                return

    @invariant()
    def every_message_says_what_the_agent_can_do(self) -> None:
        assert all(message.capabilities & 1 for message in self.link.sent)

    def teardown(self) -> None:
        self.late.clear()
        self.link.client.set_capabilities(FULL)
        for _ in range(QUIET_ROUNDS):
            self.link.wait()
            self.settle()
        server, client = self.link.server, self.link.client
        assert client.instance_uid == server.instance_uid
        assert server.state.capabilities == client.capabilities
        assert self.link.view() == self.link.truth
        self.assert_taken()
        if self.lossless:
            assert not set(self.said_custom) - set(self.heard_custom)
        spoken = len(self.link.sent)
        self.settle()
        assert len(self.link.sent) == spoken

    def assert_taken(self) -> None:
        state = self.link.server.state
        if self.wanted_config:
            assert state.config_status is not None
            assert state.config_status.hash == self.wanted_config
        if self.wanted_connection:
            assert state.connection_status is not None
            assert state.connection_status.hash == self.wanted_connection


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_every_part_of_the_status_is_played_with() -> None:
    conversation = Conversation()
    played = {*conversation.link.truth, "config_status", "connection_status"}
    assert played == set(BY_NAME)
    assert ServerCapabilities.ACCEPTS_EFFECTIVE_CONFIG in SERVER
