"""Children of `multiprocessing`, by every start method: each is an agent, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import eventually
from tests.processes.world import Seen, World

_ENDS = {
    "returns": (5, [0, 0]),
    "exits": (5, [5, 5]),
    "raises": (5, [1, 1]),
    "leaves_a_thread": (7, [0, 0]),
    "pool": (9, None),
    "closed_pool": (9, None),
    "executor": (9, None),
}
_ALWAYS = {
    *(("fork", kind) for kind in ("returns", "exits", "leaves_a_thread", "pool", "executor")),
    ("spawn", "returns"),
    ("forkserver", "returns"),
}


def _ends() -> Iterator[object]:
    for method in ("fork", "spawn", "forkserver"):
        for kind in _ENDS:
            marks = [] if (method, kind) in _ALWAYS else [pytest.mark.wide]
            yield pytest.param(method, kind, marks=marks)


@pytest.mark.parametrize(("method", "kind"), [*_ends()])
def test_every_call_of_every_child_arrives_once(world: World, method: str, kind: str) -> None:
    calls, codes = _ENDS[kind]
    program = world.script("children", method, kind)
    if codes is not None:
        assert program.json() == codes
    assert program.end() == 0
    spans = world.exact(calls)
    assert len({span.pid for span in spans}) >= 2


@pytest.mark.parametrize(
    "method", ["fork", pytest.param("spawn", marks=pytest.mark.wide), "forkserver"]
)
def test_a_terminated_child_flushes_and_dies_of_the_signal(world: World, method: str) -> None:
    program = world.script("children", method, "terminated")
    assert program.json() == "ready"
    program.tell("go")
    assert program.json() == [-15, -15]
    assert program.end() == 0
    world.exact(5)


@pytest.mark.parametrize(
    "method",
    [
        "fork",
        pytest.param("spawn", marks=pytest.mark.wide),
        pytest.param("forkserver", marks=pytest.mark.wide),
    ],
)
def test_settings_reach_every_process_and_each_acknowledges_for_itself(
    world: World, method: str
) -> None:
    program = world.script("children", method, "acknowledges")
    assert program.json() == "ready"
    eventually(lambda: len(world.fleet.present) == 3, "parent and children are agents")
    digest = world.fleet.offer({"destinations": {"default": {"timeout_s": 9.0}}})
    eventually(lambda: len(world.fleet.acknowledged(digest)) == 3, "three acknowledgements")
    named = world.fleet.acknowledged(digest)
    for name in named:
        assert world.fleet.described(name)["service.instance.id"] == name
    program.tell("go")
    assert program.json() == [0, 0]
    assert program.end() == 0
    spans = world.exact(5 + 3)
    assert {span.instance for span in spans} == named
    assert len(set(_hashes(spans, "under the new settings"))) == 1
    assert set(_hashes(spans, "under the new settings")).isdisjoint(_hashes(spans, ""))
    eventually(lambda: world.fleet.gone >= named, "each said goodbye")


def _hashes(spans: list[Seen], remark: str) -> list[str]:
    return [
        s.config_hash for s in spans if s.question.split(" ", 3)[3:] == ([remark] if remark else [])
    ]
