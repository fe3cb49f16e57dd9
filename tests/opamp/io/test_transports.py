"""What a client does over either transport, against our server over real sockets."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from llm_observe.errors import LocalProtocolError
from llm_observe.opamp.events import (
    AgentDisconnected,
    ConfigOffered,
    Connected,
    Disconnected,
    SequenceBroken,
    StatusReported,
)
from llm_observe.opamp.io.asgi import AgentLink
from llm_observe.opamp.values import (
    ConfigFile,
    ConfigState,
    ConfigStatus,
    Health,
    ServerCapabilities,
)
from llm_observe.uids import new_uid
from tests.link import DESCRIPTION
from tests.opamp.io.agents import Agent, polling, said, until
from tests.opamp.io.peers import DEADLINE_S, Recorder, make_server
from tests.opamp.io.serving import free_port, process, serving

CLIENTS = {"websocket": Agent, "http": polling}
over_either = pytest.mark.parametrize("transport", CLIENTS)


@over_either
@pytest.mark.opamp("R-04")
def test_an_agent_is_seen_offered_a_config_and_acknowledges_it(transport: str) -> None:
    recorder = Recorder()

    async def offer(agent: AgentLink, event: Any) -> None:
        if isinstance(event, StatusReported):
            await agent.offer_config({"a": ConfigFile(b"{}")}, b"one")

    recorder.then = offer
    server = make_server(recorder)
    with serving(server) as address, CLIENTS[transport](address, headers={"X-Token": "t"}) as agent:
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
        assert (link.transport, link.state.description) == (transport, DESCRIPTION)
        assert recorder.headers[0]["x-token"] == "t"
    recorder.wait_until(lambda: recorder.of(AgentDisconnected), "goodbye")
    assert recorder.of(AgentDisconnected) == [AgentDisconnected("the agent disconnected")]
    assert not agent.client.state.connected
    assert len(agent.of(ConfigOffered)) == 1
    assert recorder.of(SequenceBroken) == []


@over_either
@pytest.mark.opamp("H-08")
def test_reports_from_any_thread_arrive_at_once_and_the_last_word_counts(transport: str) -> None:
    recorder = Recorder()
    with serving(make_server(recorder)) as address, CLIENTS[transport](address) as agent:
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


@over_either
def test_a_slow_handler_of_events_holds_up_no_report(transport: str) -> None:
    recorder, go_on = Recorder(), threading.Event()
    with serving(make_server(recorder)) as address:
        agent = CLIENTS[transport](address)
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


@over_either
def test_a_handler_that_raises_does_not_end_the_conversation(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    with serving(make_server(recorder)) as address:
        agent = CLIENTS[transport](address)
        handled = agent.client._on_event

        def failing(event: Any) -> None:
            handled(event)
            raise RuntimeError("a fault of the caller")

        agent.client._on_event = failing
        with caplog.at_level(logging.CRITICAL), agent:
            agent.saw(Connected)
            agent.client.report(health=Health(status="new"))
            recorder.wait_until(lambda: said(recorder, "new"), "the report")


@over_either
@pytest.mark.opamp("A-01")
def test_a_wrong_token_is_said_in_a_sentence_and_the_headers_are_asked_for_again(
    transport: str,
) -> None:
    recorder, tokens = Recorder(), iter(["old", "new", "later", "later", "later"])
    recorder.refuse = 401

    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    with (
        serving(make_server(recorder)) as address,
        CLIENTS[transport](address, headers=headers) as agent,
    ):
        until(lambda: agent.client.state.attempts, "a refusal")
        assert agent.client.state.last_error == "the server wants a valid token (401)"
        recorder.refuse = None
        agent.saw(Connected)
    assert [h["authorization"] for h in recorder.headers][:2] == ["Bearer old", "Bearer new"]
    assert recorder.of(SequenceBroken) == []


@over_either
@pytest.mark.opamp("C-09")
def test_a_server_that_is_killed_and_restarted_learns_everything_again(transport: str) -> None:
    port = free_port()
    with CLIENTS[transport](f"127.0.0.1:{port}") as agent:  # there is no server yet
        until(lambda: agent.client.state.attempts, "a vain attempt")
        assert "cannot reach the server" in agent.client.state.last_error
        with process(port) as server:
            agent.saw(Connected)
            assert server.stdout is not None
            assert server.stdout.readline().split() == ["AgentConnected"]
            os.kill(server.pid, signal.SIGKILL)
            server.wait(DEADLINE_S)
            agent.client.report(health=Health(healthy=False, status="while it was away"))
            agent.saw(Disconnected)
        with process(port) as server:
            agent.saw(Connected, 2)
            assert server.stdout is not None
            reported: set[str] = set()
            while not {"description", "health", "effective_config"} <= reported:
                _, _, names = server.stdout.readline().strip().partition(" ")
                reported |= set(names.split(","))


@over_either
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_of_a_fork_becomes_an_agent_of_its_own_and_leaves_the_parents_line(
    transport: str,
) -> None:
    recorder = Recorder()
    server = make_server(recorder)
    with serving(server) as address, CLIENTS[transport](address) as agent:
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


@over_either
def test_starting_and_stopping_twice_is_nothing_and_starting_after_that_is_refused(
    transport: str,
) -> None:
    agent = CLIENTS[transport](f"127.0.0.1:{free_port()}")
    agent.client.start()
    agent.client.start()
    agent.client.stop()
    agent.client.stop()
    with pytest.raises(LocalProtocolError):
        agent.client.start()


@pytest.mark.parametrize(("transport", "other"), [("websocket", "writer"), ("http", "poller")])
def test_its_threads_work_inside_what_the_caller_wants_around_them(
    transport: str, other: str
) -> None:
    inside: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        inside.append(threading.current_thread().name)
        yield

    recorder = Recorder()
    with (
        serving(make_server(recorder)) as address,
        CLIENTS[transport](address, around=around),
    ):
        recorder.wait_until(lambda: recorder.of(StatusReported), "a report")
    assert sorted(set(inside)) == ["llm-observe-opamp", f"llm-observe-opamp-{other}"]


@over_either
@pytest.mark.opamp("SEC-06")
def test_logs_name_fields_with_a_direction_and_never_contents(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    with caplog.at_level(logging.DEBUG), serving(make_server(recorder)) as address:
        secret = {"Authorization": "Bearer hunter2"}
        with CLIENTS[transport](address, headers=secret) as agent:
            agent.client.report(effective_config={"a": ConfigFile(b"hunter2")})
            recorder.wait_until(lambda: recorder.of(StatusReported), "a report")
            agent.wait_until(lambda: len(agent.seen) >= 2, "an answer")
    lines = [record.getMessage() for record in caplog.records]
    ours = [r.getMessage() for r in caplog.records if r.name == "llm_observe.opamp"]
    assert not [line for line in lines if "hunter2" in line]
    assert {line[0] for line in ours} >= {"=", ">", "<"}
    assert any("agent_disconnect" in line for line in ours if line.startswith(">"))
