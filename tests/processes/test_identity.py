"""One name per process, whoever gave it; and both transports of OpAMP."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_observe.agent.lastgood import LastGood
from llm_observe.uids import new_uid, uid_text
from llm_observe.version import __version__
from tests.e2e.harness import eventually
from tests.processes.world import World


def _keep_uid(folder: Path, uid: bytes) -> None:
    kept = LastGood.open(folder, "tested", __version__)
    kept.save_uid(uid)
    kept.after_fork_in_child()  # gives the folder back


def test_two_processes_with_one_uid_are_told_apart_from_then_on(world: World) -> None:
    """A copied state folder, as in an image of a machine: the second one is given another name."""
    uid, folders = new_uid(), (world.folder / "a", world.folder / "b")
    programs = []
    for folder in folders:
        _keep_uid(folder, uid)
        programs.append(world.script("holds", LLM_OBSERVE_STATE_DIR=str(folder)))
        assert programs[-1].json() == uid_text(uid)
        eventually(lambda: len(world.fleet.present) == len(programs), "it is known")
    first, second = programs
    assert first.ask("name") == uid_text(uid)
    name = eventually(lambda: (found := second.ask("name")) != uid_text(uid) and found, "renamed")
    assert set(world.fleet.present) == {uid_text(uid), name}
    eventually(lambda: world.fleet.described(str(name)), "it described itself anew")
    assert world.fleet.described(str(name))["service.instance.id"] == name
    for program in programs:
        program.ask("ask")
        assert program.finish() == 0
    spans = world.exact(2)
    assert {span.instance for span in spans} == {uid_text(uid), name}
    again = world.script("holds", LLM_OBSERVE_STATE_DIR=str(folders[1]))
    assert again.json() == name  # kept for the next process in this folder
    assert again.finish() == 0


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_settings_arrive_over_either_transport_and_the_url_says_which(
    world: World, scheme: str
) -> None:
    endpoint = f"{scheme}://{world.opamp}/v1/opamp"
    program = world.script("holds", LLM_OBSERVE_OPAMP_ENDPOINT=endpoint)
    name = program.json()
    eventually(lambda: name in world.fleet.seen, "it reported")
    expected = {"http": "http", "ws": "websocket"}[scheme]
    assert world.fleet.seen[name].transport == expected
    digest = world.fleet.offer({"sampling": {"ratio": 0.25}})
    eventually(lambda: world.fleet.acknowledged(digest) == {name}, "it acknowledged")
    assert program.ask("ratio") == 0.25
    assert program.finish() == 0
    eventually(lambda: name in world.fleet.gone, "it said goodbye")
