"""The figures of `redaction.py`, in the environment that has the peers. Prints JSON.

python redacting.py ROUNDS [ONLY]
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

from chats import FINDS, chat
from machine import machine
from maskers import CONTENDERS, Attributes, Run, rules_of
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Call, Message
from llm_observe.tracing.rendering.render import render

SIZES = {"0.5 KB": 512, "4 KB": 4096, "32 KB": 32768}
PASSES = {"0.5 KB": 10, "4 KB": 4, "32 KB": 1}
"""How often each span is taken in a round, so that none of it is only what was cold."""
SPANS = 4


class Job(NamedTuple):
    """One cell of the table: a size, a set of rules, texts with or without finds."""

    size: str
    rules: str
    finds: bool


def jobs() -> Iterator[Job]:
    """All cells."""
    rules = (
        "no rules",
        "4 patterns",
        "12 patterns",
        "4 detectors",
        "12 detectors",
        "all detectors",
    )
    return (Job(size, rule, finds) for finds in (False, True) for size in SIZES for rule in rules)


def spans_of(size: int, finds: bool) -> list[tuple[Any, tuple[str, ...]]]:
    """Finished spans with the attributes of both conventions, and what is to be found in each."""
    source, made = random.Random(size), []
    for number in range(SPANS):
        talk = chat(source, size, with_finds=finds)
        call = Call(provider="replicate", request_model="meta/llama-2-70b-chat")
        call.parameters = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 512}
        call.input_tokens, call.output_tokens = 900, 100
        roles = ("system", *("user", "assistant") * len(talk.turns))
        *asked, answer = talk.turns if len(talk.turns) > 1 else (*talk.turns, "Yes.")
        call.input = [Message(role, text) for role, text in zip(roles, asked, strict=False)]
        call.output = [Message("assistant", answer)]
        attributes = BoundedAttributes(attributes=render(call, CaptureLevel.FULL).attributes)
        identity = SpanContext(number + 1, number + 1, False, TraceFlags(1))
        made.append((ReadableSpan("chat", identity, attributes=attributes), talk.finds))
    return made


def measure(job: Job, rounds: int) -> dict[str, Any]:
    """One cell for every contender."""
    rules, spans = rules_of(job.rules), spans_of(SIZES[job.size], job.finds)
    runs = {name: make(rules) for name, make in CONTENDERS.items()}
    best = dict.fromkeys(runs, float("inf"))
    passes = PASSES[job.size]
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.thread_time_ns()
            for span, _ in spans * passes:
                run(span)
            taken = (time.thread_time_ns() - began) / len(spans) / passes / 1000
            best[name] = min(best[name], taken)
    row: dict[str, Any] = {"size": job.size, "rules": job.rules, "finds": job.finds}
    for name, run in runs.items():
        row[name] = {"us": round(best[name], 1), **_outcome(run, spans)}
    return row


def _outcome(run: Run, spans: list[tuple[Any, tuple[str, ...]]]) -> dict[str, float]:
    """What a contender leaves: finds per span, and text in per cent of what there was."""
    left = before = after = 0
    for span, finds in spans:
        texts = _texts(run(span))
        left += sum(find in texts for find in finds)
        before, after = before + len(_texts(span.attributes)), after + len(texts)
    return {"left": round(left / len(spans), 2), "text": round(100 * after / before)}


def _texts(attributes: Attributes) -> str:
    return "\n".join(str(value) for value in attributes.values())


def main() -> None:
    """Measure what is asked for."""
    rounds, only = int(sys.argv[1]), "".join(sys.argv[2:3])
    chosen = [job for job in jobs() if only in f"{job.size} {job.rules}"]
    names = ("langfuse", "logfire", "openinference-instrumentation", "google-re2")
    report = {
        "machine": machine(),
        "rounds": rounds,
        "versions": {name: version(name) for name in names},
        "finds": FINDS,
        "rows": [measure(job, rounds) for job in chosen],
    }
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
