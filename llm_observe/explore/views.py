"""One trace and one session as objects that a notebook shows by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from llm_observe.explore import waterfall

Json = dict[str, Any]

_BUBBLE = "max-width:75%;padding:8px 12px;border-radius:12px;margin:4px 0;white-space:pre-wrap;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Trace:
    """One trace. In a notebook it draws itself; `why` says where the time went."""

    trace_id: str
    spans: list[Json]

    def __repr__(self) -> str:
        shown = waterfall.rows(self.spans)
        lines = [f"trace {self.trace_id}: {len(shown)} span(s)"]
        for depth, span in shown:
            took, judged = waterfall.said(span["duration_ms"]), waterfall.scores(span)
            line = f"{'  ' * (depth + 1)}{span['name']}  {took}"
            lines.append(f"{line}  [{judged}]" if judged else line)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return waterfall.render(self.spans)

    @property
    def calls(self) -> list[Json]:
        """Its model calls, by start."""
        return [span for span in self.spans if span.get("kind") == "llm"]

    def why(self) -> str:
        """Where the time of its slowest call went, in one sentence."""
        if not self.calls:
            return "This trace holds no model call."
        call = max(self.calls, key=lambda span: float(span["duration_ms"]))
        timing, whole = call.get("timing") or {}, call["duration_ms"]
        parts = [(timing.get(key) or 0.0, label) for key, _, label in waterfall.PARTS]
        shares = [
            f"{label} {waterfall.said(ms)} ({ms / whole:.0%})"
            for ms, label in parts
            if ms and whole
        ]
        model = call.get("model") or "the model"
        if not shares:
            return f"{model} took {waterfall.said(whole)}; how it passed was not measured."
        return f"{model} took {waterfall.said(whole)}: {', '.join(shares)}; most of it {max(parts)[1]}."


@dataclass(frozen=True)
class Session:
    """One conversation, oldest turn first. In a notebook it shows itself as a chat."""

    session: str
    traces: list[Trace]

    def __repr__(self) -> str:
        lines = [f"session {self.session}: {len(self.traces)} turn(s)"]
        lines += [f"  {role}: {content}" for role, content, _ in self.turns()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        body = "".join(_bubble(*turn) for turn in self.turns())
        return (
            '<div style="font:13px/1.5 system-ui,sans-serif;max-width:720px;display:flex;'
            f'flex-direction:column">{body or "no turns"}</div>'
        )

    def turns(self) -> Iterator[tuple[str, str, str]]:
        """Role, text, and for an answer what it took. Each question stands once."""
        for trace in self.traces:
            for call in trace.calls[:1]:
                asked = [m for m in call.get("input") or () if m["role"] == "user"]
                level = call.get("capture_level") or "unknown"
                missing = f"(not recorded: capture.level was {level})"
                yield "user", asked[-1]["content"] if asked else missing, ""
                facts = " · ".join(waterfall.facts_of(call))
                yield "assistant", call.get("output_text") or missing, facts


def _bubble(role: str, content: str, facts: str) -> str:
    side, colour = ("flex-end", "#4299e133") if role == "user" else ("flex-start", "#8882")
    below = f'<div style="font-size:11px;opacity:.7">{escape(facts)}</div>' if facts else ""
    return f'<div style="{_BUBBLE};align-self:{side};background:{colour}">{escape(content)}{below}</div>'
