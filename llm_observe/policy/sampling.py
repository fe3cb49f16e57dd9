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
from functools import lru_cache
from typing import NamedTuple

from llm_observe.policy.globs import LONGEST
from llm_observe.policy.matching import Known, Want, compile_for, patterns_of
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


class ShareOfSession:
    """The one decision for all traces of a session."""

    def __init__(self, share: Share, session: str) -> None:
        value = session_randomness(session)
        keep, said, self.off = share.head(value)
        self._head = Head(keep, f"{said};rv:{value:014x}".removeprefix(";"), self.off)

    def head(self, value: int) -> Head:
        """The decision, whatever the randomness of the trace."""
        return self._head


_SESSION: Want = ("session", "")

_REMEMBERED = 1024
"""So many kinds of traces are told apart without asking the rules again for each."""


class SamplingPolicy:
    """Decides at the beginning of traces. Made once per settings; pure, any thread."""

    def __init__(self, sampling: Sampling) -> None:
        self._share = Share(sampling.ratio)
        self._by_session = sampling.by == "session"
        rules = sorted(sampling.rules.items(), key=lambda item: (item[1].order, item[0]))
        looked_at = [want for _, rule in rules for want, _ in patterns_of(rule.match)]
        first = [_SESSION] if self._by_session or _SESSION in looked_at else []
        self.wants: tuple[Want, ...] = tuple(dict.fromkeys(first + looked_at))
        """What it looks at; `head` is told the values in this order."""
        self._rules = [
            (compile_for(rule.match, self.wants), Share(rule.ratio)) for _, rule in rules
        ]
        self.may_be_off = any(share.off for share in (self._share, *(x for _, x in self._rules)))
        """Whether some traces have a share of 0."""
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._of)

    def head(self, trace_id: int, known: Known = ()) -> Head:
        """The decision for a trace that begins here."""
        return self._share_of(known).head(trace_id & _MASK)

    def off(self, known: Known = ()) -> bool:
        """Whether such traces are never kept, not even where a caller elsewhere keeps them."""
        return self._share_of(known).off

    @property
    def remembered(self) -> int:
        """How many kinds of traces are told apart without asking the rules."""
        return self._remembered.cache_info().currsize

    def _share_of(self, known: Known) -> Share | ShareOfSession:
        if known and len(known[0] or "") > LONGEST:  # a session may have any length
            return self._of(known)
        return self._remembered(known)

    def _of(self, known: Known) -> Share | ShareOfSession:
        share = self._of_rules(known)
        if self._by_session and known[0]:
            return ShareOfSession(share, known[0])
        return share

    def _of_rules(self, known: Known) -> Share:
        for fits, share in self._rules:
            if fits(known):
                return share
        return self._share
