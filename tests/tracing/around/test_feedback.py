import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from llm_observe.settings.model import CaptureLevel, Sampling
from llm_observe.tracing.around import feedback
from llm_observe.tracing.around.context import context
from llm_observe.tracing.around.feedback import MAX_EXPLANATION, MAX_NAME, score
from llm_observe.tracing.around.steps import trace
from llm_observe.tracing.rendering.scrubbing import scrub
from llm_observe.tracing.sampling.sampler import LiveSampler
from tests.tracing.doubles import KeepingRecorder
from tests.tracing.recorder import attributes, recording

ANNOTATION = "annotations.0.annotation"


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    feedback._said.clear()


@pytest.fixture
def recorder() -> Iterator[KeepingRecorder]:
    with recording() as kept:
        yield kept


@pytest.fixture
def target(recorder: KeepingRecorder) -> str:
    with trace("turn") as step:
        pass
    return step.reference


def scores(recorder: KeepingRecorder) -> list[ReadableSpan]:
    return [span for span in recorder.spans if span.name == "score"]


def test_a_score_is_a_span_linked_to_its_target(recorder: KeepingRecorder, target: str) -> None:
    assert score(
        "helpful",
        0.5,
        label="so so",
        explanation="half of it",
        target=target,
        identifier="ann",
        metadata={"page": 3},
        session="s",
    )
    (span,) = scores(recorder)
    assert attributes(span) == {
        "openinference.span.kind": "EVALUATOR",
        "session.id": "s",
        f"{ANNOTATION}.name": "helpful",
        f"{ANNOTATION}.score": 0.5,
        f"{ANNOTATION}.label": "so so",
        f"{ANNOTATION}.explanation": "half of it",
        f"{ANNOTATION}.annotator_kind": "HUMAN",
        f"{ANNOTATION}.identifier": "ann",
        f"{ANNOTATION}.metadata": '{"page": 3}',
    }
    turn = recorder.spans[0].context
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == (turn.trace_id, turn.span_id)
    assert span.context.trace_id == turn.trace_id


def test_a_score_ignores_what_is_current_but_for_the_session(
    recorder: KeepingRecorder, target: str
) -> None:
    with context(session="s"), trace("another"):
        assert score("helpful", True, target=target)
    (span,) = scores(recorder)
    assert span.context.trace_id == recorder.spans[0].context.trace_id
    assert attributes(span)["session.id"] == "s"
    assert attributes(span)[f"{ANNOTATION}.score"] == 1.0


def test_without_a_target_it_is_about_the_current_step(recorder: KeepingRecorder) -> None:
    with trace("judged") as step:
        assert score("fits", label="yes", annotator_kind="CODE")
    (span,) = scores(recorder)
    assert f"{span.links[0].context.span_id:016x}" == step.reference.split("-")[2]


@pytest.mark.parametrize(
    ("scope", "prefix"),
    [
        ("span", "annotations"),
        ("trace", "trace.annotations"),
        ("session", "session.annotations"),
    ],
)
def test_wider_scopes(recorder: KeepingRecorder, target: str, scope: Any, prefix: str) -> None:
    assert score("helpful", 1, target=target, scope=scope, session="s")
    assert attributes(scores(recorder)[0])[f"{prefix}.0.annotation.score"] == 1.0


def test_from_another_thread_and_after_the_fact(recorder: KeepingRecorder, target: str) -> None:
    thread = threading.Thread(target=lambda: score("helpful", 1, target=target))
    thread.start()
    thread.join()
    assert len(scores(recorder)) == 1


def test_from_another_process(target: str) -> None:
    code = (
        "import sys\n"
        "from llm_observe.testing.spans import capture_spans\n"
        "from llm_observe.tracing.around.feedback import score\n"
        "with capture_spans() as captured:\n"
        "    assert score('helpful', 1, target=sys.argv[1])\n"
        "(span,) = captured.spans\n"
        "print(f'{span.links[0].context.span_id:016x}')\n"
    )
    command = [sys.executable, "-c", code, target]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.strip() == target.split("-")[2]


# -- sampling --------------------------------------------------------------------------------


def test_an_unsampled_target_gets_no_score_and_no_word(caplog: pytest.LogCaptureFixture) -> None:
    with recording(ALWAYS_OFF) as recorder:
        with trace("turn") as step:
            pass
        assert not score("helpful", 1, target=step.reference)
        assert recorder.spans == ()
    with recording() as recorder:
        assert not score("helpful", 1, target=step.reference)
        assert recorder.spans == ()
    assert caplog.records == []


def test_a_sampled_target_gets_its_score_whatever_the_ratio_is_now(target: str) -> None:
    with recording(LiveSampler(Sampling(ratio=1e-9))) as recorder:
        for _ in range(20):
            assert score("helpful", 1, target=target)
        assert len(recorder.spans) == 20


def test_at_ratio_zero_nothing_is_recorded(target: str) -> None:
    with recording(LiveSampler(Sampling(ratio=0.0))) as recorder:
        assert not score("helpful", 1, target=target)
        assert recorder.spans == ()


# -- what is no score ------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "it has no name"),
    ({"name": "n" * (MAX_NAME + 1)}, "its name is longer than 128 characters"),
    ({"value": None}, "it has no value, no label and no explanation"),
    ({"value": math.nan}, "its value is not a number from"),
    ({"value": math.inf}, "its value is not a number from"),
    ({"value": 1e300}, "its value is not a number from"),
    ({"value": 10**400}, "its value is no number but a int"),
    ({"value": "CANARY"}, "its value is no number but a str"),
    ({"label": "l" * 257}, "its label is longer than 256 characters"),
    ({"target": "CANARY"}, "its target is no reference to a span (a str)"),
    ({"target": 7}, "its target is no reference to a span (a int)"),
    ({"target": ""}, "its target is empty"),
    ({"target": None}, "no target was given, and no span is current"),
    ({"scope": "galaxy"}, "its scope is none of span, trace, session"),
    ({"scope": "session"}, "its scope is a session, and no session is known"),
]


@pytest.mark.parametrize(("wrong", "reason"), REFUSED)
def test_what_is_wrong_is_logged_once_and_never_raised(
    recorder: KeepingRecorder,
    target: str,
    caplog: pytest.LogCaptureFixture,
    wrong: dict[str, Any],
    reason: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not score(**{"name": "helpful", "value": 1, "target": target, **wrong})
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert "CANARY" not in caplog.text
    assert scores(recorder) == []


def test_without_a_pipeline_it_says_no() -> None:
    code = (
        "import llm_observe\n"
        "with llm_observe.trace('x') as step: pass\n"
        "print(llm_observe.score('helpful', 1, target=step))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert "observe() was not called" in done.stderr


def test_long_explanations_and_odd_metadata_are_kept_within_bounds(
    recorder: KeepingRecorder, target: str
) -> None:
    cycle: dict[str, Any] = {"o": object()}
    cycle["c"] = cycle
    assert score("x", 1, target=target, explanation="e" * 10**6, metadata=cycle)
    found = attributes(scores(recorder)[0])
    assert len(found[f"{ANNOTATION}.explanation"]) < MAX_EXPLANATION + 50
    assert json.loads(found[f"{ANNOTATION}.metadata"]) == {"o": "<object>", "c": "<cycle>"}


# -- capture level ---------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["span", "trace", "session"])
def test_why_is_content_and_the_verdict_is_not(
    recorder: KeepingRecorder, target: str, scope: Any
) -> None:
    score(
        "helpful",
        1,
        label="good",
        explanation="CANARY",
        metadata={"k": "CANARY"},
        target=target,
        scope=scope,
        session="s",
        identifier="ann",
    )
    said = attributes(scores(recorder)[0])
    metadata = scrub(said, CaptureLevel.METADATA)
    assert "CANARY" not in str(metadata)
    kept = {key.rpartition(".")[2] for key in metadata if ".annotation." in key}
    assert kept == {"name", "score", "label", "annotator_kind", "identifier"}
    assert "CANARY" not in str(scrub(said, CaptureLevel.OFF))
    assert "CANARY" in str(scrub(said, CaptureLevel.FULL))
