"""One trace as static HTML: a waterfall in SVG, and what each call cost. Needs no server, no script.

Everything in a span is outside text and is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

Json = dict[str, Any]

ROW, NAMES, CHART, GAP = 26, 300, 620, 80
MAX_ROWS = 500

PARTS = (
    ("queue_ms", "#9aa5b1", "queue and cold start"),
    ("prefill_ms", "#f59f00", "until the first token"),
    ("generation_ms", "#2fb344", "generation"),
)
_PLAIN, _ERROR = "#4299e1", "#d63939"

_STYLE = (
    "font:13px/1.4 system-ui,sans-serif;max-width:1000px;border:1px solid #8884;"
    "border-radius:6px;padding:12px;overflow-x:auto"
)


def rows(spans: Sequence[Json]) -> list[tuple[int, Json]]:
    """The spans as a tree, flattened: depth and span; orphans stand at the top.

    Spans that only carry scores are left out; scores stand at what they are about.
    """
    spans = [span for span in spans if not span.get("feedback")] or spans
    known = {span["span_id"] for span in spans}
    children: dict[str, list[Json]] = {}
    for span in spans:
        parent = span.get("parent_id") or ""
        children.setdefault(parent if parent in known else "", []).append(span)
    found = list(_walk(children))
    seen = {span["span_id"] for _, span in found}
    return [*found, *((0, span) for span in spans if span["span_id"] not in seen)]


def _walk(children: dict[str, list[Json]]) -> Iterator[tuple[int, Json]]:
    """Depth first, without recursion: a trace may be deeper than Python's stack."""
    waiting = [(0, span) for span in reversed(children.pop("", []))]
    while waiting:
        depth, span = waiting.pop()
        yield depth, span
        below = children.pop(span["span_id"], [])
        waiting += [(depth + 1, child) for child in reversed(below)]


def render(spans: Sequence[Json]) -> str:
    """The whole picture."""
    if not spans:
        return f'<div style="{_STYLE}">no spans</div>'
    every = rows(spans)
    shown = every[:MAX_ROWS]
    total = max(span["offset_ms"] + span["duration_ms"] for _, span in shown) or 1.0
    height = ROW * len(shown) + 24
    bars = "".join(_row(number, depth, span, total) for number, (depth, span) in enumerate(shown))
    left_out = len(every) - len(shown)
    more = f"<p>{left_out:,} more spans are not drawn.</p>" if left_out else ""
    return (
        f'<div style="{_STYLE}">{_heading(spans, total)}'
        f'<svg viewBox="0 0 {NAMES + CHART + GAP} {height}" width="100%" role="img" '
        f'aria-label="waterfall of {len(shown)} spans" style="color:inherit">{bars}</svg>'
        f"{_legend()}{more}{''.join(_call(span) for _, span in shown)}</div>"
    )


def scores(span: Json) -> str:
    """What counts of what was said about a span, in a few words; empty where nothing was."""
    counting = (score for score in span.get("scores") or () if score["latest"])
    return ", ".join(
        f"{score['name']} {score['label'] if score['value'] is None else format(score['value'], 'g')}"
        for score in counting
    )


def _heading(spans: Sequence[Json], total: float) -> str:
    first = spans[0]
    return (
        f"<strong>{escape(str(first['name']))}</strong> · {escape(str(first.get('service') or ''))}"
        f" · {said(total)} · <code>{escape(str(first['trace_id']))}</code>"
    )


def _row(number: int, depth: int, span: Json, total: float) -> str:
    y = number * ROW + 4
    indent = min(depth, 12) * 14
    name = escape(_short(_name(span), 40 - min(depth, 12) * 2))
    x, width = _place(span["offset_ms"], span["duration_ms"], total)
    end = min(x + width + 6, NAMES + CHART + 6)
    return (
        f'<text x="{indent}" y="{y + 13}" font-size="13" fill="currentColor">{name}</text>'
        f"{_bar(span, y, total)}"
        f'<text x="{end:.1f}" y="{y + 13}" font-size="12" fill="currentColor">{said(span["duration_ms"])}</text>'
    )


def _name(span: Json) -> str:
    said_of_it = scores(span)
    return f"{span['name']} ({said_of_it})" if said_of_it else str(span["name"])


def _place(offset_ms: float, duration_ms: float, total: float) -> tuple[float, float]:
    return NAMES + CHART * offset_ms / total, max(2.0, CHART * duration_ms / total)


def _bar(span: Json, y: int, total: float) -> str:
    x, width = _place(span["offset_ms"], span["duration_ms"], total)
    colour = _ERROR if span.get("status") == "error" else _PLAIN
    title = f"<title>{escape(_tip(span))}</title>"
    whole = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" rx="3" fill="{colour}">{title}</rect>'
    return whole + "".join(_parts(span, x, y, total))


def _parts(span: Json, x: float, y: int, total: float) -> Iterator[str]:
    timing = span.get("timing") or {}
    for key, colour, label in PARTS:
        ms = timing.get(key)
        if ms:
            width = CHART * ms / total
            yield (
                f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="10" fill="{colour}">'
                f"<title>{label}: {said(ms)}</title></rect>"
            )
            x += width


def _tip(span: Json) -> str:
    lines = [f"{span['name']}: {said(span['duration_ms'])}", span.get("model") or ""]
    if span.get("status") == "error":
        lines.append(f"{span.get('error_type') or 'error'}: {span.get('status_message') or ''}")
    return "\n".join(line for line in lines if line)


def _legend() -> str:
    marks = "".join(
        f'<span style="margin-right:14px"><span style="display:inline-block;width:10px;height:10px;'
        f'background:{colour};margin-right:5px"></span>{label}</span>'
        for _, colour, label in PARTS
    )
    return f'<div style="font-size:12px;margin:4px 0 8px">{marks}</div>'


def _call(span: Json) -> str:
    """What a model call was about, folded in."""
    if span.get("kind") != "llm":
        return ""
    facts = " · ".join(facts_of(span))
    messages = [*(span.get("input") or ()), *(span.get("output") or ())]
    body = "".join(message(m["role"], m["content"]) for m in messages) or hidden(span)
    return (
        f'<details style="margin:4px 0"><summary>{escape(str(span["name"]))} · {escape(facts)}'
        f"</summary>{body}</details>"
    )


def facts_of(span: Json) -> Iterator[str]:
    """Model, tokens, speed, end: what is known of a call."""
    if span.get("model"):
        yield str(span["model"])
    if span.get("tokens_total") is not None:
        yield f"{span.get('tokens_in')} tokens in, {span.get('tokens_out')} out"
    timing = span.get("timing") or {}
    if timing.get("ttft_ms") is not None:
        yield f"first token after {said(timing['ttft_ms'])}"
    if timing.get("tokens_per_s"):
        yield f"{timing['tokens_per_s']:.1f} tokens/s"
    if span.get("finish_reason"):
        yield f"ended by {span['finish_reason']}"


def message(role: str, content: str) -> str:
    """One chat message."""
    return (
        f'<div style="margin:6px 0 6px 12px"><em>{escape(role)}</em>'
        f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(content)}</div></div>'
    )


def hidden(span: Json) -> str:
    """Why there is no content."""
    level = escape(str(span.get("capture_level") or "unknown"))
    return f'<p style="opacity:.7">No content was recorded: capture.level was {level}.</p>'


def said(ms: float) -> str:
    """A duration for people."""
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
