"""Who takes personal data out of spans, each as its documentation says, and equal rules for all.

Runs in the environment that has the peers; see `redaction.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from langfuse._client.span_exporter import LangfuseTransformingSpanExporter
from langfuse.types import MaskOtelSpansResult, OtelSpanPatch
from logfire._internal.scrubbing import NOOP_SCRUBBER, Scrubber
from logfire._internal.utils import span_to_dict
from openinference.instrumentation import TraceConfig
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from llm_observe.policy import rules as policy
from llm_observe.settings.model import (
    Capture,
    CaptureLevel,
    DetectorChoice,
    PatternRule,
    Redaction,
)
from llm_observe.tracing.export.entry import Entry
from llm_observe.tracing.export.present import present_all
from llm_observe.tracing.rendering.privacy import Privacy

FOUR = ("email", "card", "ip", "phone")
TWELVE = (*FOUR, "secret", "iban", "media", "id-cn", "id-us", "id-in", "id-gb-nhs", "id-br")
PATTERNS = {
    "email": r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}",
    "card": r"\b[3-6][0-9]{3}(?:[ -]?[0-9]{4}){3}\b",
    "ip": r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b",
    "phone": r"\+[1-9][0-9]{0,2}[ -][0-9 -]{6,14}[0-9]",
    "key": r"\bsk-[A-Za-z0-9_-]{16,64}",
    "iban": r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b",
    "ssn": r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    "aws": r"\bA(?:KIA|SIA)[A-Z0-9]{16}\b",
    "github": r"\bgh[pousr]_[A-Za-z0-9]{36}",
    "jwt": r"\beyJ[A-Za-z0-9_-]{5,512}\.[A-Za-z0-9_-]{5,512}\.[A-Za-z0-9_-]{5,512}",
    "uuid": r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
    "id-cn": r"\b[1-9][0-9]{16}[0-9Xx]\b",
}


Attributes = Mapping[str, Any]
Run = Callable[[Any], Attributes]
"""From a finished span to the attributes that would be exported."""


class Rules(NamedTuple):
    """One set of rules, for everybody."""

    settings: Any
    """Ours."""
    expressions: dict[str, list[tuple[re.Pattern[str], Callable[[re.Match[str]], Any]]]]
    """Name to patterns for `re`, and which part of a match is the find, after a second look."""


def rules_of(name: str) -> Rules:
    """The rules by their name in the table."""
    count, _, kind = name.partition(" ")
    names = {"4": FOUR, "12": TWELVE, "all": policy.available()}.get(count, ())
    if kind == "patterns":
        chosen = dict(list(PATTERNS.items())[: int(count)])
        names = ()
    else:
        chosen = {}
    detectors = {each: DetectorChoice(enabled=each in names) for each in policy.available()}
    settings = Redaction(
        detectors=detectors,
        patterns={each: PatternRule(pattern=text) for each, text in chosen.items()},
    )
    expressions = {each: [(re.compile(text), _whole)] for each, text in chosen.items()}
    for rule in policy.redactor(settings, None).rules if not chosen else ():
        shape: Any = rule.find
        expressions.setdefault(rule.name, []).append((shape._pattern, shape._spans))
    return Rules(settings, expressions)


def _whole(found: re.Match[str]) -> Any:
    return (found.span(),)


def ours(rules: Rules) -> Run:
    """The export stage of this library, for a span of another instrumentor."""
    privacy = Privacy(Capture(level=CaptureLevel.REDACTED), rules.settings, {})
    resource = Resource({"service.name": "bench"})

    def run(span: Any) -> Attributes:
        (made,) = present_all([Entry(span)], privacy, resource)
        found: Attributes = made.attributes or {}
        return found

    return run


def langfuse(rules: Rules) -> Run:
    """Langfuse's exporter with a `mask_otel_spans` that runs the rules over every text."""

    def mask(*, params: Any) -> Any:
        patches = {}
        for identifier, span in params.spans.items():
            changed = {
                key: masked
                for key, value in span.attributes.items()
                if isinstance(value, str) and (masked := without(value, rules)) is not value
            }
            patches[identifier] = OtelSpanPatch(set_attributes=changed)
        return MaskOtelSpansResult(span_patches=patches)

    sink = _Sink()
    exporter = LangfuseTransformingSpanExporter(
        exporter=sink, media_manager=None, mask_otel_spans=mask
    )

    def run(span: Any) -> Attributes:
        exporter.export([span])
        return sink.take()

    return run


def without(text: str, rules: Rules) -> str:
    """A text without its finds, as one writes it with `re`."""
    finds = sorted(
        (start, -end, name)
        for name, expressions in rules.expressions.items()
        for pattern, spans in expressions
        for found in pattern.finditer(text)
        for start, end in spans(found)
    )
    if not finds:
        return text
    pieces, position = [], 0
    for start, end, name in finds:
        if start >= position:
            pieces += [text[position:start], f"[{name}]"]
        position = max(position, -end)
    return "".join((*pieces, text[position:]))


def logfire(rules: Rules) -> Run:
    """Logfire's scrubber and the copy of the span that it needs; its own 20 patterns besides."""
    texts = [_scoped(pattern) for each in rules.expressions.values() for pattern, _ in each]
    scrubber = Scrubber(texts) if texts else NOOP_SCRUBBER

    def run(span: Any) -> Attributes:
        copied: Any = span_to_dict(span)
        scrubber.scrub_span(copied)
        return ReadableSpan(**copied).attributes or {}

    return run


def _scoped(pattern: re.Pattern[str]) -> str:
    """A pattern that can stand beside others: its flags hold for itself."""
    text = pattern.pattern
    for flag in ("i", "a"):
        if text.startswith(f"(?{flag})"):
            return f"(?{flag}:{text[4:]})"
    return f"(?:{text})"


def openinference(rules: Rules) -> Run:
    """OpenInference's `TraceConfig`, which hides by key and looks into nothing."""
    hides = bool(rules.expressions)
    config = TraceConfig(
        hide_inputs=hides, hide_outputs=hides, hide_llm_invocation_parameters=hides
    )

    def run(span: Any) -> Attributes:
        kept = {}
        for key, value in span.attributes.items():
            masked = config.mask(key, value)
            if masked is not None:
                kept[key] = masked
        return kept

    return run


CONTENDERS: dict[str, Callable[[Rules], Run]] = {
    "ours": ours,
    "Langfuse": langfuse,
    "Logfire": logfire,
    "OpenInference": openinference,
}


class _Sink:
    """An exporter that keeps the last span."""

    def __init__(self) -> None:
        self._last: Any = None

    def export(self, spans: Sequence[Any]) -> None:
        """Keep it."""
        (self._last,) = spans

    def take(self) -> Attributes:
        """Its attributes."""
        found: Attributes = self._last.attributes
        return found
