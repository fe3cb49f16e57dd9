"""Which traces are kept: consistent probability sampling.

The rule is OpenTelemetry's ("TraceState: Probability Sampling"): a trace has 56 bits of
randomness, its own id's or those given in the trace state (``ot=rv:…``); a ratio has a threshold of
56 bits; a trace is kept if its randomness reaches the threshold. Every process decides alike, what
a ratio keeps every larger ratio keeps too, and the threshold travels with the trace
(``ot=th:…``), so that totals can be estimated.

A session has randomness of its own, made from its id, which its traces are given.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from llm_observe.policy.matching import Subject, compile_matcher
from llm_observe.settings.model import Sampling

RANGE = 1 << 56
"""A threshold of so much keeps nothing; it cannot be written down."""

_MASK = RANGE - 1


def threshold(ratio: float) -> int:
    """The randomness from which on traces are kept at a ratio from 0 to 1."""
    return RANGE - round(ratio * RANGE)


def randomness(trace_id: int) -> int:
    """A trace's own randomness: the last 56 bits of its id (W3C Trace Context, level 2)."""
    return trace_id & _MASK


def session_randomness(session: str) -> int:
    """A session's randomness, the same in every process."""
    return int.from_bytes(hashlib.sha256(session.encode(errors="replace")).digest()[:7], "big")


def written_threshold(value: int) -> str:
    """A threshold as the trace state holds it: hexadecimal without its last zeros."""
    return f"{value:014x}".rstrip("0") or "0"


def without_threshold(written: str) -> str:
    """The value of ``ot`` for a trace that is dropped: no threshold; the rest as it was."""
    return ";".join(part for part in written.split(";") if not part.startswith("th:"))


class Head(NamedTuple):
    """A decision at the beginning of a trace."""

    keep: bool
    trace_state: str = ""
    """The value of ``ot`` in the trace state: the threshold of a trace that is kept, and the
    randomness of one that was given another than its id's."""

    off: bool = False
    """Such traces are never kept, whatever becomes of them: their share is 0."""


class Share:
    """A ratio made ready: both decisions there can be."""

    def __init__(self, ratio: float) -> None:
        self.threshold = threshold(ratio)
        self.off = self.threshold == RANGE
        self._kept = Head(True, f"th:{written_threshold(self.threshold)}")
        self._dropped = Head(False, "", self.off)

    def head(self, value: int) -> Head:
        """The decision for this randomness."""
        return self._kept if value >= self.threshold else self._dropped

    def head_of_session(self, session: str) -> Head:
        """The decision for all traces of a session."""
        value = session_randomness(session)
        keep, said, off = self.head(value)
        return Head(keep, ";".join(filter(None, (said, f"rv:{value:014x}"))), off)


class SamplingPolicy:
    """Decides at the beginning of traces. Made once per settings; pure, any thread."""

    def __init__(self, sampling: Sampling) -> None:
        self._share = Share(sampling.ratio)
        rules = sorted(sampling.rules.items(), key=lambda item: (item[1].order, item[0]))
        self._rules = [(compile_matcher(rule.match), Share(rule.ratio)) for _, rule in rules]
        self._by_session = sampling.by == "session"
        self.has_rules = bool(self._rules)
        self.asks = self.has_rules or self._by_session
        """Whether it looks at the subject at all; if not, `Subject()` will do."""
        self.may_be_off = any(share.off for share in (self._share, *(x for _, x in self._rules)))
        """Whether some traces have a share of 0."""

    def head(self, trace_id: int, subject: Subject) -> Head:
        """The decision for a trace that begins here."""
        share = self._of(subject)
        if self._by_session and subject.session:
            return share.head_of_session(subject.session)
        return share.head(randomness(trace_id))

    def off(self, subject: Subject) -> bool:
        """Whether such traces are never kept, not even where a caller elsewhere keeps them."""
        return self._of(subject).off

    def _of(self, subject: Subject) -> Share:
        return next((share for fits, share in self._rules if fits(subject)), self._share)
