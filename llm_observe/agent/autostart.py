"""Observation of a program that was not edited: what ``llm-observe run`` starts inside of it.

The program comes first. What it says itself, by calling `observe()`, must win over what the
command line said: its limits, above all. So nothing is observed at once. Clients are wrapped, and
observation begins with the first of

- the program's own `observe()`; what it leaves open is taken from the command line;
- the first LLM call;
- two seconds of running, so that a program that only waits for work is seen too.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, TracerProvider

from llm_observe.agent import doors, handle
from llm_observe.agent.exits import exits
from llm_observe.agent.options import default_service_name
from llm_observe.tracing.call import Call
from llm_observe.tracing.wrapping import instrument, patch

logger = logging.getLogger("llm_observe")

DOOR = "llm_observe.door"
"""Resource attribute: ``run`` for a program that was not edited."""

DELAY_S = 2.0
"""After so long the program is observed without having called anything."""

_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.semaphore_tracker")


def start(given: Mapping[str, Any]) -> None:
    """Make ready. ``given`` is what the command line said; see `llm_observe.cli.run_plan`."""
    if _is_helper(sys.orig_argv):
        return
    said = {name: given.get(name) for name in ("service_name", "server", "settings")}
    said["resource"] = {DOOR: "run"}
    doors.preset(**said)
    begin = Beginning(said, given.get("fallback_name") or None, patch.connected())
    patch.connect(begin)
    instrument.install()
    # Signals can only be looked after from the main thread, where we are now and not later.
    exits.open(_nothing, use_signals=doors.read_here(time.time()).signals)
    begin.wait()


def _nothing() -> None:
    """The last words of a program that is not observed yet."""


class Beginning:
    """Stands in for the recorder until observation has begun. Implements `patch.Recorder`."""

    def __init__(
        self, given: Mapping[str, Any], fallback_name: str | None, before: patch.Recorder | None
    ) -> None:
        self._given, self._fallback_name, self.before = given, fallback_name, before
        self._real: patch.Recorder | None = None
        self._renew()
        os.register_at_fork(after_in_child=self._forked)

    def prefer(self, recorder: patch.Recorder) -> None:
        """An instrumentor's recorder, whose provider is to be kept once observation begins."""
        self.before = recorder

    def wait(self) -> None:
        """Begin after a while, unless something else begins before."""
        timer = threading.Timer(DELAY_S, self._begun)
        timer.name, timer.daemon = "llm-observe-wait", True
        timer.start()

    @property
    def tracer_provider(self) -> TracerProvider:
        """Of the real recorder."""
        real = self._begun()
        return real.tracer_provider if real else trace.get_tracer_provider()

    def start(self, call: Call, context: Context | None = None) -> Span:
        """The program makes its first call."""
        real = self._begun()
        return real.start(call, context) if real else INVALID_SPAN

    def finish(self, span: Span, call: Call) -> None:
        """A call that was started here is over."""
        if self._real is not None:
            self._real.finish(span, call)

    def _begun(self) -> patch.Recorder | None:
        with self._beginning:
            if self._real is None and patch.connected() is self:
                self._begin()
            return self._real

    def _begin(self) -> None:
        try:
            doors.preset(**{**self._given, "service_name": self._name()})
            handle.begin()
        except Exception:  # the program must run on, whatever is wrong with us
            logger.exception("llm-observe: this program could not be observed")
        if patch.connected() is self:  # it is not observed; an instrumentor may record all the same
            patch.connect(self.before)
        self._real = patch.connected()

    def _name(self) -> str | None:
        known = default_service_name() != "unknown_service" or os.environ.get("OTEL_SERVICE_NAME")
        return self._given["service_name"] or (None if known else self._fallback_name)

    def _renew(self) -> None:
        self._beginning = threading.RLock()

    def _forked(self) -> None:
        self._renew()
        if patch.connected() is self:
            self.wait()


def _is_helper(argv: Sequence[str]) -> bool:
    """Python's own helper processes, which make no calls and would only be noise."""
    return any(name in word for word in argv[1:4] for name in _HELPERS)
