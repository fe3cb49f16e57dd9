"""The door for those who instrument by OpenTelemetry's means: no `observe()`, no control plane.

``opentelemetry-instrument python app.py`` and Phoenix's ``register(auto_instrument=True)`` find
the classes here by entry points; a program may also call them::

    from llm_observe.instrumentor import ReplicateInstrumentor

    ReplicateInstrumentor().instrument(tracer_provider=provider)

Calls are recorded on the provider given, else on the global one. What is recorded of them is up to
``LLM_OBSERVE_CAPTURE_LEVEL`` and its like; a process that also calls `observe()` follows that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]  # its module switches type checking off
    BaseInstrumentor,
)

from llm_observe.settings.documents import document_hash
from llm_observe.settings.environment import read_environment, read_limits
from llm_observe.settings.layers import Layer, LayerValue, Resolved, resolve
from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.foreign.recorder import ForeignRecorder
from llm_observe.tracing.providers import PROVIDERS
from llm_observe.tracing.wrapping import instrument
from llm_observe.tracing.wrapping.patch import connect, connected

logger = logging.getLogger("llm_observe")

_HIDES_ALL = "hide_llm_invocation_parameters"


@runtime_checkable
class Waiting(Protocol):
    """What stands in for a recorder under ``llm-observe run`` before observation has begun."""

    def prefer(self, recorder: ForeignRecorder) -> None:
        """Record on this one's provider, later."""


class ReplicateInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # for the same reason
    """Records calls through ``replicate``; one per process, as OpenTelemetry wants it."""

    _recorder: ForeignRecorder | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The versions of the client that can be instrumented."""
        majors = {
            major for item in PROVIDERS if item.library == "replicate" for major in item.majors
        }
        return (f"replicate >= {min(majors)}.0, < {max(majors) + 1}",)

    def _instrument(self, **kwargs: Any) -> None:
        """Record from now on.

        Args:
            **kwargs: ``tracer_provider`` and ``meter_provider``, else the global ones;
                ``capture_level``, over the environment's and below its limits; ``config``, a
                `TraceConfig` of OpenInference, of which whatever hides something is obeyed.
        """
        already = connected()
        if already is not None and not isinstance(already, Waiting):
            self._decline(already.tracer_provider, kwargs.get("tracer_provider"))
            return
        resolved = _resolved(os.environ, kwargs.get("capture_level"), kwargs.get("config"))
        self._recorder = ForeignRecorder(
            resolved.settings,
            kwargs.get("tracer_provider"),
            kwargs.get("meter_provider"),
            document_hash(resolved.document).hex()[:16],
        )
        if isinstance(already, Waiting):
            already.prefer(self._recorder)  # `llm-observe run` will record there
            return
        connect(self._recorder)
        instrument.install()

    def _decline(self, there: object, wanted: object) -> None:
        """`observe()` came first. Silent where it records on the provider that is wanted."""
        if wanted is not None and wanted is not there:
            logger.warning(
                "llm-observe: observe() records the calls of this process already, on its own "
                "tracer provider; call it after yours is in place, or add a destination to it"
            )

    def _uninstrument(self, **kwargs: Any) -> None:
        """Record nothing more; what is over is ended. Leaves alone what `observe()` set up."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        if connected() is recorder:
            connect(None)
            instrument.uninstall()
        recorder.shutdown()

    def _renew(self) -> None:
        if self._recorder is not None:
            self._recorder.after_fork_in_child()


def _resolved(
    environ: Mapping[str, str], asked: str | CaptureLevel | None, config: object
) -> Resolved:
    """The settings of a process that has no control plane."""
    now = time.time()
    fragment, problems = read_environment(environ)
    limits, more = read_limits(environ)
    for problem in (*problems, *more):
        logger.warning("llm-observe: %s; it is ignored", problem)
    code = {} if asked is None else {"capture": {"level": str(CaptureLevel(asked))}}
    layers = {Layer.ENVIRONMENT: LayerValue(fragment, now), Layer.CODE: LayerValue(code, now)}
    level = min(limits.capture_level, _level_of(config), key=lambda item: item.rank)
    return resolve(layers, replace(limits, capture_level=level))


def _level_of(config: object) -> CaptureLevel:
    """The highest level under which nothing leaves that an OpenInference config hides."""
    hidden = {name for name in dir(config) if name.startswith("hide_") and getattr(config, name)}
    if _HIDES_ALL in hidden:
        return CaptureLevel.OFF
    return CaptureLevel.METADATA if hidden else CaptureLevel.FULL


def _after_fork() -> None:
    instance = ReplicateInstrumentor._instance
    if isinstance(instance, ReplicateInstrumentor):
        instance._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
