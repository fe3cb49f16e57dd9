"""A control plane that sends whatever it can, against a program with limits of its own."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from llm_observe.opamp import ConfigState
from llm_observe.settings.documents import flatten
from tests.agent.doubles import Bench
from tests.privacy.actions import sequence
from tests.privacy.canaries import LEVELS, PARTS

LIMITS = {
    "LLM_OBSERVE_LIMIT_CAPTURE_LEVEL": "metadata",
    "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "good.example",
    "LLM_OBSERVE_LIMIT_GRANT_LONGEST_S": "20",
    "LLM_OBSERVE_LIMIT_QUEUE_MIB": "2",
}


def meant(template: dict[str, Any], rng: random.Random, now: float) -> dict[str, Any]:
    """A document with addresses, sizes and times that the limits may or may not allow."""
    places = {
        name: {
            **to,
            "endpoint": rng.choice(("https://good.example", "https://evil.example")),
            "queue_mib": rng.choice((1.0, 2.0, 200.0)),
        }
        for name, to in template["destinations"].items()
    }
    until = datetime.fromtimestamp(now + 500, UTC).isoformat()
    grants = {
        name: {**grant, "until": until}
        for name, grant in template["capture"].get("grants", {}).items()
    }
    return {
        **template,
        "destinations": places,
        "capture": {**template["capture"], "grants": grants},
    }


def beyond(document: dict[str, Any]) -> list[str]:
    """What in it the limits forbid, by a rule of the test's own."""
    found = []
    for path, value in flatten(document).items():
        name = path.rpartition(".")[2]
        if path.startswith("capture.") and name in ("level", *PARTS) and value is not None:
            found += [path] * (LEVELS.index(value) > LEVELS.index("metadata"))
        if name == "endpoint" and path.startswith("destinations."):
            found += [path] * (urlsplit(value).hostname != "good.example")
        if name == "longest_s":
            found += [path] * (value > 20)
        if name == "queue_mib":
            found += [path] * (value is not None and value > 2)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_limits_hold_against_a_server_that_sends_everything_it_can(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    bench = Bench(tmp_path, **LIMITS)
    for name, *given in sequence(seed):
        if name == "offer":
            document = meant(given[0], rng, bench.now)
            digest = bench.offer(document)
            status = bench.seen.config_status
            assert status.hash == digest
            assert (status.state is ConfigState.FAILED) == bool(beyond(document)), status.error
            for path in beyond(document):
                assert path in status.error
        elif name == "tick":
            bench.wait(given[0])
        assert beyond(dict(bench.runtime.standing.resolved.document)) == []
        assert beyond(bench.effective()) == []
