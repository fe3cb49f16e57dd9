from __future__ import annotations

from typing import Any

import pytest

from llm_observe.agent.health import COUNTS_S, FAULT_S, STATES_S, Seen, Watch, tree
from llm_observe.opamp import Health
from llm_observe.tracing.export.status import DestinationStatus, PipelineStatus, SignalStatus
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo

REPLICATE = InstrumentorInfo("replicate", "replicate", "1.0.7", "active")
DOWN: dict[str, Any] = {"last_error": "no answer", "last_error_at": 2.0, "last_success": 1.0}


def status(calls: int = 0, faults: int = 0, **traces: Any) -> PipelineStatus:
    signal = SignalStatus(**traces)
    destination = DestinationStatus(
        endpoint="http://a:1",
        traces=signal,
        **{name: getattr(signal, name) for name in ("sent", "failed", "queued", "dropped")},
    )
    return PipelineStatus(calls=calls, faults=faults, destinations={"a": destination})


def seen(**parts: Any) -> Health:
    return tree(Seen(**{"status": PipelineStatus(), **parts}), 5, 7)


@pytest.mark.opamp("N-01")
def test_what_does_not_run_has_no_time_of_its_start() -> None:
    off = InstrumentorInfo("openai", "openai", "", "absent", "openai is not installed")
    health = seen(instrumentors=(REPLICATE, off), status=status(state="off"))
    libraries = health.components["instrumentors"].components
    signals = health.components["destination:a"].components
    assert (libraries["replicate"].start_time_unix_nano, health.start_time_unix_nano) == (5, 5)
    assert libraries["openai"].start_time_unix_nano == 0
    assert (signals["traces"].start_time_unix_nano, signals["metrics"].start_time_unix_nano) == (
        0,
        5,
    )


def test_a_process_with_nothing_wrong_is_healthy_and_says_since_when() -> None:
    health = seen(instrumentors=(REPLICATE,))
    assert (health.healthy, health.status, health.last_error) == (True, "ok", "")
    assert (health.start_time_unix_nano, health.status_time_unix_nano) == (5, 7)
    assert health.components["instrumentors"].components["replicate"].status == "active"


@pytest.mark.opamp("N-02")
def test_a_failing_destination_is_named_up_to_the_top_with_its_counts() -> None:
    health = seen(status=status(sent=3, failed=1, queued=2, dropped=4, **DOWN))
    destination = health.components["destination:a"]
    assert (health.healthy, health.status) == (False, "degraded")
    assert health.last_error == "destination:a: traces: no answer"
    assert destination.components["traces"].last_error == "no answer"
    assert destination.components["metrics"].healthy
    counts = {"sent": 3, "failed": 1, "queued": 2, "dropped": 4}
    assert destination.attributes.items() >= counts.items()
    assert destination.components["traces"].attributes.items() >= counts.items()


def test_a_library_that_is_here_and_cannot_be_recorded_is_trouble_an_absent_one_is_not() -> None:
    absent = InstrumentorInfo("openai", "openai", "", "absent", "openai is not installed")
    assert seen(instrumentors=(absent,)).healthy
    odd = InstrumentorInfo("replicate", "replicate", "9.0", "unsupported", "1.x is supported")
    health = seen(instrumentors=(absent, odd))
    assert health.last_error == "instrumentors: replicate: 1.x is supported"


def test_settings_that_cannot_be_kept_and_errors_of_our_own_are_trouble() -> None:
    health = seen(trouble="the disk is full", fault="KeyError at x.py:1 (f)")
    assert not health.components["settings"].healthy
    assert "KeyError at x.py:1 (f)" in health.components["recording"].last_error
    assert "the disk is full" in health.last_error


def look(watch: Watch, now: float, found: PipelineStatus, fault: str = "") -> Health | None:
    return watch.look(found, (REPLICATE,), fault, "", now)


def test_what_does_not_change_is_told_once() -> None:
    watch = Watch(0)
    assert look(watch, 100.0, status()) is not None
    assert look(watch, 1e6, status()) is None


def test_a_change_of_state_is_told_at_once_and_then_not_too_often() -> None:
    watch = Watch(0)
    look(watch, 100.0, status())
    assert look(watch, 200.0, status(**DOWN)) is not None
    assert look(watch, 200.0 + STATES_S - 0.1, status()) is None
    told = look(watch, 200.0 + STATES_S, status())
    assert told is not None
    assert told.healthy


def test_counts_alone_are_told_seldom() -> None:
    watch = Watch(0)
    look(watch, 100.0, status())
    assert look(watch, 100.0 + COUNTS_S - 0.1, status(calls=5, sent=5)) is None
    told = look(watch, 100.0 + COUNTS_S, status(calls=6, sent=6))
    assert told is not None
    assert told.components["recording"].attributes["calls"] == 6


def test_an_error_of_our_own_is_news_for_a_while() -> None:
    watch = Watch(0)
    look(watch, 100.0, status())
    told = look(watch, 200.0, status(faults=1), "ValueError at y.py:2 (g)")
    assert told is not None
    assert not told.healthy
    assert look(watch, 200.0 + FAULT_S - 1, status(faults=1), "ValueError at y.py:2 (g)") is None
    later = look(watch, 200.0 + FAULT_S, status(faults=1), "ValueError at y.py:2 (g)")
    assert later is not None
    assert later.healthy


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    watch = Watch(0)
    look(watch, 1000.0, status())
    assert look(watch, 10.0, status(**DOWN)) is not None


def test_health_says_that_nothing_is_recorded() -> None:
    killed = tree(Seen(status=PipelineStatus(enabled=False)), 1, 2).components["recording"]
    assert (killed.status, killed.healthy) == ("off", True)
    assert "instrumentation.enabled" in killed.last_error


def test_what_redaction_found_is_counted_by_rule() -> None:
    health = seen(status=PipelineStatus(redacted={"email": 3, "card": 1}))
    found = health.components["recording"].attributes
    assert found.items() >= {"redacted.email": 3, "redacted.card": 1}.items()
    assert not any("redacted" in key for key in seen().components["recording"].attributes)
