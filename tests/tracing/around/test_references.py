from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags

from llm_observe.tracing.around.references import current_reference, reference, resolve
from llm_observe.tracing.around.steps import trace
from tests.tracing.recorder import recording

TEXT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
SPAN = SpanContext(int("ab" * 16, 16), int("cd" * 8, 16), is_remote=True, trace_flags=TraceFlags(1))


@pytest.mark.parametrize(
    "target",
    [
        TEXT,
        f" {TEXT.upper()} ",
        "01-" + TEXT[3:],
        "01-" + TEXT[3:] + "-from-the-future",
        SPAN,
        NonRecordingSpan(SPAN),
        SimpleNamespace(reference=TEXT),
    ],
)
def test_everything_that_means_a_span(target: Any) -> None:
    assert resolve(target) == SPAN


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "x",
        7,
        TEXT[:-1],
        TEXT + "-more",
        "ff" + TEXT[2:],
        TEXT.replace("ab", "00"),
        TEXT.replace("cd", "00"),
        TEXT.replace("ab", "zz"),
        TEXT * 100,
        INVALID_SPAN,
        SimpleNamespace(reference=""),
    ],
)
def test_everything_that_means_none(target: Any) -> None:
    assert resolve(target) is None


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_there_and_back(trace_id: int, span_id: int, sampled: bool) -> None:
    span = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(sampled)))
    assert resolve(reference(span)) == span


@given(st.text(max_size=300))
def test_any_text_is_a_span_or_none(text: str) -> None:
    assert resolve(text) is None or resolve(reference(resolve(text))) == resolve(text)  # type: ignore[arg-type]  # not None there


def test_the_current_span() -> None:
    assert current_reference() == ""
    with recording(), trace("x") as step:
        assert current_reference() == step.reference
        assert current_reference()
