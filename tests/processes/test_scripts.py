"""Plain scripts: however one ends, every call becomes one span, and the end stays its own."""

from __future__ import annotations

import signal

import pytest

from llm_observe.testing import Answer, Fault
from tests.e2e.harness import DEADLINE_S, eventually
from tests.processes.world import World


def _wide(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.wide)


LATE_S = 20.0
"""How long an end may take that is bounded by 2 seconds: ten times that, for a busy machine."""


@pytest.mark.parametrize(
    ("ending", "calls", "code"),
    [
        ("returns", 3, 0),
        ("exits", 3, 3),
        ("raises", 3, 1),
        _wide("fails_at_exit", 3, 0),
        ("interrupts", 3, -signal.SIGINT),
        ("outlived_by_a_thread", 5, 0),
        _wide("leaves_a_daemon", 3, 0),
        ("breaks_a_stream_off", 4, 0),
        ("returns_in_a_stream", 4, 0),
    ],
)
def test_every_end_of_a_script_delivers_everything_once(
    world: World, ending: str, calls: int, code: int
) -> None:
    program = world.script("plain", ending)
    assert program.end() == code
    world.exact(calls)
    assert "llm_observe" not in "".join(program.errors).replace("tests/", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_fatal_signal_is_preceded_by_a_flush_and_kills_as_it_would(
    world: World, number: signal.Signals
) -> None:
    program = world.script("plain", "waits")
    assert program.json() == "ready"
    program.signal(number)
    assert program.end() == -number
    world.exact(3)


def test_a_stream_under_way_is_sent_as_far_as_it_came(world: World) -> None:
    program = world.script("plain", "waits_in_a_stream")
    assert program.json() == "ready"
    program.signal(signal.SIGTERM)
    assert program.end() == -signal.SIGTERM
    assert any(span.question.endswith("under way") for span in world.exact(4))


def test_numbers_that_come_too_late_cost_no_call(world: World) -> None:
    """What a stream cost is asked for after it; at the end nobody waits long for the answer."""
    world.replicate.script(Fault(), Fault(), Fault(), Fault(get_delay_s=DEADLINE_S))
    program = world.script("plain", "ends_a_stream")
    assert program.end(LATE_S) == 0
    world.exact(4)


def test_a_second_signal_does_not_wait_for_the_flush(world: World) -> None:
    world.sink.answer_with(Answer(hang=True))
    program = world.script("plain", "waits", OTEL_EXPORTER_OTLP_TIMEOUT="60")
    assert program.json() == "ready"
    program.signal(signal.SIGTERM)
    eventually(lambda: world.sink.in_flight, "the flush has begun")
    program.signal(signal.SIGTERM)
    assert program.end() == -signal.SIGTERM


@pytest.mark.parametrize("ending", ["returns", _wide("exits"), "waits", _wide("waits_in_flush")])
def test_a_hanging_destination_holds_no_end_up(world: World, ending: str) -> None:
    world.sink.answer_with(Answer(hang=True))
    program = world.script("plain", ending, OTEL_EXPORTER_OTLP_TIMEOUT="60")
    if ending.startswith("waits"):
        assert program.json() == "ready"
        program.signal(signal.SIGTERM)
    else:
        eventually(lambda: world.sink.in_flight, "the flush has begun")
    code = {"returns": 0, "exits": 3}.get(ending, -signal.SIGTERM)
    assert program.end(LATE_S) == code


def test_a_signal_in_the_middle_of_a_flush_is_a_flush_too(world: World) -> None:
    world.sink.then(Answer(delay_s=1.0))
    program = world.script("plain", "waits_in_flush")
    assert program.json() == "ready"
    program.signal(signal.SIGTERM)
    assert program.end() == -signal.SIGTERM
    world.exact(3)


def test_signals_can_be_left_alone(world: World) -> None:
    program = world.script("plain", "waits", LLM_OBSERVE_SIGNALS="off")
    assert program.json() == "ready"
    program.signal(signal.SIGTERM)
    assert program.end() == -signal.SIGTERM
    assert world.spans() == []  # what the switch is about: the default action waits for nobody


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("handler", "handled", "code"),
    [
        ("leave", 1, 7),
        _wide("go_on", 1, 0),
        ("die", 1, -signal.SIGTERM),
        ("die_by_raise", 1, -signal.SIGTERM),
        _wide("ignore", 0, 0),
        ("default", 0, -signal.SIGTERM),
    ],
)
def test_a_handler_of_the_app_is_seen_kept_and_called_once(
    world: World, handler: str, handled: int, code: int, when: str
) -> None:
    program = world.script("handlers", handler, when)
    assert program.json() is True
    assert program.json() == "ready"
    program.signal(signal.SIGTERM)
    assert program.end() == code
    assert program.rest().count("handled") == handled
    world.exact(3)


def test_observed_from_another_thread_the_default_is_guarded_once_it_is_set(world: World) -> None:
    """Python changes handlers in the main thread alone: there the program must pass by."""
    program = world.script("handlers", "default", "thread")
    assert program.json() is True
    assert program.json() == "ready"
    program.signal(signal.SIGTERM)
    assert program.end() == -signal.SIGTERM
    world.exact(3)
