"""`os.fork`, by hand: a child is a process of its own, and ends nothing of its parent's."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

from tests.e2e.harness import eventually
from tests.processes.world import World, a_world


def test_children_and_grandchildren_send_their_own_calls_once(world: World) -> None:
    program = world.script("forks", "exits")
    assert program.json() == [4]
    assert program.end() == 0
    spans = world.exact(4)
    assert len({span.instance for span in spans}) == 3


def test_a_child_holds_no_line_of_its_parent_open(tmp_path: Path) -> None:
    with a_world(tmp_path, heartbeat_s=3600.0) as world:
        _outlive(world)


def _outlive(world: World) -> None:
    program = world.script("forks", "outlives")
    parent = program.json()
    eventually(lambda: parent in world.fleet.present, "the parent is connected")
    program.tell("fork")
    child = program.json()
    eventually(lambda: child in world.fleet.present, "the child is connected")
    program.signal(signal.SIGKILL)
    # Long before the server's pings would notice a line that nobody serves.
    eventually(lambda: set(world.fleet.present) == {child}, "the parent is gone", 15.0)
    program.tell("leave")
    eventually(lambda: child in world.fleet.gone, "the child said goodbye")


def test_a_stream_under_way_is_its_parents_to_end(world: World) -> None:
    program = world.script("forks", "in_a_stream")
    assert program.json() == [0]
    assert program.end() == 0
    world.exact(3)


def test_a_block_that_was_entered_before_the_fork_is_left_once(world: World) -> None:
    program = world.script("forks", "in_a_block")
    assert program.json() == [0]
    assert program.end() == 0
    questions = Counter(span.question.split(" ", 1)[-1] for span in world.spans())
    assert questions["outer"] == 1
    assert sum(questions.values()) == 3


def test_forks_under_load_neither_hang_nor_lose_nor_repeat(world: World) -> None:
    program = world.script("forks", "under_load")
    assert program.json() == [0] * 12
    assert program.end() == 0
    world.exact(world.asked.total())
    assert sum("child" in question for question in world.asked) == 24


def test_a_fork_while_another_thread_holds_our_locks_does_not_hang(world: World) -> None:
    program = world.script("forks", "holding_every_lock")
    assert len(program.json()) >= 5  # who holds none proves nothing
    assert program.json() == [0]
    assert program.end() == 0
    world.exact(3)


def test_no_thread_of_ours_loads_a_module_while_a_fork_is_possible(world: World) -> None:
    """A child that was forked meanwhile keeps the module half loaded, and its locks, for ever."""
    program = world.script("imports")
    assert program.json() == "asked"
    eventually(lambda: len(world.fleet.present) == 1, "the program is an agent")
    digest = world.fleet.offer(
        {
            "redaction": {"detectors": {"email": {}, "phone": {}, "iban": {}}},
            "capture": {"rules": {"a": {"match": {"model": "other*"}, "level": "off"}}},
            "sampling": {"per_second": 100, "keep": {"errors": True}},
        }
    )
    eventually(lambda: world.fleet.acknowledged(digest), "applied")
    world.fleet.offer({"capture": {"level": "no such level"}})
    assert program.ask("tell") == []
