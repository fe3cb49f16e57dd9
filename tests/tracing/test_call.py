import time

import pytest

from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.gate import gate


def test_times_run_on_one_clock() -> None:
    call = Call(provider="p", streaming=True)
    call.received.append((time.perf_counter_ns(), "a"))
    call.received.append((time.perf_counter_ns(), "b"))
    call.end_ns = call.now()
    times = [call.start_ns, *call.chunk_ns, call.end_ns]
    assert times == sorted(times)
    assert call.duration_s >= (call.time_to_first_chunk_s or 0) >= 0


def test_a_call_that_runs_has_a_duration() -> None:
    assert Call(provider="p").duration_s >= 0


def test_an_answer_that_came_whole_has_no_first_chunk() -> None:
    call = Call(provider="p", chunks=["a"], chunk_ns=[5])
    assert call.first_chunk_ns is None
    assert call.time_to_first_chunk_s is None


def test_speed_is_tokens_over_generating() -> None:
    call = Call(provider="p", output_tokens=10, predict_s=2.0)
    assert call.tokens_per_second == 5.0
    call.streaming, call.chunk_ns = True, [0, 1_000_000_000]
    assert call.tokens_per_second == 10.0
    call.chunk_ns = [7, 7]
    assert call.tokens_per_second is None


def test_of_a_stream_that_was_cut_the_speed_is_the_servers() -> None:
    seen = {"streaming": True, "chunk_ns": [0, 1_000_000_000], "output_tokens": 100}
    for cut in ({"aborted": True}, {"error_type": "ReadError"}, {"polled": True}):
        call = Call(provider="p", predict_s=20.0, **seen, **cut)
        assert call.tokens_per_second == 5.0
        assert Call(provider="p", **seen, **cut).tokens_per_second is None
    counted = Call(provider="p", tokens_estimated=True, aborted=True, **seen)
    assert counted.tokens_per_second == 100.0


def test_a_total_needs_both() -> None:
    assert Call(provider="p", input_tokens=1).total_tokens is None
    assert Call(provider="p", input_tokens=1, output_tokens=0).total_tokens == 1


def test_the_answer_is_joined_from_its_pieces() -> None:
    call = Call(provider="p", chunks=["a", "b"])
    assert call.messages_out == [Message("assistant", "ab")]
    call.output = [Message("assistant", "whole")]
    assert call.messages_out == call.output


def test_its_size_follows_its_content() -> None:
    small = Call(provider="p").size
    assert Call(provider="p", input=[Message("user", "x" * 5000)]).size == small + 5000
    assert Call(provider="p", chunks=["x" * 300]).size == small + 300
    assert Call(provider="p", logs="x" * 300).size == small + 300


def test_fields_that_nobody_set_are_empty_and_its_own() -> None:
    one, other = Call(provider="p"), Call(provider="p")
    one.attributes["a"], one.parameters["b"] = 1, 2
    one.input.append(Message("user"))
    assert (other.attributes, other.parameters, other.input) == ({}, {}, [])
    assert (other.session, other.tags, other.output_tokens) == ("", (), None)
    with pytest.raises(AttributeError, match="no 'colour'"):
        getattr(other, "colour")  # noqa: B009  # a name that no checker would let pass


def test_pieces_are_read_late_by_what_the_provider_says() -> None:
    call = Call(provider="p", start_ns=1000, origin_ns=100)
    call.received = [(150, "a"), (160, 7), (170, None), (180, "b")]
    call.text_of = lambda item: None if item is None else f"<{item}>"
    assert call.touched_ns == 1080
    assert (call.chunks, call.chunk_ns) == (["a", "<7>", "b"], [1050, 1060, 1080])


def test_a_piece_that_cannot_be_read_costs_only_itself() -> None:
    call = Call(provider="p", received=[(1, "a"), (2, 0), (3, "b")])
    call.text_of = lambda item: str(1 / item)
    before = gate.count
    assert call.chunks == ["a", "b"]
    assert gate.count == before + 1


def test_what_was_put_off_is_done_once_and_may_fail() -> None:
    call = Call(provider="p")
    done: list[int] = []

    def late() -> None:
        done.append(1)
        raise RuntimeError("our own fault")

    call.late = late
    call.settle()
    call.settle()
    assert done == [1]
