"""Asking a destination whether it would take our spans, before it is used.

An empty request with the true headers. Whatever would make a real request fail makes the probe
fail, a redirect included. "Too many requests" passes: who throttles has understood.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llm_observe.errors import Problem
from llm_observe.settings.documents import join_path
from llm_observe.settings.model import Destination
from llm_observe.settings.places import LOCAL, place
from llm_observe.tracing.export import late
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.headers import resolve
from llm_observe.tracing.export.quiet import quiet
from llm_observe.tracing.export.target import asked, target_of
from llm_observe.tracing.export.verdict import Answer, explain
from llm_observe.tracing.gate import gate

if TYPE_CHECKING:
    from llm_observe.tracing.export.backend import Backend

_BACKEND = "llm_observe.tracing.export.backend"


def probe_all(
    destinations: Mapping[str, Destination],
    deadline: float,
    environ: Mapping[str, str] = os.environ,
) -> list[Problem]:
    """Probe several destinations at once; problems in the order of their names.

    Returns at ``deadline`` (monotonic clock) at the latest; who has not answered by then has failed.
    """
    probes = [_Probe(name, item, environ) for name, item in sorted(destinations.items())]
    for probe in probes:
        probe.start(deadline)
    return [problem for probe in probes if (problem := probe.result(deadline)) is not None]


class _Probe:
    def __init__(self, name: str, destination: Destination, environ: Mapping[str, str]) -> None:
        self._name, self._destination, self._environ = name, destination, environ
        self._problem: Problem | None = None
        self._exchange: Exchange | None = None
        self._thread: threading.Thread | None = None

    def start(self, deadline: float) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(deadline,), name=f"llm-observe-probe-{self._name}", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:  # the interpreter is ending, or the system is out of threads
            gate.report(error)
            self._problem = self._unreachable("no thread to ask it with")

    def result(self, deadline: float) -> Problem | None:
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread is not None and self._thread.is_alive():
            if self._exchange is not None:
                self._exchange.abort()
            return self._unreachable("no answer in time")
        return self._problem

    def _run(self, deadline: float) -> None:
        try:
            headers = resolve(self._destination, self._environ)
        except KeyFault as error:
            self._problem = self._blamed(error)
            return
        with quiet():
            answer = self._ask(headers, deadline)
        if not (answer.succeeded or answer.throttled):
            fault = answer.fault
            self._problem = self._blamed(fault) if fault else self._unreachable(explain(answer))

    def _ask(self, headers: Mapping[str, str], deadline: float) -> Answer:
        backend: Backend = late.load(_BACKEND).Backend(self._environ)
        self._exchange = Exchange(None, self._destination, deadline)
        try:
            signal = asked(self._destination)
            return backend.post(
                signal, self._destination, backend.nothing(), headers, self._exchange
            )
        finally:
            backend.close()

    def _blamed(self, fault: KeyFault) -> Problem:
        path = join_path(("destinations", self._name, *fault.key))
        return Problem(path, fault.found, fault.expected)

    def _unreachable(self, reason: str) -> Problem:
        key, where = "endpoint", target_of(self._destination).url(asked(self._destination))
        if self._destination.protocol in LOCAL:
            key, where = "protocol", place(self._destination)
        return Problem(
            join_path(("destinations", self._name, key)),
            f"{where}: {reason}",
            "a destination that accepts an empty OTLP request",
        )
