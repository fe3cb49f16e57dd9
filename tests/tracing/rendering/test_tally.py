"""How often redaction found something: on each span, and in this process. Never what it found."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from llm_observe.settings.model import CaptureLevel, PatternRule, Redaction
from llm_observe.tracing.call import Message
from llm_observe.tracing.rendering.tally import Tally, tally
from tests.tracing.export.drive import (
    PATIENCE_S,
    attributes,
    make_call,
    record,
    running_pipeline,
    settings,
)
from tests.tracing.export.sink import running_sink

EMAIL = "llm_observe.redaction.finds.email"
STAFF = "llm_observe.redaction.finds.staff.no"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    tally.clear()
    yield
    tally.clear()


def test_each_span_says_how_many_different_things_each_rule_found_and_counts_once() -> None:
    """A prompt stands in several attributes, as text and inside JSON, and goes to two places."""
    rules = Redaction(patterns={"staff.no": PatternRule(pattern=r"EMP-\d+", action="drop")})
    with running_sink() as one, running_sink() as other:
        wanted = settings(level=CaptureLevel.REDACTED, a=one.url, b=other.url)
        with running_pipeline(replace(wanted, redaction=rules)) as pipeline:
            said = make_call("joe@example.com, ann@example.com and joe@example.com")
            record(pipeline, said)
            number = make_call("nothing", error_type="E", error_message="EMP-7 is gone")
            record(pipeline, number)
            record(pipeline, make_call("nothing"))
            assert pipeline.flush(PATIENCE_S)
            status = pipeline.status()
    for sink in (one, other):
        told = [attributes(span) for span in sink.spans]
        assert [found.get(EMAIL) for found in told] == [2, None, None]
        assert [found.get(STAFF) for found in told] == [None, 1, None]
        assert "joe@example" not in json.dumps([*map(str, sink.spans)])
    assert status.redacted == {"email": 2, "staff.no": 1}


def test_what_leaves_as_it_is_or_not_at_all_has_no_finds() -> None:
    for level in (CaptureLevel.FULL, CaptureLevel.OFF):
        with running_sink() as sink:
            with running_pipeline(settings(level=level, a=sink.url)) as pipeline:
                call = make_call("joe@example.com")
                call.output = [Message("assistant", "ann@example.com")]
                record(pipeline, call)
                assert pipeline.flush(PATIENCE_S)
                assert pipeline.status().redacted == {}
            assert EMAIL not in attributes(sink.spans[0])


def test_threads_count_one_span_once() -> None:
    counted, spans = Tally(), [ReadableSpan(str(n)) for n in range(200)]

    def count() -> None:
        for span in spans:
            counted.add(span, {"email": 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted.total() == {"email": 200}


FORKING = """
import os
from opentelemetry.sdk.trace import ReadableSpan
from llm_observe.tracing.rendering.tally import tally
tally.add(ReadableSpan("a"), {"email": 1})
child = os.fork()
if child == 0:
    os._exit(0 if tally.total() == {} else 1)
assert os.waitpid(child, 0)[1] == 0
assert tally.total() == {"email": 1}
"""


def test_a_forked_child_begins_at_nothing() -> None:
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=60)
