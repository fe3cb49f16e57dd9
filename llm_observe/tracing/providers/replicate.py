"""Replicate's Python client, 1.x: ``run`` and ``stream``.

``Client.run`` and its like call the globals of ``replicate.client``, so wrapping those covers
``replicate.run``, ``Client().run`` and names imported before we came. The prediction that a run
makes inside is seen through ``create``, which is wrapped as a part; it carries the numbers.

The library is never imported here; its objects are read by attribute.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from llm_observe.tracing.call import Call
from llm_observe.tracing.providers.base import Target
from llm_observe.tracing.providers.replicate_answer import (
    TERMINAL,
    Handle,
    complete,
    estimate,
    finish_reason,
    output_messages,
    piece_text,
    read_prediction,
    stream_done,
)
from llm_observe.tracing.providers.replicate_request import (
    inputs,
    model_of,
    operation_of,
    server_of,
    system_of,
)


class Replicate:
    """The provider; it holds no state."""

    name = "replicate"
    library = "replicate"
    majors = (1,)
    targets = (
        Target("replicate.client", "run", "call"),
        Target("replicate.client", "stream", "lazy"),
        Target("replicate.prediction", "Predictions.create", "part"),
        Target("replicate.model", "ModelsPredictions.create", "part"),
    )

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, streaming: bool) -> Call:
        """``run(client, ref, input=None, **params)``, and ``stream`` alike."""
        client = _argument(args, kwargs, 0, "client")
        model, version = model_of(_argument(args, kwargs, 1, "ref"))
        given = _argument(args, kwargs, 2, "input")
        given = given if isinstance(given, Mapping) else {}
        host, port = server_of(client)
        call = Call(
            provider=self.name,
            system=system_of(model),
            operation=operation_of(model, given),
            request_model=model,
            model_version=version,
            server_address=host,
            server_port=port,
            streaming=streaming,
            inner=Handle(streaming),
        )
        call.input, call.parameters, call.extra_input = inputs(given)
        return call

    def part(self, call: Call, value: Any) -> None:
        """The prediction that the call made."""
        if getattr(value, "id", None):
            call.inner.prediction = value
            call.response_id = str(value.id)

    def result(self, call: Call, value: Any) -> None:
        """What ``run`` returned: a text, a list of pieces, files, or anything else."""
        call.output = output_messages(value)
        call.inner.pieces = len(value) if isinstance(value, list) else 0

    def opened(self, call: Call) -> None:
        """``run`` returned an iterator: over a finished answer, or polling for one."""
        prediction = call.inner.prediction
        call.streaming = getattr(prediction, "status", "") not in TERMINAL
        if not call.streaming:
            call.end_ns = call.now()  # how fast the caller reads is no latency of the model's

    def chunk(self, call: Call, item: Any) -> str | None:
        """A piece of ``run``'s iterator, or a server-sent event of ``stream``."""
        event = getattr(item, "event", None)
        if event is None:
            return piece_text(item)
        kind = getattr(event, "value", event)
        if kind == "done":
            stream_done(call.inner, item.data)
        return piece_text(item.data) if kind == "output" else None

    def end(self, call: Call) -> None:
        """Tokens and times from the prediction, as far as it knows them by now."""
        handle = call.inner
        if handle.prediction is not None:
            read_prediction(call, handle, vars(handle.prediction))
            self._settle(call, handle)
        estimate(call, handle)
        call.finish_reason = finish_reason(call, handle)

    def _settle(self, call: Call, handle: Handle) -> None:
        if handle.sent_events:
            call.completion = partial(complete, call, handle)
        elif handle.status not in TERMINAL and not call.aborted:
            call.streaming = False  # never polled: the iterator went over an answer that was there


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], index: int, name: str) -> Any:
    return args[index] if len(args) > index else kwargs.get(name)
