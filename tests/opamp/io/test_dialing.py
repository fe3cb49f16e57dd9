from __future__ import annotations

import ssl

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus, InvalidUpgrade
from websockets.frames import Close
from websockets.http11 import Response

from llm_observe.opamp.io.dialing import (
    asked_delay,
    is_loopback,
    reason,
    retry_after,
    websocket_url,
)

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.opamp("T-03")
@pytest.mark.parametrize(
    ("given", "dialled"),
    [
        ("http://h:4320", "ws://h:4320/v1/opamp"),
        ("https://h/", "wss://h/v1/opamp"),
        ("ws://h/other?x=1", "ws://h/other?x=1"),
        ("wss://[::1]:7/v1/opamp", "wss://[::1]:7/v1/opamp"),
        ("HTTP://h", "ws://h/v1/opamp"),
    ],
)
def test_an_address_becomes_a_websocket_url(given: str, dialled: str) -> None:
    assert websocket_url(given) == dialled


@pytest.mark.parametrize("url", ["", "h:4320", "ftp://h", "http://", "http://user:pass@h"])
def test_any_other_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="OpAMP") as caught:
        websocket_url(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("ws://localhost/", True),
        ("ws://127.0.0.9:1/", True),
        ("ws://[::1]/", True),
        ("ws://10.0.0.1/", False),
        ("ws://localhost.example.com/", False),
    ],
)
def test_loopback_is_told_from_the_rest(url: str, local: bool) -> None:
    assert is_loopback(url) is local


def refused(status: int, **headers: str) -> InvalidStatus:
    named = Headers((name.replace("_", "-"), value) for name, value in headers.items())
    return InvalidStatus(Response(status, "", named))


@pytest.mark.opamp("Y-04")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 500, float("inf")),
        ("Tue, 14 Nov 2023 22:13:50 +9999999999999999", None),
        ("Tue, 14 Nov 99999999999999999999 22:13:50 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, NOW) == seconds
    assert asked_delay(refused(503, Retry_After=value), NOW) == seconds


def test_what_is_no_digit_beside_digits_does_no_harm() -> None:
    assert retry_after({"Retry-After": "\x1e2"}, NOW) == 2.0


def test_two_wishes_are_none() -> None:
    error = refused(503, Retry_After="1")
    error.response.headers["Retry-After"] = "2"
    assert asked_delay(error, NOW) is None


def test_no_wish_is_no_delay() -> None:
    assert asked_delay(refused(503), NOW) is None
    assert asked_delay(OSError(), NOW) is None


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (refused(401), "the server wants a valid token (401)"),
        (refused(302), "the server answered 302 instead of upgrading to WebSocket"),
        (TimeoutError(), "the server did not answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError(), "cannot reach the server: OSError"),
        (InvalidUpgrade("Upgrade", "h2"), "not a WebSocket server (InvalidUpgrade)"),
        (KeyError("token"), "cannot connect (KeyError)"),
        (ConnectionClosedError(None, None), "the connection broke"),
        (
            ConnectionClosedError(Close(1009, "too big"), Close(1009, ""), True),
            "the server closed the connection (1009: too big)",
        ),
        (
            ConnectionClosedError(None, Close(1011, "keepalive ping timeout")),
            "the agent closed the connection (1011: keepalive ping timeout)",
        ),
    ],
)
def test_trouble_is_told_in_a_sentence(error: Exception, sentence: str) -> None:
    assert sentence in reason(error)


def test_an_untrusted_certificate_is_named_as_such() -> None:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_message = "self-signed certificate"
    assert reason(error) == "the server's certificate is not trusted: self-signed certificate"
