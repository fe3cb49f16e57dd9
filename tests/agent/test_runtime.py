from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llm_observe.agent import standing
from llm_observe.errors import Problem
from llm_observe.opamp import ConfigState, events
from llm_observe.policy.rules import available
from llm_observe.settings.documents import document_hash
from llm_observe.settings.layers import Layer
from llm_observe.settings.model import Capture, CaptureLevel, Settings
from llm_observe.tracing.export.status import PipelineStatus
from llm_observe.uids import new_uid, uid_text
from tests.agent.doubles import Bench, with_faults

RATIO = {"sampling": {"ratio": 0.5}}
UNREACHABLE = Problem("destinations.a.endpoint", "no answer", "a destination that answers")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_report_tells_everything(bench: Bench) -> None:
    seen = bench.seen
    assert seen.description.identifying["service.name"] == "bench"
    assert seen.description.identifying["service.instance.id"] == uid_text(
        bench.runtime.standing.uid
    )
    assert bench.effective()["sampling"]["ratio"] == 1.0
    assert seen.config_status.state is ConfigState.UNSET
    assert seen.health.healthy
    assert set(seen.components.components) == {"settings", "instrumentors", "detectors"}
    assert set(seen.components.components["detectors"].components) == set(available())


def test_an_offer_is_applied_saved_and_then_acknowledged(bench: Bench) -> None:
    digest = bench.offer(RATIO)
    assert bench.pipeline.applied[-1].sampling.ratio == 0.5
    assert (bench.seen.config_status.hash, bench.seen.config_status.state) == (
        digest,
        ConfigState.APPLIED,
    )
    assert bench.effective()["sampling"]["ratio"] == 0.5
    assert bench.effective("llm-observe.sources")["sampling.ratio"] == {
        "layer": str(Layer.REMOTE),
        "since": 1000.0,
    }
    again = standing.first(bench.options)  # another process; the folder is taken, so a second slot
    assert again.remote.fragment == {}
    bench.runtime.standing.lastgood.after_fork_in_child()  # gives the folder back
    assert standing.first(bench.options).remote.fragment == RATIO


def test_spans_are_marked_with_the_hash_of_what_is_in_force(bench: Bench) -> None:
    before = bench.pipeline.config_hash
    bench.offer(RATIO)
    assert bench.pipeline.config_hash == bench.runtime.standing.config_hash != before


def test_a_wrong_offer_changes_nothing_and_names_each_key(bench: Bench) -> None:
    bench.offer(RATIO)
    digest = bench.offer({"sampling": {"ratio": 2}, "unknown": 1})
    status = bench.seen.config_status
    assert (status.hash, status.state) == (digest, ConfigState.FAILED)
    assert [line.split(":")[0] for line in status.error.splitlines()] == [
        "sampling.ratio",
        "unknown",
    ]
    assert bench.effective()["sampling"]["ratio"] == 0.5
    assert len(bench.pipeline.applied) == 1


def test_an_entry_that_is_not_ours_is_refused_by_name(bench: Bench) -> None:
    bench.offer({}, "collector")
    assert "collector" in bench.seen.config_status.error


def test_what_the_pipeline_refuses_is_refused_and_what_it_tightened_stays(bench: Bench) -> None:
    bench.offer({"capture": {"level": "full"}})
    bench.pipeline.problems = (UNREACHABLE,)
    bench.pipeline.held = lambda before, wanted: replace(
        before, capture=Capture(level=min(before.capture.level, wanted.capture.level, key=_rank))
    )
    bench.now += 5
    bench.offer({"capture": {"level": "off"}, "destinations": {"a": {"endpoint": "http://a:1"}}})
    assert bench.seen.config_status.state is ConfigState.FAILED
    assert bench.seen.config_status.error == str(UNREACHABLE)
    assert bench.effective()["capture"]["level"] == "off"
    assert bench.runtime.standing.remote.fragment == {"capture": {"level": "off"}}
    assert bench.pipeline.config_hash == bench.runtime.standing.config_hash


def _rank(level: CaptureLevel) -> int:
    return level.rank


def test_a_fault_of_ours_is_a_refusal_and_never_silence(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.pipeline.fault = RuntimeError("secret detail")
    bench.offer(RATIO)
    refused = bench.seen.config_status
    assert (refused.state, "RuntimeError" in refused.error) == (ConfigState.FAILED, True)
    assert "secret detail" not in refused.error
    bench.pipeline.fault = None
    bench.offer({"sampling": {"ratio": 0.25}})
    assert bench.seen.config_status.state is ConfigState.APPLIED
    assert "could not apply" in caplog.text


def test_of_several_offers_in_a_row_only_the_newest_is_applied(bench: Bench) -> None:
    for ratio in (0.1, 0.2, 0.3):
        fragment = {"sampling": {"ratio": ratio}}
        bench.link.hear(_offered(fragment))
    assert bench.runtime.step()
    assert [settings.sampling.ratio for settings in bench.pipeline.applied] == [0.3]


def _offered(fragment: dict[str, dict[str, float]]) -> events.ConfigOffered:
    body = str(fragment).replace("'", '"').encode()
    digest = document_hash(fragment)
    return events.ConfigOffered({"llm-observe": _File(body)}, digest)  # type: ignore[dict-item]  # has what a file has


class _File:
    content_type = "application/json"

    def __init__(self, body: bytes) -> None:
        self.body = body


def test_a_value_that_stays_keeps_its_age(bench: Bench) -> None:
    bench.offer(RATIO)
    bench.now += 100
    bench.offer({**RATIO, "capture": {"level": "off"}})
    sources = bench.effective("llm-observe.sources")
    assert sources["sampling.ratio"]["since"] == 1000.0
    assert sources["capture.level"]["since"] == 1100.0


def test_an_offer_seen_before_is_answered_without_being_applied_again(bench: Bench) -> None:
    bench.offer(RATIO)
    bench.link.hear(_offered(RATIO))
    bench.serve()
    assert len(bench.pipeline.applied) == 1
    assert bench.seen.config_status.state is ConfigState.APPLIED


def test_another_uid_is_kept_carried_and_told(bench: Bench) -> None:
    uid = new_uid()
    bench.link.hear(events.IdentityAssigned(uid))
    bench.serve()
    name = uid_text(uid)
    assert bench.runtime.standing.uid == uid
    assert bench.pipeline.resources[-1].attributes["service.instance.id"] == name
    assert bench.seen.description.identifying["service.instance.id"] == name
    bench.runtime.standing.lastgood.after_fork_in_child()  # gives the folder back
    assert standing.first(bench.options).uid == uid


def test_a_uid_that_comes_between_two_offers_is_not_lost(bench: Bench) -> None:
    uid = new_uid()
    bench.link.hear(_offered(RATIO))
    bench.link.hear(events.IdentityAssigned(uid))
    bench.link.hear(_offered({"sampling": {"ratio": 0.25}}))
    bench.serve()
    assert bench.runtime.standing.uid == uid
    assert bench.pipeline.settings.sampling.ratio == 0.25


def test_a_fault_between_two_offers_costs_neither_the_thread_nor_the_newest(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.pipeline, "rename", lambda resource: 1 / 0)
    bench.link.hear(_offered(RATIO))
    bench.link.hear(events.IdentityAssigned(new_uid()))
    bench.link.hear(_offered({"sampling": {"ratio": 0.25}}))
    assert bench.runtime.step()
    assert bench.runtime.step()
    assert "met a fault and goes on" in caplog.text
    assert bench.pipeline.settings.sampling.ratio == 0.25


def test_health_is_told_when_it_changes_and_not_too_often(bench: Bench) -> None:
    told = bench.seen.health.status_time_unix_nano
    bench.wait(3600)
    assert bench.seen.health.status_time_unix_nano == told
    bench.pipeline.now = with_faults(PipelineStatus(), 1)
    bench.wait(10)
    assert bench.seen.health.status_time_unix_nano == int(bench.now * 1e9)
    assert bench.seen.health.components["recording"].attributes["faults"] == 1


def test_a_step_survives_any_fault(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def status(self) -> PipelineStatus:
            raise ValueError("broken")

    bench.runtime._pipeline = Broken()  # type: ignore[assignment]  # that is the point
    assert bench.runtime.step()
    assert "met a fault and goes on" in caplog.text


def test_the_thread_ends_with_stop_and_says_goodbye(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.runtime.start()
    bench.runtime.stop(30.0)
    assert not bench.runtime._thread.is_alive()
    bench.link.pair.exchange(bench.now)
    assert bench.link.pair.client.message_to_send(bench.now) is None


def test_the_link_and_its_trouble_are_shown(bench: Bench) -> None:
    assert bench.runtime.link == (True, "")
    bench.link.state.connected, bench.link.state.last_error = False, "refused (401)"
    assert bench.runtime.link == (False, "refused (401)")
    bench.runtime.let_go()
    assert bench.link.let


def test_settings_of_the_bench_are_plain_defaults(bench: Bench) -> None:
    assert bench.pipeline.settings == Settings()
