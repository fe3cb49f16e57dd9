"""Which traces are kept for how they went, when the share would drop them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm_observe.settings.model import KeepRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How a trace went, as far as this process saw it."""

    error: bool = False
    duration_s: float = 0.0
    first_chunk_s: float = 0.0
    """The longest wait for a first piece."""
    tokens: int = 0
    """Of all calls."""
    cost_usd: float = 0.0
    """Of all calls."""
    told_tokens: int = 0
    """The most that one span told that is no call; it may count what its calls counted."""
    told_cost_usd: float = 0.0
    score: float | None = None
    """The lowest."""

    def __add__(self, other: Facts) -> Facts:
        """Both together; the duration is that of the longer, since one span contains the other."""
        scores = [score for score in (self.score, other.score) if score is not None]
        return Facts(
            error=self.error or other.error,
            duration_s=max(self.duration_s, other.duration_s),
            first_chunk_s=max(self.first_chunk_s, other.first_chunk_s),
            tokens=self.tokens + other.tokens,
            cost_usd=self.cost_usd + other.cost_usd,
            told_tokens=max(self.told_tokens, other.told_tokens),
            told_cost_usd=max(self.told_cost_usd, other.told_cost_usd),
            score=min(scores, default=None),
        )


def wanted(keep: KeepRules) -> bool:
    """Whether any rule is set, so that traces must be held."""
    return keep.errors or any(getattr(keep, name) is not None for name in _BOUNDS)


def reason(facts: Facts, keep: KeepRules) -> str:
    """The rule by which a trace is kept, by its key in the settings; empty: by none."""
    if keep.errors and facts.error:
        return "errors"
    for name, beyond in _BOUNDS.items():
        bound = getattr(keep, name)
        if bound is not None and beyond(facts, bound):
            return name
    return ""


_BOUNDS: dict[str, Callable[[Facts, float], bool]] = {
    "slower_than_s": lambda facts, bound: facts.duration_s > bound,
    "first_chunk_over_s": lambda facts, bound: facts.first_chunk_s > bound,
    "tokens_over": lambda facts, bound: max(facts.tokens, facts.told_tokens) > bound,
    "cost_over_usd": lambda facts, bound: max(facts.cost_usd, facts.told_cost_usd) > bound,
    "score_under": lambda facts, bound: facts.score is not None and facts.score < bound,
}
