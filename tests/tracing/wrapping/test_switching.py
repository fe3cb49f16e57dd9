"""What the settings switch, against the real client: at once, both ways, and never in mid-call."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry import trace as otel

from llm_observe.settings.model import Instrumentation, ProviderSwitch, Settings
from llm_observe.tracing.applying import tightened
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import instrument, patch, switching
from llm_observe.tracing.wrapping.switching import put_in_force
from tests.tracing.doubles import KeepingRecorder, ReplicateAPI

MODEL = "meta/llama-2-7b-chat"
ASK = {"prompt": "Where do llamas live?"}
KILLED = Instrumentation(enabled=False)
OFF = Instrumentation(providers={"replicate": ProviderSwitch(enabled=False)})
OURS = logging.getLogger("llm_observe")


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    kept = KeepingRecorder()
    patch.connect(kept)
    instrument.install()
    gate.reraise = True
    yield kept
    gate.reraise = False
    put_in_force(Instrumentation())
    patch.connect(None)
    instrument.uninstall()


@pytest.mark.parametrize("off", [KILLED, OFF])
def test_no_call_begins_while_it_is_off_and_the_next_one_does(
    recorder: KeepingRecorder, off: Instrumentation
) -> None:
    client = ReplicateAPI().client()
    put_in_force(off)
    client.run(MODEL, input=ASK)
    client.predictions.create(model=MODEL, input=ASK).wait()
    assert recorder.started == 0
    put_in_force(Instrumentation())
    client.run(MODEL, input=ASK)
    assert recorder.call.request_model == MODEL


@pytest.mark.parametrize("off", [KILLED, OFF])
def test_a_stream_under_way_goes_on_to_its_end(
    recorder: KeepingRecorder, off: Instrumentation
) -> None:
    stream = ReplicateAPI().client().stream(MODEL, input=ASK)
    first = str(next(stream))
    put_in_force(off)
    assert first + "".join(map(str, stream)) == "Llamas live in Peru."
    assert "".join(recorder.call.chunks) == "Llamas live in Peru."


@pytest.mark.parametrize("off", [KILLED, OFF])
def test_an_opened_call_is_followed_to_its_end(
    recorder: KeepingRecorder, off: Instrumentation
) -> None:
    prediction = ReplicateAPI(polls=1).client().predictions.create(model=MODEL, input=ASK)
    put_in_force(off)
    prediction.wait()
    assert recorder.call.response_id == prediction.id
    assert not recorder.call.aborted


def test_the_kill_switch_stops_steps_too(recorder: KeepingRecorder) -> None:
    put_in_force(KILLED)
    with trace("step"):
        assert not otel.get_current_span().get_span_context().is_valid
    put_in_force(Instrumentation())
    with trace("step"):
        assert otel.get_current_span().is_recording()


def test_a_killed_wrapper_looks_at_one_flag(
    recorder: KeepingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_force(KILLED)
    monkeypatch.setattr(patch.Patch, "_around", None)
    monkeypatch.setattr("llm_observe.tracing.wrapping.patch.current", None)
    monkeypatch.setattr("llm_observe.tracing.wrapping.patch.taking", None)
    assert ReplicateAPI().client().run(MODEL, input=ASK) is not None


@pytest.mark.parametrize(
    ("off", "key"),
    [(KILLED, "instrumentation.enabled"), (OFF, "instrumentation.providers.replicate.enabled")],
)
def test_what_is_off_says_which_key_did_it(
    recorder: KeepingRecorder, off: Instrumentation, key: str
) -> None:
    put_in_force(off)
    (found,) = (info for info in instrument.installed() if info.name == "replicate")
    assert (found.state, found.reason) == ("off", f"switched off by {key}")


def test_a_library_that_is_wrapped_later_is_off_as_well(recorder: KeepingRecorder) -> None:
    instrument.uninstall()
    put_in_force(OFF)
    instrument.install()
    ReplicateAPI().client().run(MODEL, input=ASK)
    assert recorder.started == 0


def test_a_forked_child_is_as_its_parent(recorder: KeepingRecorder) -> None:
    put_in_force(KILLED)
    child = os.fork()
    if not child:
        ReplicateAPI().client().run(MODEL, input=ASK)
        os._exit(recorder.started)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_only_our_logger_gets_the_level_and_gets_its_own_back() -> None:
    root, before = logging.getLogger().level, OURS.level
    OURS.setLevel(logging.ERROR)
    try:
        for level in ("debug", "warning"):
            put_in_force(Instrumentation(log_level=level))
            assert OURS.level == getattr(logging, level.upper())
            assert logging.getLogger().level == root
        put_in_force(Instrumentation())
        assert OURS.level == logging.ERROR
        assert switching._former is None
    finally:
        OURS.setLevel(before)


def test_what_either_switches_off_is_off_while_destinations_are_tried() -> None:
    before = Settings(instrumentation=Instrumentation(log_level="debug"))
    after = Settings(instrumentation=replace(OFF, enabled=False))
    held = tightened(before, after).instrumentation
    assert (held.enabled, held.providers, held.log_level) == (False, OFF.providers, "debug")
    assert not tightened(after, before).instrumentation.enabled
