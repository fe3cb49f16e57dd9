"""One LLM call as data.

The wrapper makes a `Call` when a call begins, a provider fills it, and nothing is turned into
attributes before a worker renders it (`llm_observe.tracing.rendering.render`) under the policy in force at
that moment. Filling it is all that the caller's thread pays for.

Times are nanoseconds since the epoch. They are taken from one wall-clock reading and the
monotonic clock, so that a clock set back in the middle of a call makes no negative latency.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field
from traceback import TracebackException
from typing import Any, NamedTuple

from llm_observe.conventions import OPERATION, SPAN_KIND
from llm_observe.tracing.gate import gate
from llm_observe.tracing.sparse import Sparse, sparse

SCOPE = "llm_observe.calls"
"""Instrumentation scope of the spans that stand for a `Call`, and of no others."""


class Message(NamedTuple):
    """One turn of a conversation; ``media`` holds URIs of what is not text."""

    role: str
    content: str = ""
    media: tuple[str, ...] = ()


@sparse
class Call(Sparse):
    """One LLM call. Fields that are not known are empty or None, never guessed.

    Mutable until the recorder's ``finish`` has taken it. Whoever takes it runs `settle` once, off
    the caller's thread, and then ``completion``; nothing changes it afterwards.
    """

    provider: str
    """Who hosts the model: ``replicate``."""
    system: str = ""
    """Whose model family or API shape it is: ``meta``."""
    operation: str = "chat"
    """``chat``, ``text_completion`` or ``generate_content`` (OTel GenAI operation names)."""
    request_model: str = ""
    response_model: str = ""
    model_version: str = ""
    server_address: str = ""
    server_port: int | None = None
    streaming: bool = False
    """The answer arrives in pieces while it is generated."""
    polled: bool = False
    """Its pieces were asked for from time to time, so they came in heaps."""

    parameters: dict[str, Any] = field(default_factory=dict)
    """Settings of the request, copied; no prompt text."""
    extra_input: dict[str, Any] = field(default_factory=dict)
    """Inputs that are content but no message, by the provider's name for them."""
    input: list[Message] = field(default_factory=list)
    output: list[Message] = field(default_factory=list)
    received: list[tuple[int, Any]] = field(default_factory=list)
    """Items of the stream as they came: monotonic clock, and a text or what ``text_of`` reads."""
    text_of: Callable[[Any], str | None] | None = None
    """The text of an item that is none by itself; None if it holds none of the answer."""
    chunks: list[str] = field(default_factory=list)
    """Pieces of text in order of arrival; the answer, where ``output`` is empty. Made of
    ``received`` when first read, so not before the call is over."""
    chunk_ns: list[int] = field(default_factory=list)
    """Arrival of each piece."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens_estimated: bool = False
    """``output_tokens`` was counted from pieces, not told by the server; kept out of metrics."""

    start_ns: int = field(default_factory=time.time_ns)
    origin_ns: int = field(default_factory=time.perf_counter_ns)
    """Monotonic clock at ``start_ns``."""
    end_ns: int | None = None
    queue_ms: float | None = None
    """Waiting for a machine, cold start included."""
    predict_s: float | None = None
    """Time of the model itself, as the server measured it."""
    server_first_token_s: float | None = None
    """Time to first token as the server measured it."""

    finish_reason: str = ""
    response_id: str = ""
    error_type: str = ""
    """Name of the exception's class, or what the server calls the failure."""
    error_class: str = ""
    """The same with its module, where there was an exception."""
    error_message: str = ""
    error: TracebackException | None = None
    """The exception without its frames' objects; formatted on the worker."""
    aborted: bool = False
    """The caller broke the stream off: no error, but not the whole answer."""

    session: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    metadata: str = ""
    """JSON object, as OpenInference keeps it in the context."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Further attributes, by attribute key; scrubbed like those of any other instrumentor."""
    config_hash: str = ""
    """Settings in force when the call began; set by the recorder."""

    logs: str = ""
    """End of what a failed model printed; it may quote the prompt."""

    late: Callable[[], None] | None = None
    """Work that was put off from the caller's thread; `settle` does it."""
    completion: Callable[[], None] | None = None
    """Fetches what only the server knows once the call is over. Run once by a worker, after
    `settle` and before rendering, instrumentation suppressed; bounded in time; may raise, and
    then nothing is lost."""
    inner: Any = None
    """The provider's own object for this call; never rendered."""

    def now(self) -> int:
        """The present on this call's clock."""
        return self.start_ns + time.perf_counter_ns() - self.origin_ns

    def at(self, monotonic_ns: int) -> int:
        """A moment of ``time.perf_counter_ns`` on this call's clock."""
        return self.start_ns + monotonic_ns - self.origin_ns

    @property
    def touched_ns(self) -> int:
        """When it was last heard of: the newest item, else the start."""
        return self.at(self.received[-1][0]) if self.received else self.start_ns

    def settle(self) -> None:
        """Do what was put off. Once, on a worker, before anything is read from the call."""
        late, self.late = self.late, None
        if late is not None:
            with gate:
                late()

    @property
    def name(self) -> str:
        """Span name: ``{operation} {model}`` (OTel GenAI, inference span)."""
        return f"{self.operation} {self.request_model}".rstrip()

    @property
    def first_chunk_ns(self) -> int | None:
        """Arrival of the first piece; None for an answer that came whole."""
        return self.chunk_ns[0] if self.streaming and self.chunk_ns else None

    @property
    def duration_s(self) -> float:
        """Seconds from start to end, or to now while the call runs."""
        return ((self.end_ns or self.now()) - self.start_ns) / 1e9

    @property
    def time_to_first_chunk_s(self) -> float | None:
        """Seconds from start to the first piece; None for an answer that came whole."""
        first = self.first_chunk_ns
        return None if first is None else (first - self.start_ns) / 1e9

    @property
    def total_tokens(self) -> int | None:
        """Input and output; None unless both are known."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens

    @property
    def generation_s(self) -> float | None:
        """Seconds in which the output tokens came: from the first piece to the last, if they came
        one by one and are all that is counted; else what the server says of the model."""
        all_here = self.tokens_estimated or not (self.aborted or self.error_type)
        if self.streaming and all_here and not self.polled and len(self.chunk_ns) > 1:
            return (self.chunk_ns[-1] - self.chunk_ns[0]) / 1e9
        return self.predict_s

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second of generating."""
        seconds = self.generation_s
        return self.output_tokens / seconds if self.output_tokens and seconds else None

    @property
    def messages_out(self) -> list[Message]:
        """The answer, whole or joined from its pieces."""
        if self.output or not self.chunks:
            return self.output
        return [Message("assistant", "".join(self.chunks))]

    @property
    def size(self) -> int:
        """Approximate bytes held, for queues that are bounded in bytes."""
        texts = (m.content for m in (*self.input, *self.output))
        extra = (v for v in self.extra_input.values() if isinstance(v, str))
        other = (self.error_message, self.metadata, self.logs)
        text = sum(map(len, (*texts, *extra, *self.chunks, *other)))
        return 2048 + text + 64 * len(self.chunk_ns)


def class_name(kind: type) -> str:
    """A class with its module, as ``exception.type`` has it; those of Python itself without."""
    module = kind.__module__
    return kind.__qualname__ if module in ("", "builtins") else f"{module}.{kind.__qualname__}"


def _read_pieces(call: Call, field_name: str) -> list[Any]:
    """Texts and arrivals of the items that have a text, both at once."""
    texts: list[str] = []
    moments: list[int] = []
    for moment, item in call.received:
        text = item if type(item) is str else None
        if text is None and call.text_of is not None:
            with gate:
                text = call.text_of(item)
        if text is not None:
            texts.append(text)
            moments.append(call.at(moment))
    call.__dict__.setdefault("chunks", texts)
    call.__dict__.setdefault("chunk_ns", moments)
    return call.chunks if field_name == "chunks" else call.chunk_ns


Call.MADE |= {"chunks": _read_pieces, "chunk_ns": _read_pieces}


def start_attributes(call: Call) -> dict[str, Any]:
    """The attributes a sampler may want, for the start of the span (OTel GenAI, inference span)."""
    values = {
        SPAN_KIND: "LLM",
        OPERATION: call.operation,
        "gen_ai.provider.name": call.provider,
        "gen_ai.request.model": call.request_model,
        "server.address": call.server_address,
        "server.port": call.server_port,
    }
    return {key: value for key, value in values.items() if value}
