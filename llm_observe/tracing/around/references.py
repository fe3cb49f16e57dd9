"""References to spans: short texts that an app keeps, passes over HTTP, and scores later.

A reference is the ``traceparent`` of W3C Trace Context (section 3.2), so that any other tracer
can make and read one too. It holds two random ids and whether the trace is recorded; nothing of
what was said.
"""

from __future__ import annotations

import re

from opentelemetry.trace import Span, SpanContext, TraceFlags, get_current_span

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_LONGEST = 256


def current_reference() -> str:
    """The reference of the span that is current here; empty where there is none."""
    return reference(get_current_span().get_span_context())


def reference(span: SpanContext) -> str:
    """The reference of a span; empty for an invalid one."""
    if not span.is_valid:
        return ""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{int(span.trace_flags) & 1:02x}"


def resolve(target: object) -> SpanContext | None:
    """The span that a reference, a span or a span context means; None where it means none."""
    if isinstance(target, Span):
        target = target.get_span_context()
    if isinstance(target, SpanContext):
        return target if target.is_valid else None
    text = getattr(target, "reference", target)
    return _parsed(text) if isinstance(text, str) and len(text) <= _LONGEST else None


def _parsed(text: str) -> SpanContext | None:
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    flags = TraceFlags(int(found[4], 16) & 1)
    span = SpanContext(int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=flags)
    return span if span.is_valid else None
