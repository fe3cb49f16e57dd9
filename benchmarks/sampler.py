"""What a sampling decision costs, beside the SDK's own sampler at the same share.

    python benchmarks/sampler.py [--json FILE]

Microseconds of CPU per decision on the thread that begins a span: the best of many short rounds,
taken in turns. The goal is at most twice the SDK's `ParentBased(TraceIdRatioBased)`. A decision of
rules or of a session is remembered; the rows that say "new" meet another session, user or route
each time and so tell what one costs that is not.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from machine import machine
from opentelemetry.context import Context, set_value
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from llm_observe.settings.model import KeepRules, Sampling, SamplingRule, TraceMatcher
from llm_observe.tracing.sampling.sampler import LiveSampler

ROUNDS, DECISIONS = 60, 1000
ATTRIBUTES = {
    "gen_ai.provider.name": "replicate",
    "gen_ai.request.model": "meta/llama-2-70b-chat",
    "http.route": "/chat",
}
SDK = "SDK, ParentBased(TraceIdRatioBased)"

ROOT = set_value("session.id", "s-1", Context())
CHILD = set_span_in_context(NonRecordingSpan(SpanContext(7, 1, False, TraceFlags(1))), Context())

Attributes = dict[str, str]
Given = Callable[[int], Attributes]


class Row(NamedTuple):
    """A sampler, and with which attributes the roots begin; their number is passed in."""

    sampler: Sampler
    attributes: Given = lambda number: ATTRIBUTES


def _rules(**match: str) -> dict[str, SamplingRule]:
    """Ten of which none fits."""
    return {
        f"rule-{number}": SamplingRule(
            match=TraceMatcher(
                **{name: text.replace("{}", str(number)) for name, text in match.items()}
            ),
            ratio=0.1,
        )
        for number in range(10)
    }


def _with(name: str, text: str) -> Given:
    return lambda number: {**ATTRIBUTES, name: text.format(number)}


def rows(ratio: float = 0.1) -> dict[str, Row]:
    """Each row by its name."""
    by_route = Sampling(ratio=ratio, rules=_rules(route="/{}/*"))
    by_user = Sampling(ratio=ratio, rules=_rules(model="*-{}b-*", user="ann-{}*|bob-{}"))
    by_session = Sampling(ratio=ratio, by="session")
    both = Sampling(ratio=ratio, by="session", rules=by_route.rules)
    keep = Sampling(ratio=ratio, keep=KeepRules(errors=True, buffer_spans=100))
    return {
        SDK: Row(ParentBased(TraceIdRatioBased(ratio))),
        "ours, a share of all": Row(LiveSampler(Sampling(ratio=ratio))),
        "ours, so many a second": Row(LiveSampler(Sampling(ratio=ratio, per_second=1e6))),
        "ours, keep rules": Row(LiveSampler(keep)),
        "ours, by session": Row(LiveSampler(by_session)),
        "ours, by session, each new": Row(LiveSampler(by_session), _with("session.id", "s-{}")),
        "ours, 10 rules by route": Row(LiveSampler(by_route)),
        "ours, 10 rules by route, each new": Row(LiveSampler(by_route), _with("http.route", "/{}")),
        "ours, 10 rules by model and user": Row(LiveSampler(by_user), _with("user.id", "carl")),
        "ours, 10 rules by route, by session": Row(LiveSampler(both)),
    }


def microseconds(row: Row, here: Context, ids: list[int], number: int) -> float:
    """Per decision, over these traces once."""
    given = [(trace_id, row.attributes(number + n)) for n, trace_id in enumerate(ids)]
    decide, began = row.sampler.should_sample, time.thread_time_ns()
    for trace_id, attributes in given:
        decide(here, trace_id, "chat", attributes=attributes)
    taken = time.thread_time_ns() - began
    if isinstance(row.sampler, LiveSampler):
        row.sampler.held.pushed_out.clear()  # as the thread does that counts them
    return taken / len(ids) / 1000


def measure() -> list[dict[str, object]]:
    """All rows."""
    source, best = random.Random(1), dict[tuple[str, str], float]()
    subjects = rows()
    for number in range(ROUNDS):
        ids = [source.getrandbits(128) | 1 for _ in range(DECISIONS)]
        for name, row in subjects.items():
            for kind, here in (("root", ROOT), ("child", CHILD)):
                found = microseconds(row, here, ids, number * DECISIONS)
                best[name, kind] = min(found, best.get((name, kind), found))
    return [
        {
            "name": name,
            **{f"{kind}_us": round(best[name, kind], 3) for kind in ("root", "child")},
            **{f"{kind}_to_sdk": round(best[name, kind] / best[SDK, kind], 2) for kind in ("root", "child")},
        }
        for name in subjects
    ]  # fmt: skip


def main() -> None:
    """Print a table; write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    figures = measure()
    print(
        "| sampler | root, µs | to the SDK's | child, µs | to the SDK's |\n| --- | --- | --- | --- | --- |"
    )
    for row in figures:
        print(
            f"| {row['name']} | {row['root_us']} | {row['root_to_sdk']} | {row['child_us']} | {row['child_to_sdk']} |"
        )
    if chosen.json:
        report = {"machine": machine(), "rows": figures}
        chosen.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
