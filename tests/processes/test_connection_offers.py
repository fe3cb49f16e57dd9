"""A control plane that leads an observed program elsewhere: real servers, a real program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_observe.opamp import ConfigState, ConnectionOffer, ConnectionSettings
from tests.e2e.harness import eventually
from tests.opamp.io.serving import free_port
from tests.opamp.io.test_client import Place, place
from tests.processes.world import Program, World

CANARY = "c4nary-credential"
ON = {"LLM_OBSERVE_OPAMP_CONNECTION_OFFERS": "on"}


@pytest.fixture
def old() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
def new() -> Iterator[Place]:
    with place() as made:
        yield made


def offered(url: str) -> ConnectionOffer:
    opamp = ConnectionSettings(url, {"Authorization": f"Bearer {CANARY}"}, heartbeat_s=30)
    return ConnectionOffer(b"c1", opamp=opamp)


def started(world: World, at: Place, **environ: str) -> Program:
    url = f"ws://{at.address}/v1/opamp"
    program = world.script("holds", LLM_OBSERVE_OPAMP_ENDPOINT=url, **environ)
    program.json()
    return program


def connected(at: Place) -> bool:
    return any(link.connected for link in at.server.agents.values())


def verdict(at: Place) -> tuple[ConfigState, str]:
    """What became of the offer, once it is known."""
    for status in at.statuses():
        if status.state not in {ConfigState.UNSET, ConfigState.APPLYING}:
            assert status.hash == b"c1"
            return status.state, status.error
    return ConfigState.UNSET, ""


def decided(at: Place) -> tuple[ConfigState, str]:
    eventually(lambda: verdict(at)[0] is not ConfigState.UNSET, "the verdict")
    return verdict(at)


def told(at: Place) -> str:
    """Everything that agents have reported there, effective configurations included."""
    states = [link.state for link in at.server.agents.values()]
    files = [file.body for s in states for file in (s.effective_config or {}).values()]
    return repr(states) + repr(files)


def without_a_trace(program: Program, *places: Place) -> None:
    assert program.finish() == 0
    assert CANARY not in "".join(program.errors) + program.rest()
    assert not any(CANARY in told(at) for at in places)


def test_it_goes_over_and_is_there_again_after_a_restart(
    world: World, old: Place, new: Place
) -> None:
    old.offer(offered(f"http://{new.address}/v1/opamp"))
    program = started(world, old, **ON)
    assert decided(new) == (ConfigState.APPLIED, "")
    assert new.recorder.headers[0]["authorization"] == f"Bearer {CANARY}"
    assert program.ask("ratio") == 1.0
    without_a_trace(program, old, new)
    (record,) = (world.folder / "state").rglob("connection.json")
    assert record.stat().st_mode & 0o777 == 0o600
    met = len(old.recorder.headers)
    again = started(world, old, **ON)
    eventually(lambda: connected(new), "it is with the new one")
    assert len(old.recorder.headers) == met
    without_a_trace(again, old, new)


def test_a_program_that_does_not_want_it_any_more_is_back(
    world: World, old: Place, new: Place
) -> None:
    old.offer(offered(f"ws://{new.address}/v1/opamp"))
    program = started(world, old, **ON)
    assert decided(new)[0] is ConfigState.APPLIED
    assert program.finish() == 0
    eventually(lambda: not connected(old), "it is gone")
    back = started(world, old)
    eventually(lambda: connected(old), "it is with its own one")
    state, error = decided(old)
    assert (state, "not among those allowed" in error) == (ConfigState.FAILED, True)
    without_a_trace(back, old, new)


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, None),
        ({**ON, "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "example.com"}, "not among those allowed"),
    ],
)
def test_off_by_default_and_not_beyond_the_limits(
    world: World, old: Place, new: Place, environ: dict[str, str], reason: str | None
) -> None:
    elsewhere = new.address.replace("127.0.0.1", "localhost")
    old.offer(offered(f"ws://{elsewhere}/v1/opamp"))
    program = started(world, old, **environ)
    if reason is None:
        eventually(lambda: connected(old), "it is there, and was not even offered it")
    else:
        state, error = decided(old)
        assert (state, reason in error) == (ConfigState.FAILED, True)
    assert program.ask("ratio") == 1.0
    assert new.recorder.headers == []
    without_a_trace(program, old, new)


def test_a_connection_that_does_not_work_is_given_up(world: World, old: Place) -> None:
    old.offer(offered(f"ws://127.0.0.1:{free_port()}/v1/opamp"))
    program = started(world, old, **ON)
    assert decided(old)[0] is ConfigState.FAILED
    without_a_trace(program, old)


def test_a_crash_between_an_offer_kept_and_an_offer_decided_leads_to_one_of_the_two(
    world: World, old: Place, new: Place, tmp_path: Path
) -> None:
    """Killed while the candidate is on disk and nothing has answered there."""
    port = free_port()
    old.offer(offered(f"ws://127.0.0.1:{port}/v1/opamp"))
    program = started(world, old, **ON)
    records = world.folder / "state"
    eventually(
        lambda: [r for r in records.rglob("connection.json") if b"APPLYING" in r.read_bytes()],
        "the candidate is kept",
    )
    program.process.kill()
    program.end()
    again = started(world, old, **ON)
    assert decided(old)[0] is ConfigState.FAILED
    eventually(lambda: connected(old), "it is with its own one")
    without_a_trace(again, old, new)
