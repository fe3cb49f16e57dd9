"""Which web request a span belongs to: the route that the span around it tells.

A span remembers where its trace came into this process: the server's span around it, else the root.
Its route is read when the span leaves, because some frameworks know it only after they began.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanKind

from llm_observe.policy.globs import LONGEST

ROUTE = "http.route"
"""OTel semantic conventions, "HTTP server": the template, not the path."""

_ENTRANCE = "_llm_observe_entrance"


def remember(span: object, around: Span) -> None:
    """A span has begun inside another one.

    One reference, to an entrance that has none itself: a chain of spans that never ends is no leak.
    """
    said, there = _inside_of(span), _inside_of(around)
    if said is not None and there is not None and span.kind is not SpanKind.SERVER:  # type: ignore[attr-defined]  # it is the SDK's
        said[_ENTRANCE] = there.get(_ENTRANCE, around)


def hand_on(span: object, copy: ReadableSpan) -> None:
    """The copy of a span belongs where the span does."""
    said = _inside_of(span)
    if said is not None and _ENTRANCE in said:
        copy.__dict__[_ENTRANCE] = said[_ENTRANCE]


def route_of(span: object) -> str:
    """The route that a span tells itself, else that of its entrance; empty if neither does."""
    inside = _inside_of(span)
    if inside is None:
        return ""
    return _told(span) or _told(inside.get(_ENTRANCE))


def _told(span: object) -> str:
    attributes = getattr(span, "attributes", None)
    route = attributes.get(ROUTE) if isinstance(attributes, Mapping) else None
    return route[:LONGEST] if isinstance(route, str) else ""


def _inside_of(span: object) -> dict[str, object] | None:
    """Where it can be remembered; None for one that records nothing, or is not of the SDK's kind."""
    return span.__dict__ if isinstance(span, ReadableSpan) else None
