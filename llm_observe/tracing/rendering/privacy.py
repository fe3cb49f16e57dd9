"""Everything that decides what may leave, under one settings value: levels, and what is taken out.

Made on the thread that changes settings, at no cost; made ready by the worker that first needs it.
Each has a number, so that a request which left under an older one can be told to be looser or not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from llm_observe.policy.capture import ActiveGrant, CapturePolicy, Clocks, Levels
from llm_observe.policy.matching import Subject
from llm_observe.policy.tightening import capture_of_both, grants_of_both, redaction_of_both
from llm_observe.settings.model import Capture, CaptureLevel, Redaction
from llm_observe.tracing.clocks import present

if TYPE_CHECKING:
    from llm_observe.policy.redaction import Redactor

_RULES = "llm_observe.policy.rules"
_ANY = Subject()


class Exposure(NamedTuple):
    """Under what a request was made: the number of its `Privacy`, and the first end of a grant."""

    number: int
    until: Clocks | None


class Privacy:
    """Capture and redaction in force. Any thread; nothing changes but that grants end.

    The end of a grant is looked at for every span and once more when a request leaves, so a
    process that slept through an end records and sends nothing under it.

    Args:
        capture: Which levels hold.
        redaction: What is taken out at level ``redacted``.
        environ: Where the key of keyed hashes is read.
        former: What was in force before, if anything.
        grants: Those that are running; the ones in ``capture`` do not count by themselves.
        clocks: The present.
    """

    def __init__(
        self,
        capture: Capture,
        redaction: Redaction,
        environ: Mapping[str, str],
        former: Privacy | None = None,
        grants: tuple[ActiveGrant, ...] = (),
        clocks: Callable[[], Clocks] = present,
    ) -> None:
        self.capture, self.redaction = capture, redaction
        self._environ = environ
        self.grants, self._clocks = grants, clocks
        self._running = grants
        self._policy = CapturePolicy(capture, grants)
        self.number: int = former.number + 1 if former else 0
        self.floor = self._floor(former) if former else 0
        """The number from which on nothing has become tighter."""

    @property
    def most(self) -> int:
        """Characters of one value; 0 for no bound."""
        return self.capture.max_chars

    def levels(self, subject: Callable[[], Subject]) -> Levels:
        """The levels of a call; it is only looked at where calls may differ."""
        policy = self._at_present()
        return policy.levels(subject() if policy.depends_on_call else _ANY)

    def exposure(self) -> Exposure:
        """Under what a request is made that is made from now on."""
        self._at_present()
        ends = [grant.ends for grant in self._running]
        return Exposure(self.number, Clocks(*map(min, *ends, ends[0])) if ends else None)

    def outdates(self, exposure: Exposure) -> bool:
        """Whether a request that was made so must not leave any more."""
        if exposure.number < self.floor:
            return True
        return exposure.until is not None and self._clocks().reached(exposure.until)

    def _at_present(self) -> CapturePolicy:
        if self._running:
            now = self._clocks()
            left = tuple(grant for grant in self._running if not grant.over(now))
            if len(left) < len(self._running):  # for good, however the clock is set afterwards
                self._policy = CapturePolicy(self.capture, left)
                self._running = left
        return self._policy

    @property
    def strictest(self) -> CaptureLevel:
        """The lowest level that any part of any call may have."""
        return self._policy.strictest

    def redactor(self) -> Redactor:
        """What masks."""
        return self._redactor

    @cached_property
    def _redactor(self) -> Redactor:
        rules = importlib.import_module(_RULES)  # brings detectors and RE2: for workers only
        made: Redactor = rules.redactor(self.redaction, _key(self.redaction, self._environ))
        return made

    def _floor(self, former: Privacy) -> int:
        same_capture = capture_of_both(former.capture, self.capture) == former.capture
        same_redaction = redaction_of_both(former.redaction, self.redaction) == former.redaction
        same_grants = grants_of_both(former.grants, self.grants) == former.grants
        same = same_capture and same_redaction and same_grants
        return former.floor if same else self.number


def _key(redaction: Redaction, environ: Mapping[str, str]) -> bytes | None:
    name = redaction.hash_key.removeprefix("env:")
    value = environ.get(name, "") if name else ""
    return value.encode() or None
