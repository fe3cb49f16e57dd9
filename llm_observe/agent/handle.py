"""`observe`: the one call that an application makes. The handle that it gets back: `process`."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from llm_observe.agent import doors, standing
from llm_observe.agent.options import Options
from llm_observe.agent.process import Handle
from llm_observe.settings.documents import Fragment
from llm_observe.settings.model import Limits, Settings

__all__ = ["Handle", "begin", "current", "flush", "observe", "shutdown"]

logger = logging.getLogger("llm_observe")

_LOCK = threading.RLock()
_said: set[str] = set()
_current: tuple[Handle, dict[str, Any]] | None = None


def observe(
    service_name: str | None = None,
    *,
    server: str | None = None,
    opamp_endpoint: str | None = None,
    token: str | None = None,
    settings: Settings | Fragment | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    resource: Mapping[str, Any] | None = None,
    instrument: bool = True,
) -> Handle:
    """Observe this process's LLM calls from now on.

    Call it once, early. A second call changes nothing, warns if its arguments differ, and
    returns the first handle, so that it may stand in a script that is run again and again.

    Args:
        service_name: ``service.name``; default ``OTEL_SERVICE_NAME``, else the script's name.
        server: The control plane, such as ``http://127.0.0.1:4320``; default
            ``LLM_OBSERVE_SERVER``. Without one nothing is dialled.
        opamp_endpoint: An OpAMP endpoint other than the control plane's own; its scheme chooses
            the transport (``ws``, ``wss``: WebSocket; ``http``, ``https``: polling). Default
            ``LLM_OBSERVE_OPAMP_ENDPOINT``.
        token: Ingest token of the control plane; default ``LLM_OBSERVE_TOKEN``.
        settings: The program's own settings, above the environment and below remote ones.
        limits: What no layer may exceed, the remote one included.
        resource: Further resource attributes.
        instrument: False leaves client libraries unwrapped.

    Raises:
        SettingsError: ``settings``, ``limits`` or ``server`` are wrong; nothing was started.
    """
    global _current
    given: dict[str, Any] = {
        "service_name": service_name,
        "server": server,
        "opamp_endpoint": opamp_endpoint,
        "token": token,
        "settings": settings,
        "limits": limits,
        "resource": resource,
        "instrument": instrument,
    }
    arguments = doors.with_preset(given)
    with _LOCK:
        if _current is not None and not _current[0]._closed:
            _current = _again(*_current, arguments)
        else:
            _current = (Handle(_options(arguments)), arguments)
        return _current[0]


def begin() -> None:
    """Observe on a command line's word alone (`doors.preset`), until the program has its say.

    A program that is in the midst of its own `observe` is waited for, and has had it.
    """
    with _LOCK:
        if _current is None:
            observe().provisional = True


def _again(
    handle: Handle, before: dict[str, Any], arguments: dict[str, Any]
) -> tuple[Handle, dict[str, Any]]:
    """A further call; of a program that a command line spoke for, the first that counts."""
    if handle.provisional:
        if before != arguments:
            handle.take_over(_options(arguments))
        handle.provisional = False
        return handle, arguments
    if before != arguments:
        logger.warning("llm-observe: already observing; the new arguments are ignored")
    return handle, before


def _options(arguments: Mapping[str, Any]) -> Options:
    wanted = arguments["settings"]
    if wanted is not None and not isinstance(wanted, Settings):
        standing.schema().validate(wanted)
    options = doors.read_here(time.time(), **arguments)
    for problem in () if options.disabled else options.problems:
        _say_once(f"{problem}; it is ignored")
    return options


def _say_once(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        logger.warning("llm-observe: %s", sentence)


def current() -> Handle | None:
    """The handle of this process, or None before `observe`."""
    return _current[0] if _current else None


def flush(timeout_s: float = 5.0) -> bool:
    """Send what is queued, everywhere; True if nothing is left (or nothing is observed)."""
    handle = current()
    return handle.flush(timeout_s) if handle else True


def shutdown() -> None:
    """Stop observing this process."""
    handle = current()
    if handle:
        handle.shutdown()


def _after_fork_in_child() -> None:
    """Once per process and fork, however often it was observed."""
    global _LOCK
    _LOCK = threading.RLock()
    if _current is not None:
        _current[0].after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
