"""What the settings say about instrumentation, put in force: for the whole process, and at once."""

from __future__ import annotations

import logging

from llm_observe.settings.model import Instrumentation
from llm_observe.tracing.gate import gate
from llm_observe.tracing.wrapping import instrument, recorder

_KILL = "instrumentation.enabled"
_LOGGER = "llm_observe"

_former: int | None = None
"""The level that the program gave our logger, while the settings give it another."""


def put_in_force(wanted: Instrumentation) -> None:
    """Let begin what may, from now on. Any thread; doing it again changes nothing."""
    recorder.pause(not wanted.enabled)
    instrument.switch(_off(wanted))
    with gate:
        _log(wanted.log_level)


def _off(wanted: Instrumentation) -> dict[str, str]:
    """What shall not be recorded, and which key says so."""
    if not wanted.enabled:
        return dict.fromkeys(instrument.known(), _KILL)
    return {
        name: f"instrumentation.providers.{name}.enabled"
        for name, provider in wanted.providers.items()
        if not provider.enabled
    }


def _log(level: str | None) -> None:
    """Only our own logger; what it had before is put back once the settings say nothing."""
    global _former
    logger = logging.getLogger(_LOGGER)
    if level is None:
        if _former is not None:
            logger.setLevel(_former)
        _former = None
        return
    if _former is None:
        _former = logger.level
    logger.setLevel(level.upper())
