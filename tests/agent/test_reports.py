"""What this process says of itself, as OpAMP wants it of an agent inside a language's SDK."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import (
    host_attributes,
    os_attributes,
    process_attributes,
)
from opentelemetry.semconv.attributes import service_attributes, telemetry_attributes

from llm_observe.agent import reports, standing
from llm_observe.errors import Problem
from llm_observe.opamp import AgentCapabilities, ConfigState
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo
from tests.agent.doubles import Bench

UNREACHABLE = Problem("destinations.a.endpoint", "no answer", "a destination that answers")
RATIO = {"sampling": {"ratio": 0.5}}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    told = "service.namespace=shop,service.version=2,team=blue"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", told)
    return Bench(tmp_path)


@pytest.mark.opamp("D-06")
def test_what_identifies_it_is_what_identifies_its_spans(bench: Bench) -> None:
    resource = bench.runtime.standing.resource.attributes
    names = ("service.name", "service.namespace", "service.version", "service.instance.id")
    assert bench.seen.description.identifying == {name: resource[name] for name in names}
    assert resource["service.namespace"] == "shop"


@pytest.mark.opamp("D-03", "D-07")
def test_all_else_that_stands_on_its_spans_is_told_too(bench: Bench) -> None:
    resource = bench.runtime.standing.resource.attributes
    said = bench.seen.description
    assert {**said.identifying, **said.non_identifying} == dict(resource)
    assert said.non_identifying["team"] == "blue"
    assert not set(said.identifying) & set(said.non_identifying)


@pytest.mark.opamp("D-01")
def test_keys_are_those_of_the_conventions_and_of_the_program(bench: Bench) -> None:
    modules = (
        host_attributes, os_attributes, process_attributes, service_attributes, telemetry_attributes
    )  # fmt: skip
    known = {value for module in modules for value in vars(module).values() if type(value) is str}
    said = bench.seen.description
    told = {*said.identifying, *said.non_identifying}
    ours = told - known - {"service.namespace", "service.instance.id", "team"}
    assert ours == {"llm_observe.version"}


@pytest.mark.opamp("E-01", "R-01")
def test_it_says_that_it_takes_settings_and_tells_which_are_in_force(bench: Bench) -> None:
    wanted = (
        AgentCapabilities.ACCEPTS_REMOTE_CONFIG
        | AgentCapabilities.REPORTS_REMOTE_CONFIG
        | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG
    )
    assert wanted in bench.seen.capabilities


@pytest.mark.opamp("E-02", "M-05")
def test_what_it_says_is_in_force_is_what_all_layers_lead_to(tmp_path: Path) -> None:
    bench = Bench(tmp_path, LLM_OBSERVE_CAPTURE_LEVEL="metadata", LLM_OBSERVE_SAMPLING_RATIO="0.2")
    bench.offer(RATIO)
    assert bench.effective()["sampling"]["ratio"] == 0.5
    assert bench.effective()["capture"]["level"] == "metadata"
    assert bench.pipeline.settings.sampling.ratio == 0.5


@pytest.mark.opamp("R-15")
def test_a_refused_offer_is_named_by_its_hash_and_what_held_before_is_shown(bench: Bench) -> None:
    bench.offer(RATIO)
    bench.pipeline.problems = (UNREACHABLE,)
    refused = bench.offer({"destinations": {"a": {"endpoint": "http://a:1"}}})
    status = bench.seen.config_status
    assert (status.hash, status.state) == (refused, ConfigState.FAILED)
    assert bench.effective()["sampling"]["ratio"] == 0.5
    assert "a" not in bench.effective()["destinations"]


@pytest.mark.opamp("R-13")
def test_a_restart_says_what_was_last_received_and_what_became_of_it(bench: Bench) -> None:
    applied = bench.offer(RATIO)
    bench.runtime.standing.lastgood.after_fork_in_child()  # gives the folder back
    again = standing.first(bench.options)
    assert reports.config_status(again.remote).hash == applied
    assert reports.config_status(again.remote).state is ConfigState.APPLIED


@pytest.mark.opamp("B-04")
def test_equal_libraries_have_one_hash_wherever_they_are_and_others_another() -> None:
    one = InstrumentorInfo("replicate", "replicate", "1.0.7", "active")
    two = InstrumentorInfo("openai", "openai", "2.0", "absent", "not installed")
    digest = reports.components([one, two]).hash
    assert reports.components([two, one]).hash == digest
    assert reports.components([one, replace(two, version="2.1")]).hash != digest
