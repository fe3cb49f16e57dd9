"""``run`` of the real ``replicate`` package against its API in a function."""

from __future__ import annotations

from importlib.metadata import version
from types import GeneratorType
from typing import Any

import pytest
import replicate
from replicate import run as run_imported_before
from replicate.exceptions import ModelError, ReplicateError

from llm_observe.settings.model import CaptureLevel
from llm_observe.tracing.call import Message
from llm_observe.tracing.rendering.render import render
from tests.tracing.doubles import (
    MODEL,
    PROMPT,
    WORDS,
    KeepingRecorder,
    ReplicateAPI,
)

VERSIONED = f"{MODEL}:v1"
TEXT = "".join(WORDS)


def test_a_run_returns_what_it_returned_and_is_recorded(recorder: KeepingRecorder) -> None:
    value = ReplicateAPI().client().run(MODEL, input=PROMPT)
    assert value == WORDS
    assert type(value) is list
    call = recorder.call
    assert (call.provider, call.system, call.operation) == ("replicate", "meta", "chat")
    assert (call.request_model, call.response_model, call.model_version) == (MODEL, MODEL, "v1")
    assert call.input == [Message("user", PROMPT["prompt"])]  # type: ignore[arg-type]  # it is a text
    assert call.messages_out == [Message("assistant", TEXT)]
    assert call.parameters == {"temperature": 0.7, "max_new_tokens": 64}
    assert (call.input_tokens, call.output_tokens, call.total_tokens) == (7, 5, 12)
    assert not call.tokens_estimated
    assert (call.queue_ms, call.predict_s, call.tokens_per_second) == (1500.0, 0.5, 10.0)
    assert (call.finish_reason, call.response_id) == ("stop", "pred-1")
    assert (call.server_address, call.server_port) == ("api.replicate.com", 443)
    assert not call.streaming
    assert call.time_to_first_chunk_s is None
    (span,) = recorder.spans
    assert span.name == f"chat {MODEL}"
    assert (span.start_time, span.end_time) == (call.start_ns, call.end_ns)


def test_the_version_of_a_model_that_replicate_runs_itself_is_not_told(
    recorder: KeepingRecorder,
) -> None:
    ReplicateAPI(version="hidden").client().run(MODEL, input=PROMPT)
    assert (recorder.call.model_version, recorder.call.finish_reason) == ("", "stop")


def test_names_imported_earlier_and_module_functions_are_recorded(
    recorder: KeepingRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ReplicateAPI().client()
    monkeypatch.setattr(replicate.default_client, "_Client__client", client._client)
    assert run_imported_before(MODEL, input=PROMPT) == WORDS
    assert replicate.run(MODEL, input=PROMPT) == WORDS
    assert [str(e) for e in replicate.stream(MODEL, input=PROMPT)][: len(WORDS)] == [
        word.rstrip("\n") for word in WORDS
    ]
    assert replicate.default_client.run(MODEL, input=PROMPT) == WORDS
    assert (recorder.started, len(recorder.calls)) == (4, 4)


def test_a_limit_that_was_reached_is_the_finish_reason(recorder: KeepingRecorder) -> None:
    ReplicateAPI().client().run(MODEL, input=PROMPT | {"max_new_tokens": 5})
    assert recorder.call.finish_reason == "length"


def test_tokens_that_the_server_does_not_tell_are_counted_and_marked(
    recorder: KeepingRecorder,
) -> None:
    ReplicateAPI(metrics={}).client().run(MODEL, input=PROMPT)
    call = recorder.call
    assert (call.input_tokens, call.output_tokens, call.tokens_estimated) == (None, 5, True)
    assert (call.total_tokens, call.finish_reason) == (None, "succeeded")


def test_a_system_prompt_is_a_message_of_its_own(recorder: KeepingRecorder) -> None:
    ReplicateAPI().client().run(MODEL, input=PROMPT | {"system_prompt": "Be brief."})
    assert [m.role for m in recorder.call.input] == ["system", "user"]


def test_a_failed_model_raises_as_before_and_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(ModelError, match="out of memory"):
        ReplicateAPI(status="failed").client().run(MODEL, input=PROMPT)
    call = recorder.call
    assert (call.error_type, call.error_message) == ("ModelError", "out of memory")
    assert (call.finish_reason, call.input_tokens) == ("error", 7)
    rendered = render(call, CaptureLevel.FULL)
    assert "raise ModelError" in rendered.events[-1].attributes["exception.stacktrace"]
    assert rendered.events[-1].attributes["exception.type"] == "replicate.exceptions.ModelError"


def test_a_refused_request_is_recorded(recorder: KeepingRecorder) -> None:
    with pytest.raises(ReplicateError):
        ReplicateAPI(create_status=401).client().run(MODEL, input=PROMPT)
    assert recorder.call.error_type == "ReplicateError"


def test_a_reference_that_is_none_is_the_callers_error(recorder: KeepingRecorder) -> None:
    with pytest.raises(ValueError, match="Invalid reference"):
        ReplicateAPI().client().run("nonsense")
    assert recorder.call.error_type == "ValueError"


def test_a_run_that_has_to_poll_is_read_after_the_polling(recorder: KeepingRecorder) -> None:
    assert ReplicateAPI(polls=3).client().run(MODEL, input=PROMPT) == WORDS
    assert recorder.call.output_tokens == 5


def test_images_are_recorded_as_files_and_no_tokens_are_made_up(recorder: KeepingRecorder) -> None:
    api = ReplicateAPI(output=["https://files.test/a.png"], metrics={"predict_time": 2.0})
    given = {"prompt": "a llama", "width": 512}
    (picture,) = api.client().run("stability-ai/sdxl", input=given, use_file_output=True)
    assert picture.url == "https://files.test/a.png"
    call = recorder.call
    assert (call.operation, call.system) == ("generate_content", "stability-ai")
    assert call.messages_out == [Message("assistant", "", ("https://files.test/a.png",))]
    assert call.output_tokens is None
    attributes = render(call, CaptureLevel.FULL).attributes
    assert '"modality": "image"' in attributes["gen_ai.output.messages"]
    assert "files.test" not in str(render(call, CaptureLevel.REDACTED))


FILE = "data:image/png;base64," + "QUJD" * 50
NAMED = f"data:image/png;base64 ({len(FILE)} characters)"


@pytest.mark.parametrize(
    "given",
    [
        {"image": FILE},
        {"images": ["https://files.test/a.png", FILE]},
        {"messages": [{"role": "user", "content": [{"image_url": FILE}]}]},
    ],
)
def test_of_a_file_that_is_inlined_only_type_and_size_are_kept(
    recorder: KeepingRecorder, given: dict[str, Any]
) -> None:
    ReplicateAPI().client().run(MODEL, input=given)
    attributes = str(render(recorder.call, CaptureLevel.FULL).attributes)
    assert NAMED in attributes
    assert "QUJD" not in attributes


@pytest.mark.parametrize(
    ("output", "as_file"),
    [
        (FILE, True),
        ([FILE], True),
        (FILE, False),
        (["see", FILE], False),
        ({"image": FILE}, False),
        ([{"image": FILE}], False),
    ],
)
def test_of_an_answer_that_is_an_inlined_file_too(
    recorder: KeepingRecorder, output: Any, as_file: bool
) -> None:
    ReplicateAPI(output=output).client().run(MODEL, input=PROMPT, use_file_output=as_file)
    attributes = str(render(recorder.call, CaptureLevel.FULL).attributes)
    assert NAMED in attributes
    assert "QUJD" not in attributes


@pytest.mark.parametrize("output", [{"score": 1}, 3, [[1, 2]], "a text", []])
def test_any_output_goes_through_unchanged(recorder: KeepingRecorder, output: Any) -> None:
    assert ReplicateAPI(output=output).client().run(MODEL, input=PROMPT) == output
    assert render(recorder.call, CaptureLevel.FULL).attributes


@pytest.mark.skipif(version("replicate") < "1.0.3", reason="older clients always poll")
def test_an_iterator_over_a_finished_answer_ends_when_it_is_exhausted(
    recorder: KeepingRecorder,
) -> None:
    pieces = ReplicateAPI().client().run(VERSIONED, input=PROMPT)
    assert isinstance(pieces, GeneratorType)
    assert next(pieces) == WORDS[0]
    assert recorder.calls == []
    assert list(pieces) == WORDS[1:]
    call = recorder.call
    assert (call.output_tokens, call.streaming, "".join(call.chunks)) == (5, False, TEXT)
    assert call.time_to_first_chunk_s is None
    assert call.end_ns is not None
    assert call.end_ns <= call.chunk_ns[0]


def test_a_polling_iterator_is_a_stream(recorder: KeepingRecorder) -> None:
    pieces = ReplicateAPI(polls=2).client().run(VERSIONED, input=PROMPT, wait=False)
    assert "".join(pieces) in (TEXT, "".join(WORDS[2:]))  # the client skips what came first
    call = recorder.call
    assert call.streaming
    assert (call.output_tokens, call.tokens_estimated) == (5, False)
    assert call.time_to_first_chunk_s is not None
    assert call.tokens_per_second == 10.0  # pieces that come in heaps do not tell


def test_a_polling_iterator_that_fails_is_recorded(recorder: KeepingRecorder) -> None:
    pieces = ReplicateAPI(polls=1, status="failed").client().run(VERSIONED, input={}, wait=False)
    with pytest.raises(ModelError):
        list(pieces)
    assert recorder.call.error_type == "ModelError"


@pytest.mark.parametrize("step", [0, 2])
def test_an_iterator_that_is_dropped_ends(recorder: KeepingRecorder, step: int) -> None:
    pieces = ReplicateAPI().client().run(VERSIONED, input=PROMPT)
    for _ in range(step):
        next(pieces)
    del pieces
    assert (recorder.call.aborted, recorder.call.finish_reason) == (True, "aborted")
