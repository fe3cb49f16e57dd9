"""By which door observation came into this process, and on whose tracer provider it records.

`observe()` is one door. ``llm-observe run`` is another: what its command line said is kept here,
below what the program says itself. OpenTelemetry's own means (`llm_observe.instrumentor`) are a
third. Where a tracer provider is in place that is not ours, calls go there
(`llm_observe.tracing.foreign.pipeline`), so that the app's traces stay whole.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from llm_observe.agent.lastgood import RemoteState
from llm_observe.agent.options import Options, code_fragment, read_options
from llm_observe.errors import Problem
from llm_observe.settings.documents import merge
from llm_observe.settings.layers import Layer, LayerValue, resolve
from llm_observe.settings.model import Settings
from llm_observe.tracing.applying import Grants
from llm_observe.tracing.foreign.applying import name_of, not_enforceable, out_of_reach
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.starting import OwnProvider
from llm_observe.tracing.wrapping import patch

if TYPE_CHECKING:
    from llm_observe.tracing.foreign.pipeline import ForeignPipeline
    from llm_observe.tracing.foreign.recorder import ForeignRecorder

PROVIDER = "llm_observe.tracer_provider"
"""Resource attribute: the provider that calls are recorded on, where it is not ours."""

_ITS_OWN = "OTEL_EXPORTER_OTLP_"

_preset: dict[str, Any] = {}

Arguments = Mapping[str, Any]


def preset(**arguments: Any) -> None:
    """What `observe` takes where the program says nothing; settings and resource are merged."""
    _preset.clear()
    _preset.update({name: value for name, value in arguments.items() if value is not None})


def with_preset(arguments: Arguments) -> dict[str, Any]:
    """The program's arguments over those of the command line that started it."""
    said = {name: value for name, value in arguments.items() if value is not None}
    both = {**arguments, **_preset, **said}
    if "settings" in _preset and "settings" in said:
        both["settings"] = merge(_preset["settings"], code_fragment(said["settings"]))
    if "resource" in _preset:
        both["resource"] = {**_preset["resource"], **(said.get("resource") or {})}
    return both


def foreign_provider() -> trace.TracerProvider | None:
    """The tracer provider in place that is not ours: an instrumentor's, else the global one."""
    recorder = _instrumentors()
    provider = recorder.tracer_provider if recorder else trace.get_tracer_provider()
    ours = isinstance(provider, OwnProvider | trace.ProxyTracerProvider)
    return None if ours else provider


def make_pipeline(
    resource: Resource, settings: Settings, config_hash: str, grants: Grants = ()
) -> Pipeline | ForeignPipeline:
    """The pipeline of this process. Ours becomes the global provider where nobody has set one."""
    own = Pipeline(resource, settings, config_hash, grants=grants)
    provider, recorder = foreign_provider(), _instrumentors()
    if provider is not None:
        module = importlib.import_module("llm_observe.tracing.foreign.pipeline")
        meters = recorder.meter_provider if recorder else None
        foreign: ForeignPipeline = module.ForeignPipeline(provider, own, meters)
        return foreign
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(own.tracer_provider)
    return own


def _instrumentors() -> ForeignRecorder | None:
    """The recorder of an instrumentor that came before us; its module is not loaded for asking.

    Under ``llm-observe run`` it is kept by what stands in until observation begins.
    """
    module, recorder = sys.modules.get("llm_observe.tracing.foreign.recorder"), patch.connected()
    recorder = getattr(recorder, "before", recorder)
    there = module is not None and isinstance(recorder, module.ForeignRecorder)
    return cast("ForeignRecorder", recorder) if there else None


def wrapped_unasked() -> bool:
    """Whether ``llm-observe run`` wrapped the client libraries, and nobody else wants it so far."""
    waiting: Any = patch.connected()
    return hasattr(waiting, "before") and waiting.before is None


def read_here(now: float, **arguments: Any) -> Options:
    """`read_options` over this process's environment, as it can hold here.

    On a provider that is not ours the OTLP variables are that provider's: it reads them itself,
    and a second copy of every call would arrive at the same place. Sampling is its own too.
    """
    provider = foreign_provider()
    if provider is None:
        return read_options(os.environ, now, **arguments)
    environ = {key: text for key, text in os.environ.items() if not key.startswith(_ITS_OWN)}
    resource = {PROVIDER: name_of(provider), **(arguments.get("resource") or {})}
    options = read_options(environ, now, **{**arguments, "resource": resource})
    layers = {layer: _without_sampling(value) for layer, value in options.layers.items()}
    asked = [value for layer, value in options.layers.items() if layers[layer] != value]
    problems = [
        Problem(
            "sampling", str(dict(value.fragment["sampling"])), f"nothing; {out_of_reach(provider)}"
        )
        for value in asked
    ]
    return replace(options, layers=layers, problems=(*options.problems, *problems))


def _without_sampling(value: LayerValue) -> LayerValue:
    if "sampling" not in value.fragment:
        return value
    kept = {key: item for key, item in value.fragment.items() if key != "sampling"}
    return replace(value, fragment=kept)


def enforceable(remote: RemoteState, options: Options) -> RemoteState:
    """The saved remote settings, less what the provider in place cannot be made to obey.

    They were acknowledged by a process whose provider was ours. What does not hold here is not
    claimed to: the state becomes a refusal.
    """
    provider = foreign_provider()
    if provider is None or not remote.fragment:
        return remote
    local = resolve(options.layers, options.limits)
    wanted = resolve(
        {**options.layers, Layer.REMOTE: LayerValue(remote.fragment, remote.since)}, options.limits
    )
    problems = not_enforceable(local.settings, wanted.settings, provider)
    return remote.refusing(problems) if problems else remote
