"""The threaded client over real sockets: against our server, and against hostile peers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trustme
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    ConfigOffered,
    Connected,
    Disconnected,
    IdentityAssigned,
    Malformed,
    ServerErrorReceived,
    StatusReported,
)
from llm_observe.opamp.io import websocket
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.opamp.io.websocket import WebSocketTransport
from llm_observe.opamp.values import (
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
    ServerCapabilities,
)
from llm_observe.uids import new_uid
from tests.link import DESCRIPTION
from tests.opamp.io.agents import Agent, said, until
from tests.opamp.io.peers import DEADLINE_S, Recorder, make_server
from tests.opamp.io.serving import free_port, process, serving


@contextmanager
def peer(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """A WebSocket server that is no OpAMP server of ours."""
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(DEADLINE_S)


def hear_out(connection: ServerConnection) -> int | None:
    """Read until the line ends; the code it was closed with."""
    with suppress(ConnectionClosed):
        while True:
            connection.recv()
    return connection.close_code


def heard_by(connection: ServerConnection) -> opamp_pb2.AgentToServer:
    data = connection.recv()
    assert isinstance(data, bytes)
    return wire.decode_agent(data, framed=True)


def answer(connection: ServerConnection, **content: Any) -> None:
    message = opamp_pb2.ServerToAgent(**content)
    connection.send(wire.encode(message, framed=True))


# ------------------------------------------------------------------------- with our own server


@pytest.mark.opamp("R-04")
def test_an_agent_is_seen_offered_a_config_and_acknowledges_it() -> None:
    recorder = Recorder()

    async def offer(agent: AgentLink, event: Any) -> None:
        if isinstance(event, StatusReported):
            await agent.offer_config({"a": ConfigFile(b"{}")}, b"one")

    recorder.then = offer
    server = make_server(recorder)
    with serving(server) as address, Agent(address, headers={"X-Token": "t"}) as agent:
        recorder.wait_until(
            lambda: any(
                e.state.config_status == ConfigStatus(b"one", ConfigState.APPLIED)
                for e in recorder.of(StatusReported)
            ),
            "the acknowledgement",
        )
        state = agent.client.state
        assert state.connected
        assert ServerCapabilities.OFFERS_REMOTE_CONFIG in state.server_capabilities
        link = server.agents[agent.client.instance_uid]
        assert link.state.description == DESCRIPTION
        assert recorder.headers[0]["x-token"] == "t"
    recorder.wait_until(lambda: recorder.of(AgentDisconnected), "goodbye")
    assert recorder.of(AgentDisconnected) == [AgentDisconnected("the agent disconnected")]
    assert not agent.client.state.connected
    assert len(agent.of(ConfigOffered)) == 1


def test_reports_from_any_thread_arrive_and_the_last_word_counts() -> None:
    recorder = Recorder()
    server = make_server(recorder)
    with serving(server) as address, Agent(address) as agent:
        agent.saw(Connected)

        def report(number: int) -> None:
            for step in range(20):
                agent.client.report(health=Health(status=f"{number}.{step}"))

        threads = [threading.Thread(target=report, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        agent.client.report(health=Health(status="last"))
        recorder.wait_until(lambda: said(recorder, "last"), "the last report")


def test_a_slow_handler_of_events_holds_up_no_report() -> None:
    recorder, go_on = Recorder(), threading.Event()
    with serving(make_server(recorder)) as address:
        agent = Agent(address)
        handled = agent.client._on_event

        def slow(event: Any) -> None:
            handled(event)
            if not isinstance(event, Connected):
                go_on.wait(DEADLINE_S)

        agent.client._on_event = slow
        with agent:
            agent.wait_until(lambda: len(agent.seen) >= 2, "something after Connected")
            agent.client.report(health=Health(status="meanwhile"))
            recorder.wait_until(lambda: said(recorder, "meanwhile"), "the report")
            go_on.set()


def test_a_handler_that_raises_does_not_end_the_conversation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    with serving(make_server(recorder)) as address:
        agent = Agent(address)
        handled = agent.client._on_event

        def failing(event: Any) -> None:
            handled(event)
            raise RuntimeError("a fault of the caller")

        agent.client._on_event = failing
        with caplog.at_level(logging.CRITICAL), agent:
            agent.saw(Connected)
            agent.client.report(health=Health(status="new"))
            recorder.wait_until(lambda: said(recorder, "new"), "the report")


@pytest.mark.opamp("C-09")
def test_a_server_that_is_killed_and_restarted_learns_everything_again() -> None:
    port = free_port()
    with Agent(f"127.0.0.1:{port}") as agent:  # there is no server yet
        until(lambda: agent.client.state.attempts >= 1, "a vain attempt")
        assert "cannot reach the server" in agent.client.state.last_error
        with process(port) as server:
            agent.saw(Connected)
            assert server.stdout is not None
            assert server.stdout.readline().split() == ["AgentConnected"]
            os.kill(server.pid, signal.SIGKILL)
            agent.saw(Disconnected)
        agent.client.report(health=Health(healthy=False, status="while it was away"))
        with process(port) as server:
            agent.saw(Connected, 2)
            assert server.stdout is not None
            reported: set[str] = set()
            while not {"description", "health", "effective_config"} <= reported:
                _, _, names = server.stdout.readline().strip().partition(" ")
                reported |= set(names.split(","))


@pytest.mark.opamp("W-09")
def test_a_server_that_stops_reading_and_writing_is_noticed() -> None:
    port = free_port()
    with process(port) as server, Agent(f"127.0.0.1:{port}", ping_s=0.3) as agent:
        agent.saw(Connected)
        os.kill(server.pid, signal.SIGSTOP)
        agent.saw(Disconnected)
        os.kill(server.pid, signal.SIGCONT)
        agent.saw(Connected, 2)


def test_a_wrong_token_is_said_in_a_sentence_and_tried_again() -> None:
    recorder = Recorder()
    recorder.refuse = 401
    with serving(make_server(recorder)) as address, Agent(address) as agent:
        until(lambda: agent.client.state.attempts, "a refusal")
        assert agent.client.state.last_error == "the server wants a valid token (401)"
        recorder.refuse = None
        agent.saw(Connected)


@pytest.mark.opamp("A-01")
def test_headers_may_be_a_function_that_is_asked_on_each_dial() -> None:
    recorder, tokens = Recorder(), iter(["old", "new"])
    recorder.refuse = 401

    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    with serving(make_server(recorder)) as address, Agent(address, headers=headers) as agent:
        until(lambda: agent.client.state.attempts, "a refusal")
        recorder.refuse = None
        agent.saw(Connected)
    assert [h["authorization"] for h in recorder.headers] == ["Bearer old", "Bearer new"]


def test_a_copied_uid_is_replaced_and_the_agent_takes_it_up() -> None:
    recorder = Recorder()
    server = make_server(recorder)
    with serving(server) as address, Agent(address) as one:
        recorder.wait_until(lambda: recorder.of(StatusReported), "the first agent")
        one.client.report(health=Health(status="said something more"))
        recorder.wait_until(lambda: len(recorder.of(StatusReported)) > 1, "its second report")
        copy = Agent(address)
        copy.client.protocol.instance_uid = one.client.instance_uid
        with copy:
            copy.saw(IdentityAssigned)
            assert copy.client.instance_uid != one.client.instance_uid
            until(lambda: server.agents[copy.client.instance_uid].state.health, "its report")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_becomes_an_agent_of_its_own_and_leaves_the_parents_line() -> None:
    recorder = Recorder()
    server = make_server(recorder)
    with serving(server) as address, Agent(address) as agent:
        recorder.wait_until(lambda: recorder.of(StatusReported), "the parent")
        parent, child = agent.client.instance_uid, new_uid()
        pid = os.fork()
        if pid == 0:  # only the fork's own thread lives here
            with suppress(BaseException):
                agent._changed = threading.Condition()
                agent.client.after_fork_in_child(child)
                until(lambda: agent.client.state.connected, "the child's line")
                agent.client.stop(DEADLINE_S)
                os._exit(0)
            os._exit(1)
        recorder.wait_until(lambda: recorder.of(AgentDisconnected, child), "the child's goodbye")
        assert os.waitpid(pid, 0)[1] == 0
        assert server.agents[child].state.description == DESCRIPTION
        assert server.agents[parent].connected
        agent.client.report(health=Health(status="still here"))
        until(
            lambda: getattr(server.agents[parent].state.health, "status", "") == "still here",
            "the parent's report",
        )


def test_tls_is_verified() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def handler(connection: ServerConnection) -> None:
        connection.recv()
        answer(connection)
        connection.recv()

    with peer(handler, ssl=context) as address:
        with Agent(f"https://{address}") as stranger:
            until(lambda: stranger.client.state.attempts, "a refusal")
            assert "certificate is not trusted" in stranger.client.state.last_error
        with Agent(f"wss://{address}", ssl_context=trusting) as agent:
            agent.saw(Connected)


# ------------------------------------------------------------------------------ hostile peers


@pytest.mark.opamp("W-01")
def test_a_text_frame_ends_the_line_as_a_fault_of_the_peer() -> None:
    closed: list[int | None] = []

    def handler(connection: ServerConnection) -> None:
        connection.recv()
        connection.send("text")
        closed.append(hear_out(connection))

    with peer(handler) as address, Agent(address) as agent:
        agent.saw(Disconnected)
        assert agent.of(Malformed) == [Malformed("a text frame")]
        until(lambda: closed, "the close")
    assert closed[0] == 1003


@pytest.mark.opamp("C-04")
def test_the_agent_says_that_it_disconnects_before_it_closes_whoever_is_to_blame() -> None:
    heard: list[list[opamp_pb2.AgentToServer]] = []

    def handler(connection: ServerConnection) -> None:
        messages = [heard_by(connection)]
        error = opamp_pb2.ServerErrorResponse(type="ServerErrorResponseType_Unavailable")
        if len(heard) == 0:
            connection.send("text")
        elif len(heard) == 1:
            answer(connection, error_response=error)
        heard.append(messages)
        with suppress(ConnectionClosed):
            while True:
                messages.append(heard_by(connection))

    with peer(handler) as address, Agent(address) as agent:
        agent.saw(Connected, 3)
    until(lambda: len(heard) == 3, "three lines")
    for messages in heard:
        assert [m.HasField("agent_disconnect") for m in messages] == [False] * (
            len(messages) - 1
        ) + [True]
    numbers = [m.sequence_num for messages in heard for m in messages]
    assert numbers == list(range(len(numbers)))


@pytest.mark.opamp("H-16")
def test_a_redirect_is_not_followed() -> None:
    arrived: list[Request] = []

    def elsewhere(connection: ServerConnection, request: Request) -> Response:
        arrived.append(request)
        where = Headers(Location=f"ws://{target}/v1/opamp")
        return Response(302, "Found", where)

    recorder = Recorder()
    with (
        serving(make_server(recorder)) as target,
        peer(lambda _: None, process_request=elsewhere) as address,
        Agent(address, headers={"X-Token": "t"}) as agent,
    ):
        until(lambda: agent.client.state.attempts >= 2, "vain attempts")
        assert "redirects are not followed" in agent.client.state.last_error
    assert recorder.headers == []
    assert arrived[0].headers["X-Token"] == "t"


@pytest.mark.opamp("L-04", "L-05")
def test_a_message_over_the_limit_ends_the_line_with_1009() -> None:
    closed: list[int | None] = []

    def handler(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(bytes(10_001))
        closed.append(hear_out(connection))

    with peer(handler) as address, Agent(address, max_message_bytes=10_000) as agent:
        agent.saw(Disconnected)
        assert "1009" in agent.of(Disconnected)[0].reason
        until(lambda: closed, "the close")
    assert closed[0] == 1009


def test_malformed_bytes_are_told_and_the_line_goes_on() -> None:
    def handler(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(b"\x01garbage")
        answer(connection, capabilities=3)
        connection.recv()

    with peer(handler) as address, Agent(address) as agent:
        agent.saw(Malformed)
        until(lambda: agent.client.state.server_capabilities == 3, "the next message")


@pytest.mark.opamp("C-03", "Y-02")
def test_an_unavailable_server_is_left_alone_for_as_long_as_it_asks() -> None:
    arrived: list[float] = []

    def handler(connection: ServerConnection) -> None:
        arrived.append(time.monotonic())
        connection.recv()
        if len(arrived) == 1:
            error = opamp_pb2.ServerErrorResponse(type="ServerErrorResponseType_Unavailable")
            error.retry_info.retry_after_nanoseconds = 1_000_000_000
            answer(connection, error_response=error)
        hear_out(connection)

    with peer(handler) as address, Agent(address) as agent:
        agent.saw(ServerErrorReceived)
        agent.saw(Connected, 2)
        assert agent.of(Disconnected)[0].reason.startswith("the server is unavailable")
    assert arrived[1] - arrived[0] >= 1.0


@pytest.mark.opamp("C-10")
def test_a_peer_that_accepts_and_hangs_up_is_not_dialled_in_a_loop() -> None:
    arrived: list[float] = []

    def handler(connection: ServerConnection) -> None:
        arrived.append(time.monotonic())
        connection.close()

    with peer(handler) as address, Agent(address) as agent:
        agent.saw(Disconnected, 3)
    assert arrived[2] - arrived[1] >= 0.25


def test_stopping_does_not_wait_for_a_peer_that_does_not_answer() -> None:
    """A half-open line: the handshake is made, and then nothing is read or answered."""
    release = threading.Event()

    def handler(connection: ServerConnection) -> None:
        with connection.protocol_mutex:  # not even pings and close frames are answered
            release.wait(DEADLINE_S)

    with peer(handler) as address:
        agent = Agent(address)
        agent.client.start()
        agent.saw(Connected)
        began = time.monotonic()
        agent.client.stop(timeout_s=0.5)
        took = time.monotonic() - began
        release.set()
    assert took < DEADLINE_S / 3
    until(lambda: not agent.client.state.connected, "the end of the line")


def test_what_listens_there_and_is_no_websocket_server_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_nonsense() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=serve_nonsense)
        thread.start()
        with Agent(f"127.0.0.1:{listener.getsockname()[1]}") as agent:
            until(lambda: agent.client.state.attempts, "a failure")
            assert "not a WebSocket server" in agent.client.state.last_error
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)


@pytest.mark.opamp("L-02")
def test_our_server_counts_what_a_message_inflates_to() -> None:
    server = make_server(Recorder(), max_message_bytes=10_000)
    with (
        serving(server, ws_per_message_deflate=True, ws_max_size=10**9) as address,
        connect(f"ws://{address}/v1/opamp", compression="deflate") as line,
    ):
        assert line.protocol.extensions
        line.send(bytes(5_000_000))
        with pytest.raises(ConnectionClosed) as caught:
            line.recv(DEADLINE_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


# ---------------------------------------------------------------------------- order of calls


def test_starting_and_stopping_twice_is_nothing_and_starting_after_that_is_refused() -> None:
    agent = Agent(f"127.0.0.1:{free_port()}")
    agent.client.start()
    agent.client.start()
    agent.client.stop()
    agent.client.stop()
    with pytest.raises(LocalProtocolError):
        agent.client.start()


def test_stopping_what_never_started_is_nothing() -> None:
    Agent("127.0.0.1:1").client.stop()


def test_it_may_be_stopped_from_its_own_handler() -> None:
    recorder = Recorder()
    with serving(make_server(recorder)) as address:
        agent = Agent(address)
        handled = agent.client._on_event

        def stop(event: Any) -> None:
            handled(event)
            if isinstance(event, Connected):
                agent.client.stop()

        agent.client._on_event = stop
        with agent:
            recorder.wait_until(lambda: recorder.of(AgentDisconnected), "goodbye")
            agent.saw(Disconnected)
    assert recorder.of(AgentConnected) == [AgentConnected()]


@pytest.mark.opamp("SEC-06")
def test_logs_name_fields_with_a_direction_and_never_contents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder()
    logger = logging.getLogger("llm_observe.opamp")
    with caplog.at_level(logging.DEBUG), serving(make_server(recorder)) as address:
        secret = {"Authorization": "Bearer hunter2"}
        with Agent(address, headers=secret, logger=logger) as agent:
            agent.client.report(effective_config={"a": ConfigFile(b"hunter2")})
            recorder.wait_until(lambda: recorder.of(StatusReported), "a report")
            agent.wait_until(lambda: len(agent.seen) >= 2, "an answer")
    lines = [record.getMessage() for record in caplog.records]
    ours = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert not [line for line in lines if "hunter2" in line]
    assert {line[0] for line in ours} >= {"=", ">", "<"}
    assert any("agent_disconnect" in line for line in ours if line.startswith(">"))


def test_a_line_is_bounded_in_what_it_leaves_unacknowledged() -> None:
    sizes: list[int] = []
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:  # macOS has none: pings alone must do
        return
    with serving(make_server(Recorder())) as address:
        agent = Agent(address, ping_s=7.0)
        handled = agent.client._on_event

        def look(event: Any) -> None:
            if isinstance(event, Connected):
                transport = agent.client._transport
                assert isinstance(transport, WebSocketTransport)
                connection = transport._connection
                assert connection is not None
                sizes.append(connection.socket.getsockopt(socket.IPPROTO_TCP, option))
            handled(event)

        agent.client._on_event = look
        with agent:
            agent.saw(Connected)
    assert sizes == [14_000]
    assert websocket.PING_S == 20.0
