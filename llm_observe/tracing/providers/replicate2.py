"""Replicate's Python client, 2.x (2.0.0b4), on all its surfaces.

``Replicate.run``, ``replicate.run`` and their like import a function of ``replicate.lib`` when they
are called, so wrapping that covers names taken before we came. ``replicate.use`` gives an object
whose ``create`` opens a call; ``output`` and the iterators that it hands out go on with it, and
``stream`` is built on that. A low-level ``create`` opens a call too, which the resource's ``wait``,
``get`` and ``cancel`` go on with by the prediction's id: this client's predictions never change.
With raw and streaming responses the prediction is known once the app parses it.

No request is made for numbers: this client polls, and what it polls carries them. The library is
never imported here; its objects are read by attribute.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

from llm_observe.tracing.call import Call
from llm_observe.tracing.providers.base import Kind, Target
from llm_observe.tracing.providers.replicate import Replicate
from llm_observe.tracing.providers.replicate_answer import Handle
from llm_observe.tracing.providers.replicate_request import (
    DEFAULT_SERVER,
    family_of,
    host_and_port,
    model_of,
    operation_of,
    taken,
)

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def _run(instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``run(client, ref, *, input, …)``."""
    return _call(args[0], *model_of(args[1]), kwargs.get("input"))


def _create(instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``create(*, version, input)``; the version may be ``owner/name:id``."""
    version = str(kwargs.get("version") or "")
    model, _, id_ = version.rpartition(":")
    return _call(instance._client, model, id_, kwargs.get("input"))


def _create_of(owner: str, name: str, instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``create(*, model_owner, model_name, input)``, and the same of a deployment."""
    model = f"{kwargs.get(owner)}/{kwargs.get(name)}"
    return _call(instance._client, model, "", kwargs.get("input"))


def _use(instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``use(ref)(**input)``. The object makes a new client whenever it is asked for its client."""
    return _call(None, *model_of(instance._ref), kwargs)


def _call(client: Any, model: str, version: str, given: Any) -> Call:
    family, given, (host, port) = family_of(model), taken(given), _server_of(client)
    return Call(
        provider="replicate",
        system=family.system,
        operation=operation_of(family, given),
        request_model=model,
        model_version=version,
        server_address=host,
        server_port=port,
        inner=Handle2(client, given, False),
    )


def _server_of(client: Any) -> tuple[str, int | None]:
    """Host and port; of a client that is yet to be made, those that it will be told."""
    url = getattr(client, "_base_url", None) or os.environ.get("REPLICATE_BASE_URL")
    return host_and_port(str(url or DEFAULT_SERVER))


def _id(instance: Any, args: Args, kwargs: Kwargs) -> Hashable:
    return str(args[0] if args else kwargs.get("prediction_id"))


class Handle2(Handle):
    """What belongs to one call: also the object of ``use``, which holds the newest prediction."""

    __slots__ = ("run",)

    def __init__(self, client: Any, given: dict[str, Any], sent_events: bool) -> None:
        super().__init__(client, given, sent_events)
        self.run: weakref.ref[Any] | None = None


def _newest(handle: Handle2, value: Any) -> Any:
    """The newest prediction behind an object of the library; None if it tells none."""
    if hasattr(value, "_prediction"):
        handle.run = weakref.ref(value)
    run = handle.run() if handle.run is not None else None
    return value if _is_prediction(value) else getattr(run, "_prediction", None)


def _is_prediction(value: Any) -> bool:
    return hasattr(value, "id") and hasattr(value, "status") and hasattr(value, "urls")


_LIB, _USE = "replicate.lib._predictions_run", "replicate.lib._predictions_use"
_OF_VERSIONS, _OF_MODELS, _OF_DEPLOYMENTS = (
    f"replicate.resources.{place}"
    for place in ("predictions", "models.predictions", "deployments.predictions")
)


def _twins(module: str, name: str, kind: Kind, **more: Any) -> tuple[Target, Target]:
    """A method of the resource and the same of ``AsyncPredictionsResource``."""
    twin: Any = f"async_{kind}"
    return (
        Target(module, f"PredictionsResource.{name}", kind, **more),
        Target(module, f"AsyncPredictionsResource.{name}", twin, **more),
    )


_MODEL = partial(_create_of, "model_owner", "model_name")
_DEPLOYMENT = partial(_create_of, "deployment_owner", "deployment_name")


class Replicate2(Replicate):
    """The provider; it holds no state. Answers are those of 1.x, other classes around them."""

    majors = (2,)
    targets = (  # the module of the first is the last that ``import replicate`` loads
        Target(_USE, "Function.create", "open", request=_use),
        Target(_USE, "AsyncFunction.create", "async_open", request=_use),
        Target(_USE, "Run.output", "follow"),
        Target(_USE, "AsyncRun.output", "async_follow"),
        Target(_USE, "Run._output_iterator", "follow_lazy"),
        Target(_USE, "AsyncRun._async_output_iterator", "async_follow_lazy"),
        Target(_LIB, "run", "call", request=_run),
        Target(_LIB, "async_run", "async_call", request=_run),
        *_twins(_OF_VERSIONS, "create", "open", request=_create),
        *_twins(_OF_VERSIONS, "wait", "follow", subject=_id),
        *_twins(_OF_VERSIONS, "get", "follow", subject=_id),
        *_twins(_OF_VERSIONS, "cancel", "follow", subject=_id, ends=True),
        *_twins(_OF_MODELS, "create", "open", request=_MODEL),
        *_twins(_OF_DEPLOYMENTS, "create", "open", request=_DEPLOYMENT),
        Target("replicate._response", "APIResponse.parse", "follow"),
        Target("replicate._response", "AsyncAPIResponse.parse", "async_follow"),
    )

    def part(self, call: Call, value: Any) -> None:
        """A prediction, as new as can be had, or the object of ``use`` that holds it."""
        prediction = _newest(call.inner, value)
        if prediction is not None:
            super().part(call, prediction)

    def end(self, call: Call) -> None:
        """Keep what the newest prediction knows by now; it is read later."""
        handle: Handle2 = call.inner
        self.part(call, None)
        prediction = handle.prediction
        super().end(call)
        if prediction is not None:
            handle.seen["metrics"] = _metrics(handle.seen.get("metrics"))


def _metrics(metrics: Any) -> dict[str, Any]:
    """A model with fields of its own, and others that the server added."""
    known = getattr(metrics, "__dict__", {})
    return {**known, **(getattr(metrics, "__pydantic_extra__", None) or {})}
