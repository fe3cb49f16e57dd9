"""How often redaction found something in this process, by rule. Numbers alone, never what was found."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping

from opentelemetry.sdk.trace import ReadableSpan

_MARK = "_llm_observe_tallied"


class Tally:
    """Each span counts once, when it first leaves, whatever the number of destinations. Any thread."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin at nothing, with a lock of one's own: in a forked child another thread may hold it."""
        self._lock, self._counts = threading.Lock(), Counter[str]()

    def add(self, span: ReadableSpan, finds: Mapping[str, int]) -> None:
        """What was found in a span that leaves."""
        if not finds:
            return
        with self._lock:
            if _MARK not in span.__dict__:
                span.__dict__[_MARK] = True
                self._counts.update(finds)

    def total(self) -> dict[str, int]:
        """Since the process began, by rule."""
        with self._lock:
            return dict(sorted(self._counts.items()))


tally = Tally()
"""The one of this process."""

os.register_at_fork(after_in_child=tally.clear)
