"""The threaded client over real sockets: against our server, and against hostile peers."""

from __future__ import annotations

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

from llm_observe.opamp import wire
from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.events import (
    AgentConnected,
    AgentDisconnected,
    Connected,
    Disconnected,
    IdentityAssigned,
    Malformed,
    ServerErrorReceived,
    StatusReported,
)
from llm_observe.opamp.io import websocket
from llm_observe.opamp.io.websocket import WebSocketTransport
from llm_observe.opamp.values import (
    Health,
)
from tests.opamp.io.agents import Agent, until
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


@pytest.mark.opamp("W-09")
def test_a_server_that_stops_reading_and_writing_is_noticed() -> None:
    port = free_port()
    with process(port) as server, Agent(f"127.0.0.1:{port}", ping_s=0.3) as agent:
        agent.saw(Connected)
        os.kill(server.pid, signal.SIGSTOP)
        agent.saw(Disconnected)
        os.kill(server.pid, signal.SIGCONT)
        agent.saw(Connected, 2)


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
