"""The short cuts say what OpenTelemetry's own functions say."""

import contextvars

import pytest
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current, set_value
from opentelemetry.sdk.trace import TracerProvider

from llm_observe.tracing import contexts


def test_the_current_context_is_opentelemetrys() -> None:
    token = attach(set_value("a", 1))
    try:
        assert contexts.current() is get_current()
    finally:
        detach(token)
    assert contexts.current() is get_current()


def test_a_span_is_put_where_opentelemetry_looks_for_it() -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    base = set_value("a", 1, Context())
    inside = contexts.with_span(base, span, "b", 2)
    assert trace.get_current_span(inside) is span
    assert (inside["a"], inside["b"]) == (1, 2)
    assert "b" not in base
    assert contexts.has_span(inside)
    assert contexts.has_span(trace.set_span_in_context(span, base))
    assert not contexts.has_span(base)
    assert isinstance(inside, Context)


def test_the_short_cut_is_taken_with_this_version() -> None:
    assert contexts._PLAIN


def test_what_ends_where_it_did_not_begin_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    token = contextvars.copy_context().run(contexts.enter, set_value("a", 1))
    before = get_current()
    contexts.leave(token)
    contexts.leave(None)
    assert get_current() is before
    assert not caplog.records


def test_a_context_is_current_only_while_the_function_runs() -> None:
    inside, outside = set_value("a", 1), get_current()
    assert contexts.within(inside, get_current) is inside
    assert contexts.within(None, get_current) is get_current() is outside
    with pytest.raises(ZeroDivisionError):
        contexts.within(inside, divmod, 1, 0)
    assert get_current() is outside
