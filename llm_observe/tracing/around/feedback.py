"""Feedback on a span, also after it has ended: a thumb, a grade, a judge's verdict.

OpenInference ("Annotations and Evaluations"): a span of its own carries the result, with exactly
one link to the span it is about. It is a child of that span besides, so that it shares its trace,
is kept if and only if that trace is kept, and is deleted with it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, Literal

from openinference.semconv.trace import SpanAttributes as OI
from opentelemetry import trace as otel
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, set_span_in_context

from llm_observe.conventions import SPAN_KIND
from llm_observe.tracing.around.references import resolve
from llm_observe.tracing.around.stepping import begin
from llm_observe.tracing.around.values import Bounds, encode_object
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping.recorder import connected, suppressed

logger = logging.getLogger(__name__)

Scope = Literal["span", "trace", "session"]

SPAN_NAME = "score"
MAX_NAME, MAX_LABEL, MAX_EXPLANATION = 128, 256, 16 * 1024
"""Characters. A longer name, label, kind or identifier is refused, a longer explanation is cut."""
_LIMITS = {
    "name": MAX_NAME,
    "label": MAX_LABEL,
    "annotator_kind": 32,
    "identifier": 256,
    "session": 512,
}
_LARGEST = 1e15
_PREFIXES = {
    "span": "annotations.0.annotation",
    "trace": "trace.annotations.0.annotation",
    "session": "session.annotations.0.annotation",
}
_said: set[str] = set()


class _Refused(ValueError):
    """Why there is no score; in words without content of the app."""


def score(
    name: str,
    value: float | bool | None = None,
    *,
    label: str = "",
    explanation: str = "",
    target: object = None,
    annotator_kind: str = "HUMAN",
    identifier: str = "",
    metadata: Mapping[str, Any] | None = None,
    scope: Scope = "span",
    session: str = "",
) -> bool:
    """Say how good something was that a span stands for; works long after it ended.

    Of several scores with the same target, name, annotator kind and identifier the latest counts.

    Args:
        name: What was judged: ``helpful``, ``correctness``.
        value: A finite number, or True and False for 1 and 0. Its range and direction are yours.
        label: A verdict in a word, one of few different ones: ``correct``.
        explanation: Why. Content: it leaves only as the capture level allows.
        target: What is judged: the ``reference`` of a step (or any ``traceparent`` text), a
            span, or a span context. By default the span that is current here.
        annotator_kind: ``HUMAN``, ``LLM`` or ``CODE``.
        identifier: Who or what judged, where several judge the same target by the same name.
        metadata: More to keep with it; content, as the explanation is.
        scope: Whether the target's span, its whole trace, or its session was judged.
        session: The session's id, by default that of `llm_observe.context`; the scope
            ``session`` needs one.

    Returns:
        Whether a score was recorded. False without a word where the target was not sampled (and is
        not held for a keep rule), or instrumentation is suppressed; False with one line in the log,
        the first time, where the score or its target is none. It never raises.
    """
    with gate:
        here = get_current()
        if suppressed(here):
            return False
        texts = {
            "name": name,
            "label": label,
            "annotator_kind": annotator_kind,
            "identifier": identifier,
            "session": session or here.get(OI.SESSION_ID) or "",
        }
        try:
            said = _texts(texts)
            fields = _fields(said, value, explanation, metadata)
            attributes = _attributes(fields, scope, said["session"])
            return _record(attributes, _target(target, here))
        except _Refused as refusal:
            _say_once(str(refusal))
    return False


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    texts = {key: "" if text is None else str(text).strip() for key, text in given.items()}
    for key, text in texts.items():
        if len(text) > _LIMITS[key]:
            raise _Refused(f"its {key} is longer than {_LIMITS[key]} characters")
    if not texts["name"]:
        raise _Refused("it has no name")
    return texts


def _fields(
    texts: Mapping[str, str], value: object, explanation: object, metadata: object
) -> dict[str, Any]:
    """The fields of an annotation, those that are there."""
    why = "" if explanation is None else Bounds(MAX_EXPLANATION).text(str(explanation))
    number = _number(value)
    if number is None and not (texts["label"] or why):
        raise _Refused("it has no value, no label and no explanation")
    fields: dict[str, Any] = {
        "name": texts["name"],
        "score": number,
        "label": texts["label"] or None,
        "explanation": why or None,
        "annotator_kind": texts["annotator_kind"] or None,
        "identifier": texts["identifier"] or None,
        "metadata": encode_object(metadata) if isinstance(metadata, Mapping) and metadata else None,
    }
    return {key: field for key, field in fields.items() if field is not None}


def _number(value: object) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever it is; that is found out here
    except (TypeError, ValueError, OverflowError):
        raise _Refused(f"its value is no number but a {type(value).__name__}") from None
    if not math.isfinite(number) or abs(number) > _LARGEST:
        raise _Refused(f"its value is not a number from {-_LARGEST:g} to {_LARGEST:g}")
    return number


def _attributes(fields: Mapping[str, Any], scope: str, session: str) -> dict[str, Any]:
    prefix = _PREFIXES.get(scope)
    if prefix is None:
        raise _Refused(f"its scope is none of {', '.join(_PREFIXES)}")
    if scope == "session" and not session:
        raise _Refused("its scope is a session, and no session is known")
    attributes = {SPAN_KIND: "EVALUATOR"}
    attributes |= {f"{prefix}.{key}": field for key, field in fields.items()}
    return attributes | ({OI.SESSION_ID: session} if session else {})


def _target(target: object, here: Context) -> SpanContext:
    found = resolve(otel.get_current_span(here) if target is None else target)
    if found is not None:
        return found
    if target is None:
        raise _Refused("no target was given, and no span is current")
    if target == "" or getattr(target, "reference", None) == "":
        raise _Refused("its target is empty: nothing recorded there, or observe() was not called")
    raise _Refused(f"its target is no reference to a span (a {type(target).__name__})")


def _record(attributes: Mapping[str, Any], target: SpanContext) -> bool:
    if not (target.trace_flags.sampled or _held(target)):
        return False
    there = set_span_in_context(NonRecordingSpan(target), Context())
    handle = begin(SPAN_NAME, "evaluator", there, attributes, [Link(target)])
    recording = handle.span.is_recording()
    handle.end()
    return recording


def _held(target: SpanContext) -> bool:
    """Whether its trace is recorded all the same, since a keep rule may want it."""
    holds = getattr(connected(), "holds", None)
    return holds is not None and bool(holds(target.trace_id))


def _say_once(reason: str) -> None:
    if reason not in _said and len(_said) < 64:
        _said.add(reason)
        logger.warning("a score was not recorded: %s", reason)
