"""The filter for one span: made where it leaves, or on whatever thread ends it."""

from __future__ import annotations

import os
from collections.abc import Callable

from llm_observe.policy.matching import Subject
from llm_observe.settings.model import CaptureLevel, Settings
from llm_observe.tracing.gate import gate
from llm_observe.tracing.rendering.privacy import Privacy
from llm_observe.tracing.rendering.scrubbing import Filter

_last: tuple[Settings, Privacy] | None = None


def privacy_of(settings: Settings) -> Privacy:
    """What is made of these settings; made once, as long as they stay in force."""
    global _last
    last = _last
    if last is None or last[0] is not settings:
        last = settings, Privacy(settings.capture, settings.redaction, os.environ)
        _last = last
    return last[1]


def filter_under(privacy: Privacy, subject: Callable[[], Subject]) -> Filter:
    """What may leave of a span; nothing but the bare span, if that cannot be told."""
    try:
        return Filter(privacy.levels(subject), privacy.redactor, privacy.most)
    except Exception as error:  # noqa: BLE001  # content fails closed, the span goes on
        gate.report(error)
        return Filter(CaptureLevel.OFF)
