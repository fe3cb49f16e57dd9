from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_observe.opamp._pb import opamp_pb2
from llm_observe.opamp.connections import (
    ConnectionOffer,
    ConnectionSettings,
    ProxySettings,
    TLSSettings,
    origin,
)
from llm_observe.opamp.connections_codec import allowed, offer_from_pb, offer_to_pb
from llm_observe.opamp.values import AgentCapabilities

TEXT = st.text(max_size=5)
HEADERS = st.dictionaries(TEXT, TEXT, max_size=2)
TLS = st.builds(
    TLSSettings, TEXT, st.booleans(), st.booleans(), TEXT, TEXT, st.lists(TEXT).map(tuple)
)
PROXY = st.builds(ProxySettings, TEXT, HEADERS)
PLAIN = st.builds(ConnectionSettings, TEXT, st.none() | HEADERS, st.none() | TLS, st.none() | PROXY)
OPAMP = st.builds(
    lambda settings, beat: dataclasses.replace(settings, heartbeat_s=beat),
    PLAIN,
    st.integers(0, 2**64 - 1),
)
OTHER = st.builds(
    lambda settings, other: dataclasses.replace(settings, other=other), PLAIN, HEADERS
)
OFFERS = st.builds(
    ConnectionOffer,
    st.binary(max_size=4),
    st.none() | OPAMP,
    st.none() | PLAIN,
    st.none() | PLAIN,
    st.none() | PLAIN,
    st.dictionaries(TEXT, OTHER, max_size=2),
)


@pytest.mark.opamp("X-02", "X-05")
@given(OFFERS)
@settings(max_examples=25, deadline=None)
def test_an_offer_survives_the_wire(offer: ConnectionOffer) -> None:
    pb = opamp_pb2.ConnectionSettingsOffers.FromString(offer_to_pb(offer).SerializeToString())
    assert offer_from_pb(pb) == offer


def test_a_client_certificate_is_noticed() -> None:
    pb = opamp_pb2.ConnectionSettingsOffers()
    pb.opamp.certificate.private_key = b"key"
    opamp = offer_from_pb(pb).opamp
    assert opamp is not None
    assert opamp.certificate


def test_headers_of_one_name_are_joined() -> None:
    pb = opamp_pb2.ConnectionSettingsOffers()
    for value in "ab":
        pb.opamp.headers.headers.add(key="X", value=value)
    opamp = offer_from_pb(pb).opamp
    assert opamp is not None
    assert opamp.headers == {"X": "a, b"}


def test_an_offer_without_anything_the_agent_takes_is_none() -> None:
    offer = ConnectionOffer(b"h", opamp=ConnectionSettings("ws://a"))
    assert allowed(offer, AgentCapabilities.REPORTS_OWN_METRICS) is None
    assert allowed(offer, AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS) == offer


@pytest.mark.opamp("SEC-06")
def test_nothing_that_may_be_a_credential_shows() -> None:
    secret = ConnectionSettings(
        "wss://user:hunter2@host:4320/hunter2?t=hunter2",
        {"Authorization": "hunter2"},
        TLSSettings("hunter2"),
        ProxySettings("http://u:hunter2@p", {"X": "hunter2"}),
        other={"password": "hunter2"},
    )
    text = repr(ConnectionOffer(b"h", opamp=secret, other={"db": secret}))
    text += repr(secret.tls) + repr(secret.proxy)
    assert "hunter2" not in text
    assert "wss://host:4320" in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("no url", ""),
        ("WSS://u:p@x@Host:1/p?q#f", "wss://host:1"),
        ("http://[::1]:4320/v1", "http://[::1]:4320"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, shown: str) -> None:
    assert origin(url) == shown
