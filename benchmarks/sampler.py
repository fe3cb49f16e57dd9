"""What a sampling decision costs, beside the SDK's own sampler at the same share.

    python benchmarks/sampler.py [--json FILE]

Microseconds per decision on the thread that begins a span: the best of several rounds, taken in
turns. The goal is at most twice the SDK's `ParentBased(TraceIdRatioBased)` for a share of all.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

from opentelemetry.context import Context, set_value
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from llm_observe.settings.model import KeepRules, Sampling, SamplingRule, TraceMatcher
from llm_observe.tracing.sampling.sampler import LiveSampler

ROUNDS, DECISIONS = 15, 4000
ATTRIBUTES = {"gen_ai.provider.name": "replicate", "gen_ai.request.model": "meta/llama-2-70b-chat"}
SDK = "SDK, ParentBased(TraceIdRatioBased)"

ROOT = set_value("session.id", "s-1", Context())
CHILD = set_span_in_context(NonRecordingSpan(SpanContext(7, 1, False, TraceFlags(1))), Context())

_RULES = {
    f"rule-{number}": SamplingRule(match=TraceMatcher(route=f"/{number}/*"), ratio=0.1)
    for number in range(10)
}


def samplers(ratio: float = 0.1) -> dict[str, Sampler]:
    """Each row's sampler."""
    choices = {
        "a share of all": Sampling(ratio=ratio),
        "by session": Sampling(ratio=ratio, by="session"),
        "10 rules": Sampling(ratio=ratio, rules=_RULES),
        "so many a second": Sampling(ratio=ratio, per_second=1e6),
        "keep rules": Sampling(ratio=ratio, keep=KeepRules(errors=True, buffer_spans=100)),
    }
    ours = {f"ours, {name}": LiveSampler(sampling) for name, sampling in choices.items()}
    return {SDK: ParentBased(TraceIdRatioBased(ratio)), **ours}


def microseconds(sampler: Sampler, here: Context, ids: list[int]) -> float:
    """Per decision, over these traces once."""
    decide, began = sampler.should_sample, time.perf_counter_ns()
    for trace_id in ids:
        decide(here, trace_id, "chat", attributes=ATTRIBUTES)
    return (time.perf_counter_ns() - began) / len(ids) / 1000


def measure() -> list[dict[str, object]]:
    """All rows."""
    source = random.Random(1)
    ids = [source.getrandbits(128) | 1 for _ in range(DECISIONS)]
    rows, best = samplers(), dict[tuple[str, str], float]()
    for _ in range(ROUNDS):
        for name, sampler in rows.items():
            for kind, here in (("root", ROOT), ("child", CHILD)):
                found = microseconds(sampler, here, ids)
                best[name, kind] = min(found, best.get((name, kind), found))
    return [
        {
            "name": name,
            **{f"{kind}_us": round(best[name, kind], 3) for kind in ("root", "child")},
            **{f"{kind}_to_sdk": round(best[name, kind] / best[SDK, kind], 2) for kind in ("root", "child")},
        }
        for name in rows
    ]  # fmt: skip


def main() -> None:
    """Print a table; write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows = measure()
    print(
        "| sampler | root, µs | to the SDK's | child, µs | to the SDK's |\n| --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print(
            f"| {row['name']} | {row['root_us']} | {row['root_to_sdk']} | {row['child_us']} | {row['child_to_sdk']} |"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
