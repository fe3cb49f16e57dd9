import pytest

from llm_observe.tracing.gate import Gate


def test_a_fault_is_counted_placed_and_hidden_without_its_message() -> None:
    gate = Gate()
    told: list[str] = []
    gate.listeners.append(told.append)
    with gate:
        raise ValueError("the prompt was: hello")
    assert gate.count == 1
    assert gate.last.startswith("ValueError at test_gate.py:")
    assert "hello" not in gate.last
    assert told == [gate.last]


def test_a_listeners_own_fault_is_hidden() -> None:
    gate = Gate()
    gate.listeners.append(lambda last: [][1])
    with gate:
        raise ValueError
    assert gate.count == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_passes(error: type[BaseException]) -> None:
    gate = Gate()
    with pytest.raises(error), gate:
        raise error
    assert gate.count == 0


def test_under_test_faults_come_out() -> None:
    gate = Gate()
    gate.reraise = True
    with pytest.raises(ValueError, match="mine"), gate:
        raise ValueError("mine")
    assert gate.count == 1


def test_a_fault_caught_elsewhere_can_be_reported() -> None:
    gate = Gate()
    gate.report(ValueError("never raised"))
    assert gate.last == "ValueError at an unknown place"


def test_the_count_may_be_set_back() -> None:
    gate = Gate()
    for _ in range(3):
        gate.report(ValueError())
    gate.count = 0
    gate.report(ValueError())
    assert gate.count == 1
