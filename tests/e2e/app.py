"""A program under observation that does what it reads on its standard input, a JSON list a line.

``["call", prompt]``, ``["turn", session, prompt]``, ``["request", route, prompt]``,
``["judged", prompt, score, cost,
failing]``, ``["begin", prompt]``, ``["finish"]``, ``["burst", n, prompt]``, ``["said", attributes]``, ``["logged"]``,
``["root level"]``, ``["status"]``, ``["flush"]``; each is answered by
one JSON line. Arguments: the JSON of `observe`'s keyword arguments.
"""

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import replicate
from opentelemetry import trace
from opentelemetry.trace import SpanKind

import llm_observe

MODEL = "meta/llama-2-7b-chat"


def call(prompt: str) -> str:
    return "".join(
        map(str, replicate.stream(MODEL, input={"prompt": prompt, "max_new_tokens": 64}))
    )


def turn(session: str, prompt: str) -> str:
    with llm_observe.context(session=session, user="ann"), llm_observe.trace("turn") as step:
        step.input = prompt
        step.output = answer = call(prompt)
    return answer


def request(route: str, prompt: str) -> str:
    """As a web framework's instrumentor has it: a root that knows its route, a call inside."""
    tracer = trace.get_tracer("web")
    told = {"http.route": route}
    with tracer.start_as_current_span(f"GET {route}", kind=SpanKind.SERVER, attributes=told):
        return call(prompt)


def judged(prompt: str, value: float = 1.0, cost: float = 0.0, failing: bool = False) -> bool:
    """A turn that is scored, tells a cost, and may fail."""
    with suppress(ValueError), llm_observe.trace("judged"):
        call(prompt)
        llm_observe.score("helpful", value)
        trace.get_current_span().set_attribute("llm.cost.total", cost)
        if failing:
            raise ValueError
    return failing


steps: list[Any] = []


def begin(prompt: str) -> str:
    """A call inside a step that goes on until `finish`."""
    steps.append(llm_observe.trace("long").__enter__())
    return call(prompt)


def finish() -> bool:
    steps.pop().__exit__(None, None, None)
    return True


def burst(count: int, prompt: str) -> int:
    for number in range(count):
        replicate.run(MODEL, input={"prompt": f"{prompt} {number}", "max_new_tokens": 8})
    return count


def said(attributes: dict[str, Any]) -> None:
    with llm_observe.trace("said", kind="tool") as step:
        for key, value in attributes.items():
            step.set(key, value)


class Heard(logging.Handler):
    """What reaches the program's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def taken(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def main() -> None:
    heard = Heard()
    logging.getLogger().addHandler(heard)
    handle = llm_observe.observe(**json.loads(sys.argv[1]))

    def status() -> dict[str, Any]:
        found = handle.status()
        return {
            "connected": found.link.connected,
            "settings": found.settings,
            "text": str(found),
            "instance": found.instance_id,
            "destinations": {n: d.sent for n, d in found.destinations.items()},
            "dropped": found.dropped,
        }

    verbs: dict[str, Callable[..., Any]] = {
        "call": call,
        "turn": turn,
        "request": request,
        "judged": judged,
        "begin": begin,
        "finish": finish,
        "burst": burst,
        "said": said,
        "logged": heard.taken,
        "root level": lambda: logging.getLevelName(logging.getLogger().level),
        "status": status,
        "flush": lambda: handle.flush(10.0),
    }
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(verbs[verb](*arguments)), flush=True)


if __name__ == "__main__":
    main()
