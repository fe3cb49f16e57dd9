import json
from typing import Any

import pytest

from llm_observe.errors import SettingsError
from llm_observe.settings import schema


def problems(fragment: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        schema.validate(fragment)
    return {p.path: f"{p.found} / {p.expected}" for p in caught.value.problems}


def test_every_wrong_key_gets_its_own_line() -> None:
    found = problems(
        {
            "sampling": {"ratio": 1.5, "rate": 1},
            "capture": {"level": "loud"},
            "destinations": {"a": {"timeout_s": 0, "protocol": "udp"}},
            "extra": 1,
        }
    )
    assert found == {
        "sampling.ratio": "1.5 / a number of at most 1",
        "sampling.rate": "an unknown key / one of by, keep, per_second, ratio, rules",
        "capture.level": "\"loud\" / one of 'off', 'metadata', 'redacted' or 'full'",
        "destinations.a.timeout_s": "0 / a number above 0",
        "destinations.a.protocol": "\"udp\" / one of 'http/protobuf', 'grpc', 'file' or 'console'",
        "extra": "an unknown key / one of capture, conventions, destinations, instrumentation, redaction, sampling",
    }


def test_a_literal_secret_is_refused_and_never_echoed() -> None:
    fragment = {
        "destinations": {
            "a": {"endpoint": "http://h", "headers": {"authorization": "Bearer s3cret"}}
        }
    }
    found = problems(fragment)
    assert list(found) == ["destinations.a.headers.authorization"]
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    "endpoint",
    ["ftp://h", "h:1", "http://", "http://u:p@h", "http://h/?api_key=1", "http://h:99999"],
)
def test_an_endpoint_that_is_no_plain_url_is_refused(endpoint: str) -> None:
    found = problems({"destinations": {"a": {"endpoint": endpoint}}})
    assert list(found) == ["destinations.a.endpoint"]
    assert "u:p" not in str(found)


def test_a_path_and_grpc_do_not_go_together() -> None:
    found = problems({"destinations": {"a": {"endpoint": "http://h:1/x", "protocol": "grpc"}}})
    assert list(found) == ["destinations.a.endpoint"]
    schema.validate({"destinations": {"a": {"endpoint": "https://h:1/", "protocol": "grpc"}}})
    schema.validate({"destinations": {"a": {"endpoint": "https://h:1/x"}}})


def test_generations_that_are_not_offered_are_refused_with_those_that_are() -> None:
    assert problems({"conventions": {"genai": "1.42"}}) == {
        "conventions.genai": "\"1.42\" / one of '1.36' or '1.41'"
    }
    assert list(problems({"conventions": {"genai": 1.36}})) == ["conventions.genai"]


def test_yaml_and_json_read_alike() -> None:
    assert schema.parse(b"sampling: {ratio: 0.5}") == {"sampling": {"ratio": 0.5}}
    assert schema.parse(b'{"sampling": {"ratio": 0.5}}', "application/json") == {
        "sampling": {"ratio": 0.5}
    }
    assert schema.parse(b"") == {}


def test_the_word_off_stays_a_word() -> None:
    assert schema.parse(b"capture: {level: off}") == {"capture": {"level": "off"}}
    assert schema.parse(b"destinations: {a: {enabled: false}}") == {
        "destinations": {"a": {"enabled": False}}
    }


@pytest.mark.parametrize(
    "body", [b"a: &x 1\nb: *x", b"a: 1\na: 2", b"- 1", b"a: [", b"\xff\xfe\x00", b"1: {? [a] : 2}"]
)
def test_odd_documents_are_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(SettingsError):
        schema.parse(body)


def test_a_document_over_the_limit_is_refused() -> None:
    with pytest.raises(SettingsError, match="at most"):
        schema.parse(b"#" * (schema.MAX_BYTES + 1))


@pytest.mark.parametrize("ratio", [1e-9, 1e-06, 0.25, 1.0, 0.0])
def test_a_number_arrives_as_json_wrote_it(ratio: float) -> None:
    body = json.dumps({"sampling": {"ratio": ratio}}).encode()
    assert schema.parse(body, "application/json") == {"sampling": {"ratio": ratio}}
    assert schema.parse(body) == {"sampling": {"ratio": ratio}}
