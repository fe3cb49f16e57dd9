"""Calls, steps and spans of others, with a canary on every path that content can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from traceback import TracebackException
from typing import Any, Literal

from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace import Span as AnySpan

from llm_observe.tracing.around.feedback import score
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.pipeline import Pipeline
from tests.privacy.canaries import Nest, Where

_FOREIGN = {
    "input.value": ("mixed",),
    "output.value": ("mixed",),
    "gen_ai.system_instructions": ("system",),
    "gen_ai.input.messages": ("mixed",),
    "llm.output_messages.0.message.content": ("mixed",),
    "gen_ai.completion.0.reasoning": ("reasoning",),
    "tool.parameters": ("tool_arguments",),
    "gen_ai.tool.call.result": ("tool_results",),
    "retrieval.documents.0.document.content": ("documents",),
    "llm.tools.0.tool.json_schema": ("mixed",),
    "annotations.0.annotation.explanation": ("mixed",),
    "error.message": ("mixed",),
    "embedding.embeddings.0.embedding.text": ("mixed",),
    "input.images.0.image.url": ("opaque",),
    "metadata": ("label",),
    "user.id": ("metadata",),
    "acme.secret_of_the_house": ("unknown",),
}
"""Keys of other instrumentors, and what is in their values."""


StepKind = Literal["chain", "tool", "retriever"]


class Content:
    """Makes things to record; every text of theirs is a canary of ``nest``."""

    def __init__(self, nest: Nest) -> None:
        self._nest = nest

    def call(self, model: str, ending: str = "well", size: int = 0, session: str = "s1") -> Call:
        """A call with something everywhere."""
        where = Where(model, session)

        def lay(path: str, *kinds: str) -> str:
            return self._nest.lay(f"call.{path}", where, *kinds)

        call = Call(
            provider="replicate",
            request_model=model,
            session=session,
            user=self._nest.lay("call.user", where, "metadata", flavours=("plain",)),
            tags=(lay("tags", "label"),),
            metadata=json.dumps({"note": lay("metadata", "label")}),
            parameters={
                "stop": lay("parameters", "label"),
                lay("parameters' names", "label"): 1,
            },
            extra_input={"style": lay("extra_input", "input")},
            input=[
                Message("system", lay("input.system", "system")),
                Message("user", self._long(lay, "input.user", "input", size)),
                Message("assistant", lay("input.assistant", "input+output")),
                Message("tool", lay("input.tool", "tool_results")),
                Message("user", "", (f"https://x.example/{lay('input.media', 'opaque')}",)),
            ],
            attributes={
                key: self._nest.lay(f"call.attributes.{key}", where, *kinds)
                for key, kinds in _FOREIGN.items()
                if key not in ("metadata", "user.id", "input.value", "output.value")
            },
        )
        self.ended(call, ending)
        return call

    def ended(self, call: Call, ending: str) -> None:
        """How it went."""
        where = Where(call.request_model, call.session)
        call.output = [Message("assistant", self._nest.lay("call.output", where, "output"))]
        if ending == "failed":
            call.error_type = "ModelError"
            call.error_message = self._nest.lay("call.error.message", where, "mixed")
            call.error = self._traceback(self._nest.lay("call.error.stack", where, "mixed"))
            call.logs = self._nest.lay("call.logs", where, "opaque")
        call.aborted = ending == "broken off"

    def remark(self, span: AnySpan, where: Where) -> None:
        """What the program, or another instrumentor, says on a span while it runs."""

        def lay(path: str, *kinds: str) -> str:
            return self._nest.lay(f"remark.{path}", where, *kinds)

        span.set_attribute("acme.note", lay("attribute", "unknown"))
        span.set_attribute("llm.prompts.0.prompt.text", lay("known attribute", "mixed"))
        span.add_event("said", {"gen_ai.prompt": lay("event", "mixed")})
        span.add_event("noted", {"acme.free": lay("event's unknown key", "unknown")})
        span.record_exception(RuntimeError(lay("exception", "mixed")))

    def foreign(self, pipeline: Pipeline, llm: bool) -> None:
        """A span of another instrumentor: about LLM work, or about something that fails with it."""
        where = Where(session="s1")

        def lay(path: str, *kinds: str) -> str:
            return self._nest.lay(f"foreign.{path}", where, *kinds)

        tracer = pipeline.tracer_provider.get_tracer("acme.instrumentor")
        context = SpanContext(7, 8, True, TraceFlags(1))
        links = [Link(context, {"gen_ai.prompt": lay("link", "mixed")})] if llm else []
        span = tracer.start_span("work", links=links)
        if llm:
            span.set_attribute("openinference.span.kind", "LLM")
            span.set_attribute("session.id", "s1")
            for key, kinds in _FOREIGN.items():
                text = lay(key, *kinds)
                wrapped = json.dumps([{"role": "user", "content": json.dumps({"q": text})}])
                span.set_attribute(key, wrapped if key == "gen_ai.input.messages" else text)
            self.remark(span, where)
        where = where if llm else Where()
        place = "foreign" if llm else "other"
        message = self._nest.lay(f"{place}.event", where, "mixed")
        span.record_exception(ValueError(message))
        text = self._nest.lay(f"{place}.status", where, "mixed")
        span.set_status(Status(StatusCode.ERROR, text))
        span.end()

    def step(self, kind: StepKind, fails: bool) -> None:
        """A decorated function, and a score of it."""
        where = Where()
        also = {"tool": "tool_arguments"}.get(kind, "mixed")
        back = {"tool": "tool_results", "retriever": "documents"}.get(kind, "mixed")
        given = self._nest.lay("step.argument", where, "mixed", also)
        made = self._nest.lay("step.result", where, "mixed", back)
        error = self._nest.lay("step.error", where, "mixed")

        @trace("step", kind=kind)
        def work(question: str) -> list[str]:
            if fails:
                raise ValueError(error)
            return [made, str(len(question))]

        try:
            work(given)
        except ValueError:
            return

    def score(self, target: AnySpan) -> None:
        """A thumb with its reason."""
        where = Where()
        score(
            "helpful",
            0.5,
            label=self._nest.lay("score.label", where, "metadata", flavours=("plain",)),
            explanation=self._nest.lay("score.explanation", where, "mixed"),
            metadata={"why": self._nest.lay("score.metadata", where, "mixed")},
            target=target,
        )
        refused = self._nest.lay("score.value", where)
        score("helpful", refused, target=target)  # type: ignore[arg-type]  # a mistake of the program
        score("helpful", 1, scope=refused, target=target)  # type: ignore[arg-type]  # another

    def words(self) -> list[str]:
        """An answer that comes in pieces."""
        where = Where("meta/llama-2-7b-chat", "")
        return [self._nest.lay("stream.piece", where, "output") + " " for _ in range(5)]

    def prompt(self) -> dict[str, Any]:
        """What is asked of a real client."""
        where = Where("meta/llama-2-7b-chat", "")
        return {
            "prompt": self._nest.lay("stream.prompt", where, "input"),
            "system_prompt": self._nest.lay("stream.system", where, "system"),
        }

    def _long(self, lay: Callable[..., str], path: str, kind: str, size: int) -> str:
        return lay(path, kind) + " la" * size + (" " + lay(f"{path}, far on", kind) if size else "")

    def _traceback(self, text: str) -> TracebackException:
        try:
            raise RuntimeError(text)
        except RuntimeError as error:
            return TracebackException.from_exception(error)
