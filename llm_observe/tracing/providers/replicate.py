"""Replicate's Python client, 1.x, on all its surfaces.

``Client.run`` and its like call the globals of ``replicate.client``, so wrapping those covers
``replicate.run``, ``Client().run`` and names imported before we came. A low-level ``create`` opens
a call that the prediction's methods go on with; inside a ``run`` or a ``stream`` it hands its
prediction, which carries the numbers, to that call. ``get`` of a prediction that this process did
not open, or no longer holds, is no call.

The library is never imported here; its objects are read by attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from time import perf_counter_ns
from typing import Any

from llm_observe.tracing.call import Call
from llm_observe.tracing.providers.base import Kind, Target
from llm_observe.tracing.providers.replicate_answer import (
    TERMINAL,
    Handle,
    estimate,
    finish_reason,
    kept,
    output_messages,
    piece_text,
    read_prediction,
    received_text,
    stream_done,
)
from llm_observe.tracing.providers.replicate_fetch import fetch
from llm_observe.tracing.providers.replicate_request import (
    family_of,
    inputs,
    model_of,
    operation_of,
    server_of,
    taken,
    version_of,
)

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def _run(sent_events: bool, instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``run(client, ref, input=None, **params)``, and ``stream`` alike."""
    try:
        client, ref, given, *_ = args
    except ValueError:  # some by name
        client, ref = _argument(args, kwargs, 0, "client"), _argument(args, kwargs, 1, "ref")
        given = _argument(args, kwargs, 2, "input")
    return _call(client, *model_of(ref), given, sent_events)


def _create(instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``create(version, input)``, or ``create(model=…)``, or ``create(deployment=…)``."""
    given = _argument(args, kwargs, 1, "input")
    ref = kwargs.get("model") or kwargs.get("deployment")
    if ref is not None:
        return _call(instance._client, *model_of(ref), given)
    version = version_of(_argument(args, kwargs, 0, "version"))
    return _call(instance._client, "", version, given)


def _create_of(name: str, instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``create(model, input)`` or ``create(deployment, input)``."""
    ref = _argument(args, kwargs, 0, name)
    return _call(instance._client, *model_of(ref), _argument(args, kwargs, 1, "input"))


def _create_here(instance: Any, args: Args, kwargs: Kwargs) -> Call:
    """``deployment.predictions.create(input)``."""
    ref = instance._deployment
    return _call(instance._client, *model_of(ref), _argument(args, kwargs, 0, "input"))


def _call(client: Any, model: str, version: str, given: Any, sent_events: bool = False) -> Call:
    family, given, (host, port) = family_of(model), taken(given), server_of(client)
    return Call(
        provider="replicate",
        system=family.system,
        operation=operation_of(family, given),
        request_model=model,
        model_version=version,
        server_address=host,
        server_port=port,
        streaming=sent_events,
        inner=Handle(client, given, sent_events),
    )


def _id(instance: Any, args: Args, kwargs: Kwargs) -> Hashable:
    return str(_argument(args, kwargs, 0, "id"))


def _argument(args: Args, kwargs: Kwargs, index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)


def _twins(module: str, name: str, kind: Kind, **more: Any) -> tuple[Target, Target]:
    """A method and its asynchronous form, ``async_…``."""
    owner, dot, method = name.rpartition(".")
    twin: Any = f"async_{kind}"
    return (
        Target(module, name, kind, **more),
        Target(module, f"{owner}{dot}async_{method}", twin, **more),
    )


_PREDICTION, _MODEL = "replicate.prediction", "replicate.model"
_DEPLOYMENT = "replicate.deployment"


class Replicate:
    """The provider; it holds no state."""

    name = "replicate"
    library = "replicate"
    majors = (1,)
    targets: tuple[Target, ...] = (
        *_twins("replicate.client", "run", "call", request=partial(_run, False)),
        *_twins("replicate.client", "stream", "lazy", request=partial(_run, True)),
        *_twins(_PREDICTION, "Predictions.create", "open", request=_create),
        *_twins(_MODEL, "ModelsPredictions.create", "open", request=partial(_create_of, "model")),
        *_twins(
            _DEPLOYMENT,
            "DeploymentsPredictions.create",
            "open",
            request=partial(_create_of, "deployment"),
        ),
        *_twins(_DEPLOYMENT, "DeploymentPredictions.create", "open", request=_create_here),
        *_twins(_PREDICTION, "Predictions.get", "follow", subject=_id),
        *_twins(_PREDICTION, "Predictions.cancel", "follow", subject=_id, ends=True),
        *_twins(_PREDICTION, "Prediction.wait", "follow"),
        *_twins(_PREDICTION, "Prediction.reload", "follow"),
        *_twins(_PREDICTION, "Prediction.cancel", "follow", ends=True),
        *_twins(_PREDICTION, "Prediction.stream", "follow_lazy"),
        *_twins(_PREDICTION, "Prediction.output_iterator", "follow_lazy"),
    )

    def part(self, call: Call, value: Any) -> None:
        """The prediction that the call made, or read again."""
        if getattr(value, "id", None) is None:
            return
        call.inner.prediction = vars(value)
        call.response_id = str(value.id)
        if not call.request_model:  # asked for by its version; the server knows whose that is
            call.request_model = str(getattr(value, "model", "") or "")
            family = family_of(call.request_model)
            call.system = family.system
            call.operation = operation_of(family, call.inner.given)

    def result(self, call: Call, value: Any) -> None:
        """What ``run`` returned: a text, a list of pieces, files, or anything else."""
        call.inner.output = kept(value)

    def opened(self, call: Call) -> None:
        """An iterator over a finished answer, or one that polls or streams."""
        call.streaming = not self.over(call)
        if not call.streaming:
            call.end_ns = call.now()  # how fast the caller reads is no latency of the model's

    def reader(self, call: Call) -> Callable[[Any], object]:
        """Keeps a piece of ``run``'s iterator as it is, and of an event its kind and its data."""
        call.text_of = received_text
        call.received = []
        keep, clock, handle = call.received.append, perf_counter_ns, call.inner
        output: Any = None  # the kind of event that holds text; known after the first

        def read(item: Any) -> None:
            nonlocal output
            if type(item) is str:
                keep((clock(), item))
                return
            try:
                kind = item.event
            except AttributeError:  # a file, or any JSON
                keep((clock(), piece_text(item)))
                return
            if kind is output:
                keep((clock(), item.data))
                return
            handle.sent_events = True
            keep((clock(), (kind, item.data)))
            if getattr(kind, "value", kind) == "output":
                output = kind

        return read

    def anchor(self, value: Any) -> Any:
        """Its set of given fields: resources of pydantic's first version cannot be watched."""
        return value if type(value).__weakrefoffset__ else value.__fields_set__

    def keys(self, call: Call) -> tuple[Hashable, ...]:
        """The prediction's id."""
        return (call.response_id,)

    def over(self, call: Call) -> bool:
        """Whether the prediction has come to an end."""
        return self.over_with(call.inner.prediction or {})

    @staticmethod
    def over_with(prediction: Mapping[str, Any]) -> bool:
        """Whether a prediction with these fields has come to an end."""
        return prediction.get("status") in TERMINAL

    def end(self, call: Call) -> None:
        """Keep what the prediction knows by now; it is read later."""
        handle: Handle = call.inner
        prediction, handle.prediction = handle.prediction, None
        if prediction is not None:
            handle.seen = dict(prediction)
            if handle.output is None and not call.received:
                handle.output = kept(prediction.get("output"))
            # An answer may come before its prediction is said to be over, and before its numbers.
            early = handle.output is not None and not self.over_with(prediction)
            if handle.sent_events or (early and not (call.aborted or call.error_type)):
                call.completion = partial(_complete, call, handle)
        call.late = partial(_settle, call, handle)


def _settle(call: Call, handle: Handle) -> None:
    """Read what was asked and what came back."""
    call.input, call.parameters, call.extra_input = inputs(handle.given)
    call.output = output_messages(handle.output)
    call.polled = call.streaming and not handle.sent_events
    if handle.sent_events:
        stream_done(call, handle)
    if handle.seen:
        read_prediction(call, handle, handle.seen)
        handle.seen = {}
        if not handle.sent_events and handle.status not in TERMINAL and not call.aborted:
            call.streaming = False  # never polled: the iterator went over what was there
    estimate(call, handle)
    call.finish_reason = finish_reason(call, handle)


def _complete(call: Call, handle: Handle) -> None:
    """Fetch the prediction of a stream once more and read it; see `Call.completion`."""
    call.completion = None
    read_prediction(call, handle, fetch(handle.client, call.response_id))
    call.finish_reason = finish_reason(call, handle)
