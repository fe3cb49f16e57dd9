"""One LLM call for its reader: why it took so long, what was said, and what hid the rest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llm_observe.control.ui import human
from llm_observe.spanstore.model import Message, Span

Part = Literal["queue", "prefill", "generation", "rest"]

LABELS: dict[Part, str] = {
    "queue": "Queue and cold start",
    "prefill": "Until the first token",
    "generation": "Generation",
    "rest": "Not broken down",
}
_VERDICTS: dict[Part, str] = {
    "queue": "waiting in the queue or for a cold start, before the model saw the prompt",
    "prefill": "reading the prompt, until the first token",
    "generation": "writing the answer",
    "rest": "a part that the provider does not break down",
}
SYSTEM = ("system", "developer")
CONTENT_LEVELS = ("redacted", "full")


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of the bar. ``left`` and ``width`` are percent of the call."""

    part: Part
    label: str
    ms: float
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Slowness:
    """Why a call took as long as it did: the parts in order, and the sentence."""

    segments: tuple[Segment, ...]
    verdict: str


def is_call(span: Span) -> bool:
    """Whether a span is an LLM call with timings, tokens or a model to show."""
    return span.kind == "llm" or (bool(span.model) and span.kind in ("", "span"))


def slowness(span: Span) -> Slowness:
    """The parts of a call's time, in the order in which they happened."""
    parts = _parts(span)
    total = sum(ms for _, ms in parts) or 1.0
    segments, left = [], 0.0
    for part, ms in parts:
        width = 100 * ms / total
        segments.append(Segment(part, LABELS[part], ms, round(left, 3), round(width, 3)))
        left += width
    return Slowness(tuple(segments), _verdict(span, segments))


def _parts(span: Span) -> list[tuple[Part, float]]:
    timing = span.timing
    known: list[tuple[Part, float | None]] = [
        ("queue", timing.queue_ms),
        ("prefill", timing.prefill_ms),
        ("generation", timing.generation_ms),
    ]
    parts = [(part, ms) for part, ms in known if ms is not None and ms > 0]
    rest = timing.duration_ms - sum(ms for _, ms in parts)
    if rest > 0.02 * timing.duration_ms or not parts:
        parts.append(("rest", max(rest, 0.0)))
    return parts


def _verdict(span: Span, segments: Sequence[Segment]) -> str:
    longest = max(segments, key=lambda segment: segment.ms)
    if longest.part == "rest" and len(segments) == 1:
        return "The provider told only the whole time, so it cannot be broken down."
    sentence = f"{longest.width:.0f} % of the time went into {_VERDICTS[longest.part]}"
    rate = span.timing.tokens_per_s
    if longest.part == "generation" and rate and span.tokens_out:
        sentence += f": {human.number(span.tokens_out)} tokens at {human.number(rate)} per second"
    return f"{sentence}."


@dataclass(frozen=True, slots=True)
class Hidden:
    """Why a call shows no content: a sentence, and the settings page that can change it."""

    reason: str
    where: str


def hidden(span: Span) -> Hidden | None:
    """What hid the content; None where there is content."""
    if span.input or span.output or span.output_text:
        return None
    if span.capture_level in CONTENT_LEVELS:
        return Hidden(
            f"The capture level was “{span.capture_level}”, but the call carried no content.", ""
        )
    if not span.capture_level:
        return Hidden("The span does not say at which capture level it was recorded.", "capture")
    return Hidden(
        f"The capture level “{span.capture_level}”, in force when this call was exported, "
        "keeps prompts and answers out.",
        "capture",
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of a conversation: what was new in its prompt, and its answer."""

    span: Span
    asked: tuple[Message, ...]
    answered: tuple[Message, ...]


def conversation(spans: Sequence[Span]) -> list[Turn]:
    """The calls of a session in order, each without what repeats the turns before it."""
    turns: list[Turn] = []
    told: set[str] = set()
    for span in spans:
        asked = [m for m in _latest(span.input) if m.role not in SYSTEM or m.content not in told]
        told |= {message.content for message in asked if message.role in SYSTEM}
        turns.append(Turn(span, tuple(asked), answers(span)))
    return turns


def _latest(messages: Sequence[Message]) -> list[Message]:
    """What came after the last answer that a prompt repeats, and the instructions before it."""
    last = max((i for i, m in enumerate(messages) if m.role == "assistant"), default=-1)
    return [m for i, m in enumerate(messages) if i > last or m.role in SYSTEM]


def answers(span: Span) -> tuple[Message, ...]:
    """What the model said."""
    if span.output or not span.output_text:
        return span.output
    return (Message("assistant", span.output_text),)
