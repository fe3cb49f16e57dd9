from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.opamp import candidate
from llm_observe.opamp.candidate import Record, Rules
from llm_observe.opamp.connections import (
    ConnectionOffer,
    ConnectionSettings,
    ProxySettings,
    TLSSettings,
)
from llm_observe.opamp.values import ConfigState, ConnectionStatus

BASE = "wss://a:4320/v1/opamp"
B = ConnectionSettings("wss://b:4320/v1/opamp", {"Authorization": "Bearer b"})
C = ConnectionSettings("https://c:4320/v1/opamp", {"Authorization": "Bearer c"})
METRICS = ConnectionSettings("https://m:4318/v1/metrics")
STRICT = Rules()


def offer(
    settings_hash: bytes, opamp: ConnectionSettings | None, rest: bool = False
) -> ConnectionOffer:
    return ConnectionOffer(settings_hash, opamp=opamp, own_metrics=METRICS if rest else None)


def begun(rest: bool = False) -> Record:
    return candidate.offered(Record(), offer(b"1", B, rest), BASE, STRICT)


def test_an_offer_becomes_a_candidate_that_is_being_applied() -> None:
    record = begun()
    assert record.wanted == B
    assert record.active is None
    assert record.status == ConnectionStatus(b"1", ConfigState.APPLYING)


@pytest.mark.opamp("K-09")
def test_a_candidate_that_works_is_the_connection_from_then_on() -> None:
    record = candidate.verified(begun())
    assert (record.active, record.candidate) == (B, None)
    assert record.status == ConnectionStatus(b"1", ConfigState.APPLIED)


@pytest.mark.opamp("K-10")
def test_a_candidate_that_fails_leaves_the_connection_before() -> None:
    former = candidate.verified(begun())
    record = candidate.offered(former, offer(b"2", C), B.endpoint, STRICT)
    record = candidate.failed(record, "not trusted")
    assert record.wanted == B
    assert record.status == ConnectionStatus(b"2", ConfigState.FAILED, "opamp: not trusted")


def test_an_offer_that_changes_nothing_but_the_interval_is_applied_at_once() -> None:
    former = candidate.verified(begun())
    same = offer(b"2", replace(B, heartbeat_s=10))
    record = candidate.offered(former, same, B.endpoint, STRICT)
    assert (record.candidate, record.status.state) == (None, ConfigState.APPLIED)


@pytest.mark.opamp("S-01", "S-08")
def test_what_an_offer_leaves_out_is_kept_but_no_token_goes_elsewhere() -> None:
    tls, proxy = TLSSettings("pem"), ProxySettings("http://p:1")
    former = replace(B, tls=tls, proxy=proxy)
    moved = candidate.merged(former, ConnectionSettings("wss://b:4320/other"))
    assert (moved.headers, moved.tls, moved.proxy) == (B.headers, tls, proxy)
    away = candidate.merged(former, ConnectionSettings("wss://c:4320/v1/opamp"))
    assert (away.headers, away.tls, away.proxy) == (None, tls, proxy)
    bare = candidate.merged(former, ConnectionSettings("wss://b:4320/other", headers={}))
    assert bare.headers == {}


@pytest.mark.opamp("K-03", "K-18", "S-05", "S-09")
@pytest.mark.parametrize(
    ("opamp", "sentence"),
    [
        (ConnectionSettings(""), "must be a ws, wss, http or https URL"),
        (ConnectionSettings("ftp://x"), "must be a ws, wss, http or https URL"),
        (ConnectionSettings("wss://"), "must be a ws, wss, http or https URL"),
        (ConnectionSettings("wss://u:p@x"), "credentials"),
        (replace(B, certificate=True), "client certificates are not supported"),
        (replace(B, tls=TLSSettings(insecure_skip_verify=True)), "verification is not allowed"),
        (replace(B, endpoint="ws://b/v1/opamp"), "from TLS to no TLS"),
        (replace(B, headers={"X": "a\r\nY: b"}), "a header is no header"),
        (replace(B, proxy=ProxySettings("p:1", {"X\n": "a"})), "a header is no header"),
        (replace(B, proxy=ProxySettings()), "a proxy needs a URL"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_sentence(
    opamp: ConnectionSettings, sentence: str
) -> None:
    record = candidate.offered(Record(), offer(b"1", opamp), BASE, STRICT)
    assert record.wanted is None
    assert record.status.state is ConfigState.FAILED
    assert sentence in record.status.error


def test_the_program_may_allow_what_lowers_security() -> None:
    lax = Rules(insecure=True, plaintext=True)
    opamp = replace(B, endpoint="ws://b", tls=TLSSettings(insecure_skip_verify=True))
    assert candidate.offered(Record(), offer(b"1", opamp), BASE, lax).candidate == opamp


def test_from_no_tls_to_no_tls_is_no_loss() -> None:
    opamp = ConnectionSettings("ws://b")
    record = candidate.offered(Record(), offer(b"1", opamp), "ws://a", STRICT)
    assert record.candidate == opamp


@pytest.mark.opamp("K-17")
@pytest.mark.parametrize("rest_first", [True, False])
@pytest.mark.parametrize("error", ["", "own_metrics: no"])
@pytest.mark.parametrize("works", [True, False])
def test_the_status_of_an_offer_is_that_of_all_its_parts(
    rest_first: bool, error: str, works: bool
) -> None:
    def rest(record: Record) -> Record:
        return candidate.rest_settled(record, b"1", [error] if error else [])

    def opamp(record: Record) -> Record:
        return candidate.verified(record) if works else candidate.failed(record, "no")

    steps = [rest, opamp] if rest_first else [opamp, rest]
    half = steps[0](begun(rest=True))
    assert half.status.state is ConfigState.APPLYING
    whole = steps[1](half)
    expected = ConfigState.APPLIED if works and not error else ConfigState.FAILED
    assert whole.status.state is expected
    assert (error in whole.status.error, "opamp: no" in whole.status.error) == (True, not works)


def test_a_late_word_about_another_offer_changes_nothing() -> None:
    record = begun(rest=True)
    assert candidate.rest_settled(record, b"0", []) == record
    settled = candidate.rest_settled(record, b"1", [])
    assert candidate.rest_settled(settled, b"1", ["x"]) == settled


@pytest.mark.opamp("K-04")
@pytest.mark.parametrize(
    ("crashed", "goes_on"),
    [
        (Record(), Record()),
        (begun(), begun()),  # the candidate is tried anew
        (candidate.verified(begun()), candidate.verified(begun())),
        (candidate.failed(begun(), "no"), candidate.failed(begun(), "no")),
    ],
)
def test_after_a_crash_it_goes_on_where_it_was(crashed: Record, goes_on: Record) -> None:
    assert candidate.resumed(candidate.from_bytes(candidate.to_bytes(crashed))) == goes_on


def test_what_the_agent_had_in_hand_at_a_crash_is_offered_anew() -> None:
    record = candidate.resumed(begun(rest=True))
    assert record.candidate == B  # tried anew
    assert record.status == ConnectionStatus()  # no hash: the server offers it all again


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'{"version": 2}', b"\xff"])
def test_what_is_no_record_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # JSON's own is one too
        candidate.from_bytes(data)


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_bytes_make_reading_a_record_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        candidate.from_bytes(data)


def only_b(url: str) -> bool:
    return "//b:" in url


def test_an_endpoint_or_a_proxy_that_is_not_allowed_here_is_refused() -> None:
    rules = Rules(allows=only_b)
    assert candidate.problem(B, BASE, rules) == ""
    assert "host" in candidate.problem(C, BASE, rules)
    assert "host" in candidate.problem(replace(B, proxy=ProxySettings("http://c:1")), BASE, rules)


@pytest.mark.parametrize("verified", [True, False])
def test_after_a_restart_a_connection_that_is_allowed_no_more_is_given_up(verified: bool) -> None:
    record = candidate.verified(begun()) if verified else begun()
    resumed = candidate.resumed(record)
    assert candidate.within(resumed, BASE, Rules(allows=only_b)) == resumed
    given_up = candidate.within(resumed, BASE, Rules(allows=lambda url: False))
    assert given_up.wanted is None
    assert (given_up.status.hash, given_up.status.state) == (b"1", ConfigState.FAILED)


def test_a_candidate_that_is_allowed_no_more_leaves_the_connection_before() -> None:
    former = candidate.verified(begun())
    record = candidate.offered(former, offer(b"2", C), B.endpoint, STRICT)
    assert candidate.within(record, BASE, Rules(allows=only_b)).wanted == B


def test_what_an_agent_takes_no_offers_of_is_named_in_the_status() -> None:
    alone = candidate.offered(Record(), offer(b"1", None), BASE, STRICT, ["own_logs", "opamp"])
    assert alone.status == ConnectionStatus(
        b"1",
        ConfigState.FAILED,
        "opamp: not accepted by this agent\nown_logs: not accepted by this agent",
    )
    beside = candidate.offered(Record(), offer(b"1", None, rest=True), BASE, STRICT, ["own_logs"])
    assert beside.status.state is ConfigState.APPLYING
    settled = candidate.rest_settled(beside, b"1", [])
    assert settled.status.state is ConfigState.FAILED
