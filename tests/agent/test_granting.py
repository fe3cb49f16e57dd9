"""Grants in an agent: they begin with an offer, end on time, and never begin again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llm_observe.agent import standing
from llm_observe.errors import Problem
from llm_observe.opamp import ConfigState, ConnectionOffer, ConnectionSettings
from llm_observe.policy.capture import Clocks
from llm_observe.settings.model import CaptureLevel, Matcher
from tests.agent.doubles import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def document(bench: Bench, seconds: float = 60, /, **grant: Any) -> dict[str, Any]:
    """A document with one grant ``g`` for so many seconds from now."""
    one = {"level": "full", "until": text(bench.now + seconds), "longest_s": seconds, **grant}
    return {"capture": {"grants": {"g": one}}}


def running(bench: Bench) -> list[str]:
    """What runs, by every account: the pipeline's, the settings' and the server's."""
    found = [grant.name for grant in bench.pipeline.grants]
    assert found == list(bench.pipeline.settings.capture.grants)
    assert found == list(bench.effective()["capture"]["grants"])
    return found


def restarted(bench: Bench) -> Bench:
    """The process begins again on its state folder, its clocks as they are."""
    bench.runtime.standing.lastgood._folder.release()  # type: ignore[union-attr]  # as its end does
    return Bench(bench.folder, bench.clocks())


def test_a_grant_begins_with_the_offer_and_is_a_layer_of_its_own(bench: Bench) -> None:
    bench.offer(document(bench, match={"user": "ann"}))
    assert bench.seen.config_status.state is ConfigState.APPLIED
    assert running(bench) == ["g"]
    (grant,) = bench.pipeline.grants
    assert grant == ("g", Matcher(user="ann"), CaptureLevel.FULL, Clocks(560.0, 1060.0))
    said = bench.effective("llm-observe.sources")["capture.grants.g.level"]
    assert said == {"layer": "grant", "since": 1000.0, "until": 1060.0}
    assert bench.effective()["capture"]["level"] == "metadata"


def test_a_grant_for_every_call_is_the_level_in_force_until_it_ends(bench: Bench) -> None:
    bench.offer(document(bench))
    assert bench.effective()["capture"]["level"] == "full"
    source = bench.effective("llm-observe.sources")["capture.level"]
    assert source == {"layer": "grant", "since": 1000.0, "until": 1060.0}
    bench.wait(60)
    assert bench.effective()["capture"]["level"] == "metadata"
    assert bench.effective("llm-observe.sources")["capture.level"]["layer"] == "default"


@pytest.mark.parametrize(
    ("boot", "wall"),
    [(60, 60), (60, 0), (60, -86_400), (0, 60), (0, 86_400), (86_400, 86_400)],
    ids=["both", "wall stood", "wall back", "wall forth", "wall far forth", "stopped for a day"],
)
def test_it_ends_by_whichever_clock_is_first(bench: Bench, boot: float, wall: float) -> None:
    bench.offer(document(bench))
    bench.step_clocks(boot, wall)
    bench.serve()
    assert running(bench) == []


def test_before_its_end_it_runs_whatever_the_wall_clock_says(bench: Bench) -> None:
    bench.offer(document(bench))
    bench.step_clocks(59, -86_400)
    bench.serve()
    assert running(bench) == ["g"]


def test_an_id_that_ended_never_starts_again(bench: Bench) -> None:
    bench.offer(document(bench))
    bench.wait(61)
    bench.step_clocks(1, -1000)
    bench.offer(document(bench, 3600))
    assert bench.seen.config_status.state is ConfigState.APPLIED
    assert running(bench) == []


def test_a_newer_document_without_it_ends_it_for_good(bench: Bench) -> None:
    wanted = document(bench)
    bench.offer(wanted)
    bench.offer({"sampling": {"ratio": 0.5}})
    assert running(bench) == []
    bench.offer(wanted)
    assert running(bench) == []


def test_a_restarted_process_goes_on_with_it_and_ends_it_on_time(bench: Bench) -> None:
    bench.offer(document(bench))
    bench.wait(20)
    again = restarted(bench)
    assert running(again) == ["g"]
    again.wait(39)
    assert running(again) == ["g"]
    again.wait(1)
    assert running(again) == []
    assert running(restarted(again)) == []


def test_it_ends_while_no_process_is_there(bench: Bench) -> None:
    bench.offer(document(bench))
    bench.step_clocks(60, 1)
    assert running(restarted(bench)) == []


def test_a_wall_clock_behind_the_last_save_ends_it(bench: Bench) -> None:
    bench.offer(document(bench))
    bench.step_clocks(1, -5)
    assert running(restarted(bench)) == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("{")])
def test_without_its_book_it_has_ended(bench: Bench, harm: Callable[[Path], object]) -> None:
    wanted = document(bench)
    bench.offer(wanted)
    (book,) = bench.folder.rglob("grants.json")
    harm(book)
    again = restarted(bench)
    assert running(again) == []
    again.offer({**wanted, "sampling": {"ratio": 0.5}})
    assert running(again) == []


def test_the_book_is_on_disk_before_the_settings_and_kept_while_it_runs(bench: Bench) -> None:
    bench.offer(document(bench))
    (path,) = bench.folder.rglob("grants.json")
    first = json.loads(path.read_text())
    assert list(first["running"]) == ["g"]
    bench.wait(11)
    assert json.loads(path.read_text())["saved"] == first["saved"] + 11


def test_limits_bound_it(tmp_path: Path) -> None:
    limited = Bench(
        tmp_path, LLM_OBSERVE_LIMIT_GRANT_LONGEST_S="30", LLM_OBSERVE_LIMIT_CAPTURE_LEVEL="redacted"
    )
    limited.offer(document(limited))
    assert limited.seen.config_status.state is ConfigState.FAILED
    assert limited.seen.config_status.error.splitlines() == [
        "capture.grants.g.level: found full, expected at most redacted (local limit)",
        "capture.grants.g.longest_s: found 60, expected at most 30 (local limit)",
    ]
    assert running(limited) == []
    limited.offer(document(limited, 30, level="redacted"))
    assert [grant.level for grant in limited.pipeline.grants] == [CaptureLevel.REDACTED]


def test_its_end_must_be_one_moment(bench: Bench) -> None:
    for until in ("2026-12-01T18:00:00", "tomorrow", ""):
        bench.offer(document(bench, until=until))
        assert bench.seen.config_status.state is ConfigState.FAILED
        assert "capture.grants.g.until: " in bench.seen.config_status.error


def test_a_grant_that_cannot_be_put_in_force_does_not_begin(bench: Bench) -> None:
    bench.pipeline.problems = (Problem("destinations.x", "no answer", "one"),)
    bench.offer(document(bench))
    assert bench.seen.config_status.state is ConfigState.FAILED
    assert running(bench) == []
    bench.pipeline.problems = ()
    bench.offer({**document(bench), "sampling": {"ratio": 0.5}})
    assert running(bench) == ["g"]


def test_its_end_is_told_only_when_nothing_is_in_flight_under_it(bench: Bench) -> None:
    bench.offer(document(bench))
    bench.pipeline.problems = (Problem("destinations.x", "a request in flight", "none"),)
    bench.wait(61)
    assert list(bench.effective()["capture"]["grants"]) == ["g"]
    bench.pipeline.problems = ()
    bench.serve()
    assert running(bench) == []


def test_a_forked_child_has_the_grants_of_its_parent(bench: Bench) -> None:
    bench.offer(document(bench))
    child = standing.forked(bench.runtime.standing)
    assert list(child.book.running) == ["g"]
    assert child.grants(bench.options.limits)


def test_it_goes_on_when_own_telemetry_is_led_elsewhere(bench: Bench) -> None:
    bench.offer(document(bench))
    traces = ConnectionSettings("https://own:4318/v1/traces")
    bench.offer_connections(ConnectionOffer(b"1", own_traces=traces))
    assert running(bench) == ["g"]
    bench.wait(60)
    assert running(bench) == []
    assert "opamp" in bench.pipeline.settings.destinations
