"""The filter for one span under one settings value, made on whatever thread ends the span."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from llm_observe.policy.matching import Subject
from llm_observe.settings.model import CaptureLevel, Settings
from llm_observe.tracing.call import Call
from llm_observe.tracing.gate import gate
from llm_observe.tracing.privacy import Privacy, subject_of_attributes, subject_of_call
from llm_observe.tracing.scrubbing import Filter

_last: tuple[Settings, Privacy] | None = None


def privacy_of(settings: Settings) -> Privacy:
    """What is made of these settings; made once, as long as they stay in force."""
    global _last
    last = _last
    if last is None or last[0] is not settings:
        last = settings, Privacy(settings.capture, settings.redaction, os.environ)
        _last = last
    return last[1]


def filter_for_call(settings: Settings, call: Call) -> Filter:
    """What may leave of a call."""
    return _filter(settings, lambda: subject_of_call(call))


def filter_for_attributes(settings: Settings, attributes: Mapping[str, Any]) -> Filter:
    """What may leave of a step with these attributes."""
    return _filter(settings, lambda: subject_of_attributes(attributes))


def _filter(settings: Settings, subject: Callable[[], Subject]) -> Filter:
    try:
        privacy = privacy_of(settings)
        return Filter(privacy.levels(subject), privacy.redactor(), privacy.most)
    except Exception as error:  # noqa: BLE001  # content fails closed, the span goes on
        gate.report(error)
        return Filter(CaptureLevel.OFF)
