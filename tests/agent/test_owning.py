"""Own telemetry where a control plane wants it: taken, kept, withdrawn, refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from llm_observe.agent import owning, receivers, standing
from llm_observe.agent.link import capabilities
from llm_observe.agent.options import read_options
from llm_observe.errors import Problem, StateError
from llm_observe.opamp import (
    AgentCapabilities,
    ConfigState,
    ConnectionOffer,
    ConnectionSettings,
    ProxySettings,
    TLSSettings,
)
from llm_observe.settings.model import Destination, Limits
from llm_observe.tracing.export import headers, tls
from tests.agent.doubles import Bench

CANARY = "c4nary-credential"
TOKEN = {"Authorization": f"Bearer {CANARY}"}
TRACES = ConnectionSettings("https://own:4318/v1/traces", TOKEN)
METRICS = ConnectionSettings("https://own:4318/v1/metrics", TOKEN)
NOWHERE = ConnectionSettings("")
PEM = "-----BEGIN CERTIFICATE-----\nnobody looks at it here\n-----END CERTIFICATE-----\n"
TO_PROXY = {"proxy-authorization": f"Basic {CANARY}"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def status(bench: Bench) -> tuple[bytes, ConfigState, str]:
    found = bench.seen.connection_status
    return found.hash, found.state, found.error


def destinations(bench: Bench) -> dict[str, Destination]:
    return dict(bench.pipeline.settings.destinations)


def files(bench: Bench) -> str:
    return "".join(file.body.decode() for file in bench.seen.effective_config.values())


def test_both_signals_to_one_place_are_the_destination_opamp(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES, own_metrics=METRICS))
    assert status(bench) == (b"1", ConfigState.APPLIED, "")
    (one,) = destinations(bench).items()
    assert one[0] == "opamp"
    assert (one[1].endpoint, one[1].signals) == ("https://own:4318", ("traces", "metrics"))
    assert headers.resolve(one[1], {}) == {"authorization": f"Bearer {CANARY}"}
    sources = bench.effective("llm-observe.sources")
    assert sources["destinations.opamp.endpoint"] == {"layer": "offer", "since": 1000.0}
    assert bench.pipeline.config_hash == bench.runtime.standing.config_hash


def test_signals_to_two_places_are_two_destinations(bench: Bench) -> None:
    elsewhere = replace(METRICS, endpoint="https://other:4318/v1/metrics")
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES, own_metrics=elsewhere))
    found = {name: (d.endpoint, d.signals) for name, d in destinations(bench).items()}
    assert found == {
        "opamp": ("https://own:4318", ("traces",)),
        "opamp-metrics": ("https://other:4318", ("metrics",)),
    }


def test_what_an_offer_leaves_out_stays_and_what_has_no_address_is_withdrawn(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    bench.offer_connections(ConnectionOffer(b"2", own_metrics=METRICS))
    assert destinations(bench)["opamp"].signals == ("traces", "metrics")
    bench.offer_connections(ConnectionOffer(b"3", own_traces=NOWHERE))
    assert destinations(bench)["opamp"].signals == ("metrics",)
    bench.offer_connections(ConnectionOffer(b"4", own_metrics=NOWHERE))
    assert status(bench) == (b"4", ConfigState.APPLIED, "")
    assert destinations(bench) == {}
    assert "opamp" not in files(bench)


def test_what_was_applied_is_not_run_again(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    assert len(bench.pipeline.applied) == 1
    bench.offer_connections(ConnectionOffer(b"2", own_traces=TRACES))  # another hash, the same
    assert status(bench) == (b"2", ConfigState.APPLIED, "")
    assert len(bench.pipeline.applied) == 1


def test_a_header_that_is_not_told_anew_goes_on_to_the_same_host_alone(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    path = ConnectionSettings("https://own:4318/deep/v1/traces")
    bench.offer_connections(ConnectionOffer(b"2", own_traces=path))
    assert CANARY in str(headers.resolve(destinations(bench)["opamp"], {}))
    bench.offer_connections(
        ConnectionOffer(b"3", own_traces=ConnectionSettings("https://b/v1/traces"))
    )
    assert destinations(bench)["opamp"].headers == {}


def test_what_does_not_answer_replaces_nothing(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    before = bench.pipeline.settings, bench.pipeline.config_hash
    bench.pipeline.problems = (Problem("destinations.opamp", "no answer", "one that answers"),)
    bench.pipeline.held = lambda old, new: replace(old, destinations={})
    elsewhere = replace(TRACES, endpoint="https://dead/v1/traces")
    bench.offer_connections(ConnectionOffer(b"2", own_traces=elsewhere))
    digest, state, error = status(bench)
    assert (digest, state) == (b"2", ConfigState.FAILED)
    assert error.startswith("own_traces: destinations.opamp")
    assert (bench.pipeline.settings, bench.pipeline.config_hash) == before
    assert bench.runtime.standing.own.own_traces is not None
    assert bench.runtime.standing.own.own_traces.endpoint == TRACES.endpoint


def test_a_restart_goes_on_with_them_and_within_the_limits_of_then(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES, own_metrics=METRICS))
    (record,) = bench.folder.rglob("own_telemetry.json")
    assert record.stat().st_mode & 0o777 == 0o600
    bench.runtime.standing.lastgood.after_fork_in_child()  # gives the folder back
    again = standing.first(bench.options)
    assert again.resolved.settings.destinations["opamp"].endpoint == "https://own:4318"
    assert CANARY in str(headers.resolve(again.resolved.settings.destinations["opamp"], {}))
    again.lastgood.after_fork_in_child()
    environ = {**bench.environ, "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "other"}
    limited = standing.first(read_options(environ, 0.0))
    assert limited.resolved.settings.destinations == {}
    limited.lastgood.after_fork_in_child()
    record.write_text("{")
    damaged = standing.first(bench.options)
    assert "not known" in damaged.lastgood.trouble
    assert damaged.resolved.settings.destinations == {}


def test_remote_settings_and_those_offers_stand_beside_each_other(bench: Bench) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    bench.offer({"sampling": {"ratio": 0.5}})
    assert bench.pipeline.settings.sampling.ratio == 0.5
    assert "opamp" in destinations(bench)
    bench.offer_connections(ConnectionOffer(b"2", own_traces=NOWHERE))
    assert bench.pipeline.settings.sampling.ratio == 0.5
    bench.offer_connections(ConnectionOffer(b"3", own_traces=TRACES))
    bench.offer({"destinations": {"opamp": {"enabled": False}}})
    assert not destinations(bench)["opamp"].enabled


@pytest.mark.parametrize(
    ("offered", "says"),
    [
        (replace(TRACES, proxy=ProxySettings("http://p", {"X-A": CANARY})), "proxy"),
        (replace(TRACES, proxy=ProxySettings(f"http://u:{CANARY}@p")), "proxy"),
        (replace(TRACES, proxy=ProxySettings("ftp://p")), "proxy"),
        (replace(TRACES, tls=TLSSettings(insecure_skip_verify=True)), "TLS"),
        (replace(TRACES, tls=TLSSettings(min_version="1.3")), "TLS"),
        (replace(TRACES, tls=TLSSettings(cipher_suites=("TLS_AES_128_GCM_SHA256",))), "TLS"),
        (replace(TRACES, tls=TLSSettings("x" * (owning.MAX_PEM_BYTES + 1))), "authorities"),
        (replace(TRACES, endpoint="http://own/v1/traces", tls=TLSSettings(PEM)), "https"),
        (replace(TRACES, endpoint=f"https://u:{CANARY}@own/v1/traces"), "headers"),
        (replace(TRACES, endpoint=f"https://own/v1/traces?x={CANARY}"), "query"),
    ],
)
def test_what_cannot_be_done_here_is_refused_and_not_quoted(
    bench: Bench, offered: ConnectionSettings, says: str
) -> None:
    bench.offer_connections(ConnectionOffer(b"1", own_traces=offered, own_metrics=METRICS))
    digest, state, error = status(bench)
    assert (digest, state) == (b"1", ConfigState.FAILED)
    assert (says in error, CANARY in error) == (True, False)
    assert destinations(bench)["opamp"].signals == ("metrics",)


def authorities(bench: Bench) -> list[Path]:
    return sorted(bench.folder.rglob("own_telemetry_*.pem"))


@pytest.mark.opamp("O-11", "S-03")
def test_authorities_that_are_offered_count_there_and_are_kept_as_long_as_they_do(
    bench: Bench,
) -> None:
    secure = replace(TRACES, tls=TLSSettings(PEM, min_version="TLSv1.2"))
    bench.offer_connections(ConnectionOffer(b"1", own_traces=secure))
    assert status(bench) == (b"1", ConfigState.APPLIED, "")
    (file,) = authorities(bench)
    assert destinations(bench)["opamp"].ca == f"file:{file}"
    assert (file.read_text(), file.stat().st_mode & 0o777) == (PEM, 0o600)
    bench.offer_connections(ConnectionOffer(b"2", own_traces=replace(TRACES, headers={"A": "b"})))
    assert destinations(bench)["opamp"].ca == f"file:{file}"
    file.unlink()
    bench.runtime.standing.lastgood.after_fork_in_child()  # gives the folder back
    again = standing.first(bench.options)
    assert again.resolved.settings.destinations["opamp"].ca == f"file:{file}"
    assert file.read_text() == PEM
    plain = replace(TRACES, endpoint="http://own/v1/traces")
    bench.offer_connections(ConnectionOffer(b"3", own_traces=plain))
    assert (destinations(bench)["opamp"].ca, authorities(bench)) == ("", [])


def test_authorities_that_do_not_work_leave_those_that_did(bench: Bench) -> None:
    secure = replace(TRACES, tls=TLSSettings(PEM))
    bench.offer_connections(ConnectionOffer(b"1", own_traces=secure))
    before = authorities(bench)
    bench.pipeline.problems = (Problem("destinations.opamp.ca", "no certificate", "some"),)
    bench.offer_connections(ConnectionOffer(b"2", own_traces=replace(TRACES, tls=TLSSettings("x"))))
    assert status(bench)[1] is ConfigState.FAILED
    assert authorities(bench) == before
    assert destinations(bench)["opamp"].ca == f"file:{before[0]}"


@pytest.mark.opamp("S-04")
def test_the_usual_authorities_count_beside_them_where_that_is_said(bench: Bench) -> None:
    both = TLSSettings(PEM, include_system_pool=True)
    bench.offer_connections(ConnectionOffer(b"1", own_traces=replace(TRACES, tls=both)))
    (file,) = authorities(bench)
    text = file.read_text()
    assert text == f"{PEM}\n{Path(tls.bundle()).read_text()}"
    usual = TLSSettings(include_system_pool=True)
    bench.offer_connections(ConnectionOffer(b"2", own_traces=replace(TRACES, tls=usual)))
    assert (destinations(bench)["opamp"].ca, authorities(bench)) == ("", [])


@pytest.mark.opamp("O-11", "S-10")
@pytest.mark.parametrize("url", ["proxy:3128", "http://proxy:3128"])
def test_a_proxy_that_is_offered_is_gone_through_with_what_it_is_to_be_told(
    bench: Bench, url: str
) -> None:
    through = replace(METRICS, proxy=ProxySettings(url, TO_PROXY))
    bench.offer_connections(ConnectionOffer(b"1", own_metrics=through))
    found = destinations(bench)["opamp"]
    assert found.proxy == "http://proxy:3128"
    told = headers.read_reference(("proxy_authorization",), found.proxy_authorization, {})
    assert told == TO_PROXY["proxy-authorization"]
    assert CANARY not in files(bench)
    bench.offer_connections(ConnectionOffer(b"2", own_metrics=METRICS))  # not told anew: as before
    assert destinations(bench)["opamp"] == found


def test_a_proxy_beyond_the_limits_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, LLM_OBSERVE_LIMIT_DESTINATION_HOSTS="own")
    through = replace(METRICS, proxy=ProxySettings("http://evil:3128"))
    bench.offer_connections(ConnectionOffer(b"1", own_metrics=through))
    assert status(bench)[1] is ConfigState.FAILED
    assert destinations(bench) == {}


def test_what_is_no_address_is_refused() -> None:
    offer = ConnectionOffer(b"1", own_traces=replace(TRACES, endpoint="own:4318"))
    own, errors = owning.judged(receivers.NOTHING, offer, Limits(), 1.0)
    assert own == receivers.NOTHING
    assert "URL" in errors["own_traces"]


def test_a_client_certificate_is_refused() -> None:
    offer = ConnectionOffer(b"1", own_traces=replace(TRACES, certificate=True))
    own, errors = owning.judged(receivers.NOTHING, offer, Limits(), 1.0)
    assert (own, errors) == (
        receivers.NOTHING,
        {"own_traces": "client certificates are not supported"},
    )


@pytest.mark.opamp("SEC-02", "SEC-03")
@pytest.mark.parametrize(
    "limit",
    [
        {"LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "other,*.example.com"},
        {"LLM_OBSERVE_LIMIT_REMOTE_KEYS": "sampling"},
    ],
)
def test_beyond_the_limits_nothing_is_taken(tmp_path: Path, limit: dict[str, str]) -> None:
    bench = Bench(tmp_path, **limit)
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    digest, state, error = status(bench)
    assert (digest, state, "local limit" in error) == (b"1", ConfigState.FAILED, True)
    assert bench.pipeline.applied == []


def test_what_cannot_be_kept_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = Bench(tmp_path / "file")
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES))
    digest, state, error = status(bench)
    assert (digest, state, "state folder" in error) == (b"1", ConfigState.FAILED, True)
    assert destinations(bench) == {}


@pytest.mark.opamp("E-06", "SEC-06")
def test_credentials_show_nowhere(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bench.offer_connections(ConnectionOffer(b"1", own_traces=TRACES, own_metrics=METRICS))
    bench.pipeline.fault = RuntimeError("broken")
    moved = replace(TRACES, headers={"Authorization": f"Bearer {CANARY}-2"})
    bench.offer_connections(ConnectionOffer(b"2", own_traces=moved))
    assert status(bench)[1] is ConfigState.FAILED
    bench.wait(60)
    told = [caplog.text, files(bench), repr(bench.seen), repr(bench.runtime.standing)]
    assert not any(CANARY in text for text in told)
    assert "offer:" in files(bench)


@pytest.mark.parametrize(
    ("limit", "announced"),
    [
        ({}, True),
        ({"LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "a"}, True),
        ({"LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": ""}, False),
        ({"LLM_OBSERVE_LIMIT_REMOTE_KEYS": "sampling"}, False),
    ],
)
def test_it_is_announced_where_the_limits_let_it_be(limit: dict[str, str], announced: bool) -> None:
    own = AgentCapabilities.REPORTS_OWN_TRACES | AgentCapabilities.REPORTS_OWN_METRICS
    can = capabilities(read_options(limit, 0.0))
    assert (own in can) is announced
    assert AgentCapabilities.REPORTS_OWN_LOGS not in can


def test_what_another_version_wrote_is_an_error() -> None:
    own = receivers.Own(receivers.Receiver("https://a", {"x": "y"}, 1.0))
    assert receivers.from_bytes(receivers.to_bytes(own)) == own
    for data in (b"", b"[]", b"{}", b'{"format": 9}', b'{"format": 1, "own_traces": 3}'):
        with pytest.raises(StateError):
            receivers.from_bytes(data)
