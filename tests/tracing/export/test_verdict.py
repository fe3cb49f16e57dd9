"""What an answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.tracing.export.verdict import Answer, Verdict, explain, judge


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.ACCEPTED),
        (202, Verdict.ACCEPTED),
        (301, Verdict.RETRY),
        (302, Verdict.RETRY),
        (307, Verdict.RETRY),
        (400, Verdict.DROP),
        (401, Verdict.RETRY),
        (403, Verdict.RETRY),
        (404, Verdict.RETRY),
        (413, Verdict.SPLIT),
        (422, Verdict.DROP),
        (429, Verdict.RETRY),
        (500, Verdict.ROTATE),
        (502, Verdict.RETRY),
        (503, Verdict.RETRY),
        (504, Verdict.RETRY),
        (0, Verdict.RETRY),
    ],
)
def test_each_status_has_its_meaning_for_spans(status: int, verdict: Verdict) -> None:
    assert judge(Answer(status), "traces", 10) is verdict


def test_a_single_span_that_is_too_large_is_given_up() -> None:
    assert judge(Answer(413), "traces", 1) is Verdict.DROP


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_destination_without_metrics_says_so(status: int) -> None:
    assert judge(Answer(status), "metrics", 1) is Verdict.UNSUPPORTED


@given(st.integers(0, 999), st.integers(1, 500))
def test_only_2xx_is_success(status: int, items: int) -> None:
    accepted = judge(Answer(status), "traces", items) is Verdict.ACCEPTED
    assert accepted is (200 <= status < 300)


def test_a_web_page_is_no_success() -> None:
    page = Answer(200, content_type="text/html; charset=utf-8", body=b"<html>")
    assert judge(page, "traces", 1) is Verdict.RETRY
    assert "web page" in explain(page)


def test_explanations_name_the_status_and_never_the_body() -> None:
    assert explain(Answer(503, body=b"secret")) == "HTTP 503 Service Unavailable"
    assert explain(Answer(302)) == "HTTP 302 Found, a redirect, which is not followed"
    assert explain(Answer(799)) == "HTTP 799"
    assert explain(Answer(0, "connection failed: connection refused")).endswith("refused")


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("OK", Verdict.ACCEPTED),
        ("CANCELLED", Verdict.RETRY),
        ("DEADLINE_EXCEEDED", Verdict.RETRY),
        ("ABORTED", Verdict.RETRY),
        ("OUT_OF_RANGE", Verdict.RETRY),
        ("UNAVAILABLE", Verdict.RETRY),
        ("DATA_LOSS", Verdict.RETRY),
        ("RESOURCE_EXHAUSTED", Verdict.SPLIT),
        ("UNAUTHENTICATED", Verdict.RETRY),
        ("PERMISSION_DENIED", Verdict.RETRY),
        ("NOT_FOUND", Verdict.RETRY),
        ("UNIMPLEMENTED", Verdict.RETRY),
        ("UNKNOWN", Verdict.ROTATE),
        ("INTERNAL", Verdict.ROTATE),
        ("INVALID_ARGUMENT", Verdict.DROP),
        ("ALREADY_EXISTS", Verdict.DROP),
        ("FAILED_PRECONDITION", Verdict.DROP),
    ],
)
def test_each_grpc_code_has_its_meaning_for_spans(code: str, verdict: Verdict) -> None:
    assert judge(Answer(0, code=code), "traces", 10) is verdict


def test_exhausted_resources_are_waited_for_only_if_a_time_is_given() -> None:
    """OTLP/gRPC, "Throttling"."""
    throttled = Answer(0, code="RESOURCE_EXHAUSTED", retry_after_s=2.0)
    assert throttled.throttled
    assert judge(throttled, "traces", 10) is Verdict.RETRY
    assert judge(Answer(0, code="RESOURCE_EXHAUSTED"), "traces", 1) is Verdict.DROP


def test_a_grpc_destination_without_metrics_says_so() -> None:
    assert judge(Answer(0, code="UNIMPLEMENTED"), "metrics", 1) is Verdict.UNSUPPORTED


def test_grpc_codes_are_named_with_our_own_reason() -> None:
    assert explain(Answer(0, code="UNAUTHENTICATED")) == "gRPC UNAUTHENTICATED"
    refused = Answer(0, "connection refused", code="UNAVAILABLE")
    assert explain(refused) == "gRPC UNAVAILABLE: connection refused"
