from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.control.rules.arrived import capability_names, masked, plain, problems_of
from llm_observe.errors import Problem
from llm_observe.opamp.values import AgentCapabilities

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(ANY)
def test_any_attribute_value_becomes_json(value: object) -> None:
    json.dumps(plain(value), allow_nan=False)


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
)
def test_a_problem_survives_the_wire(path: str, found: str, expected: str) -> None:
    problem = Problem(path, found, expected)
    assert problems_of(f"{problem}\n{problem}") == (problem, problem)


def test_a_problem_of_the_whole_document_has_no_path() -> None:
    assert problems_of(str(Problem("", "a list", "a mapping"))) == (
        Problem("", "a list", "a mapping"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "api_key: s3cret",
        "  Authorization: Bearer s3cret",
        'password: "s3cret"',
        "client-secret: 's3cret'",
        '{"apiKey": "s3cret", "x": 1}',
        "token = s3cret",
        "x: {auth_token: s3cret, y: 1}",
        'access_token: "a\\"s3cret"',
    ],
)
def test_a_secret_is_masked_by_the_name_of_its_key(text: str) -> None:
    shown = masked(text.encode())
    assert b"s3cret" not in shown
    assert b"***(" in shown


@pytest.mark.parametrize("text", ["password: 4096", "token: 123456", "api-key: 7"])
def test_a_secret_that_is_a_number_is_one_still(text: str) -> None:
    assert text.split(": ")[1].encode() not in masked(text.encode()).split(b": ")[1][:5]


@pytest.mark.parametrize(
    "piece", ["a", "token", 'token:"', "token ", "a.", '{"secret', "token:'\\"]
)
def test_hostile_text_is_masked_in_the_time_that_its_length_needs(piece: str) -> None:
    """Four megabytes; a quadratic pattern would take hours."""
    masked((piece * (4_000_000 // len(piece))).encode())


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 4096",
        "token_ttl: 60s",
        "api_key: ${env:KEY}",
        "token: [REDACTED]",
        "password_file:\n  - a",
        "header: plain",
        "token: '***(ab12cd34)'",
        "authorization: env:HEADERS#authorization",
        "receivers:\n  otlp:\n    protocols: {http: {endpoint: 0.0.0.0:4318}}",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text.encode()) == text.encode()


@given(st.binary())
def test_masking_takes_whatever_comes(body: bytes) -> None:
    masked(body)


def test_capabilities_have_the_names_of_the_specification() -> None:
    bits = AgentCapabilities.ACCEPTS_REMOTE_CONFIG | (
        AgentCapabilities.ACCEPTS_OPAMP_CONNECTION_SETTINGS
    )
    assert capability_names(int(bits)) == ("AcceptsRemoteConfig", "AcceptsOpAMPConnectionSettings")
