"""A request that is refused for a moment: one call, whether the client tries again or not."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from llm_observe.testing import Fault
from tests.tracing.export.drive import attributes
from tests.tracing.matrix.clients import surfaces
from tests.tracing.matrix.table import ANSWER, Case, Ending, Situation, Surface
from tests.tracing.matrix.world import World

THROTTLED = Ending(name="throttled", fault=Fault(status=429, retry_after_s=0, detail="later"))


def patient(client: Any) -> Any:
    """The client with two more tries, where it knows such a thing."""
    return client.with_options(max_retries=2) if hasattr(client, "with_options") else client


def test_a_call_that_is_tried_again_is_one_span(world: World) -> None:
    run = next(each for each in surfaces().SURFACES if each.name.endswith(".run"))

    def ask(s: Situation) -> Any:
        return run.open(Situation(s.url, patient(s.client), s.input, s.params))

    surface = Surface(name="run, patient", shape="value", open=ask)
    case = Case(surface, THROTTLED)
    bare, observed = world.bare(case), world.observed(case)
    assert observed.seen == bare.seen
    assert observed.requests == bare.requests
    (span,) = observed.spans
    tried_again = observed.requests["create"] > 1
    assert observed.durations == 1
    assert (span.status.code == Status.STATUS_CODE_ERROR) != tried_again
    answer = attributes(span).get("llm.output_messages.0.message.content")
    assert answer == observed.seen.text == ANSWER if tried_again else answer is None
