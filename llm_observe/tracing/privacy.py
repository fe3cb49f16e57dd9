"""Everything that decides what may leave, under one settings value: levels, and what is taken out.

Made on the thread that changes settings, at no cost; made ready by the worker that first needs it.
Each has a number, so that a request which left under an older one can be told to be looser or not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from llm_observe.policy.capture import CapturePolicy, Levels
from llm_observe.policy.matching import Subject
from llm_observe.policy.tightening import capture_of_both, redaction_of_both
from llm_observe.settings.model import Capture, CaptureLevel, Redaction
from llm_observe.tracing.call import Call

if TYPE_CHECKING:
    from llm_observe.policy.redaction import Redactor

_RULES = "llm_observe.policy.rules"
_ANY = Subject()


class Privacy:
    """Capture and redaction in force. Immutable; any thread.

    Args:
        capture: Which levels hold.
        redaction: What is taken out at level ``redacted``.
        environ: Where the key of keyed hashes is read.
        former: What was in force before, if anything.
    """

    def __init__(
        self,
        capture: Capture,
        redaction: Redaction,
        environ: Mapping[str, str],
        former: Privacy | None = None,
    ) -> None:
        self.capture, self.redaction = capture, redaction
        self._environ = environ
        self._policy = CapturePolicy(capture)
        self.number: int = former.number + 1 if former else 0
        self.floor = self._floor(former) if former else 0
        """The number from which on nothing has become tighter."""

    @property
    def most(self) -> int:
        """Characters of one value; 0 for no bound."""
        return self.capture.max_chars

    def levels(self, subject: Callable[[], Subject]) -> Levels:
        """The levels of a call; it is only looked at where calls may differ."""
        return self._policy.levels(subject() if self._policy.depends_on_call else _ANY)

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
        return former.floor if same_capture and same_redaction else self.number


def _key(redaction: Redaction, environ: Mapping[str, str]) -> bytes | None:
    name = redaction.hash_key.removeprefix("env:")
    value = environ.get(name, "") if name else ""
    return value.encode() or None


def subject_of_attributes(attributes: Mapping[str, Any], service: str = "") -> Subject:
    """What a span of another instrumentor tells."""
    texts = _texts(attributes)
    return Subject(service=service, attributes=texts, **_found(texts))


def subject_of_call(
    call: Call, service: str = "", attributes: Mapping[str, Any] = MappingProxyType({})
) -> Subject:
    """What a call tells; ``attributes``: what others put on its span."""
    return Subject(
        service=service,
        provider=call.provider,
        model=call.request_model,
        session=call.session,
        user=call.user,
        attributes=_texts({**attributes, **call.attributes}),
    )


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: str(value) for key, value in attributes.items() if isinstance(value, str | int | float)
    }


_KEYS = {
    "provider": ("gen_ai.provider.name", "llm.provider", "gen_ai.system"),
    "model": ("gen_ai.request.model", "llm.model_name"),
    "session": ("session.id", "gen_ai.conversation.id"),
    "user": ("user.id", "enduser.id"),
}


def _found(attributes: Mapping[str, str]) -> dict[str, str]:
    return {
        name: next((attributes[key] for key in keys if key in attributes), "")
        for name, keys in _KEYS.items()
    }
