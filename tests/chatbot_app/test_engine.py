"""The one place where the real model runs: real tokens, really streamed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ModelError

from chatbot_app import engine
from chatbot_app.engine import LlamaServer, LlamaUnavailable, Wishes, choose
from chatbot_app.weights import SMOLLM2, WeightsError, fetch
from llm_observe.testing import FakeReplicate, OpenAIEngine, ServerLimits, serve_in_thread
from llm_observe.testing.dialogue import messages_of

MODEL = "meta/llama-2-7b-chat"
QUESTION, SYSTEM = "What is water?", "You are brief."
ASK: dict[str, Any] = {"prompt": QUESTION, "system_prompt": SYSTEM, "temperature": 0.01}


@pytest.fixture(scope="module")
def llama() -> Iterator[LlamaServer]:
    server = LlamaServer(fetch(say=str), name=SMOLLM2.name, threads=1, slots=1)
    yield server
    server.close()


@pytest.fixture(scope="module")
def replicate(llama: LlamaServer) -> Iterator[Client]:
    fake = FakeReplicate(
        llama.engine("on this machine"),
        cancel_on_disconnect=True,
        limits=ServerLimits(longest_wait_s=300),
    )
    with serve_in_thread(fake) as server:
        client = Client("any", base_url=server.url, timeout=httpx.Timeout(300))
        client.poll_interval = 0.05
        yield client
        client._client.close()


def peer(llama: LlamaServer) -> httpx.Client:
    key = {"Authorization": f"Bearer {llama.api_key}"}
    return httpx.Client(base_url=llama.url, headers=key, timeout=300)


def prompt_tokens(llama: LlamaServer, prompt: str, system: str) -> int:
    """Count by the model's own template and tokenizer."""
    with peer(llama) as client:
        asked = {"messages": messages_of(prompt, system)}
        text = client.post("/apply-template", json=asked).json()["prompt"]
        answer = client.post("/tokenize", json={"content": text, "parse_special": True})
        return len(answer.json()["tokens"])


def test_the_real_model_streams_and_its_tokens_are_true(
    llama: LlamaServer, replicate: Client
) -> None:
    events = list(replicate.stream(MODEL, input={**ASK, "seed": 1, "max_new_tokens": 12}))
    (prediction, *_) = replicate.predictions.list().results
    prediction.wait()
    texts = [str(event) for event in events if str(event)]
    assert len(texts) > 3
    assert prediction.metrics is not None
    assert prediction.metrics["output_token_count"] == 12
    assert prediction.metrics["input_token_count"] == prompt_tokens(llama, QUESTION, SYSTEM)
    assert prediction.metrics["time_to_first_token"] > 0
    assert prediction.metrics["tokens_per_second"] > 0
    assert prediction.output == texts


def test_temperature_and_seed_are_honoured(replicate: Client) -> None:
    wild = {**ASK, "temperature": 1.5, "top_p": 1.0, "max_new_tokens": 16}
    first, again, other = (replicate.run(MODEL, input={**wild, "seed": seed}) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_reader_who_leaves_frees_the_slot_for_the_next(replicate: Client) -> None:
    stream = replicate.stream(MODEL, input={**ASK, "max_new_tokens": 1500})
    next(stream)
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert replicate.run(MODEL, input={**ASK, "max_new_tokens": 2})
    statuses = [each.status for each in replicate.predictions.list().results[:2]]
    assert statuses == ["succeeded", "canceled"]


def test_a_prompt_beyond_the_context_fails_with_a_sentence(replicate: Client) -> None:
    with pytest.raises(ModelError, match="context size"):
        replicate.run(MODEL, input={"prompt": "a b c d " * 3000, "max_new_tokens": 2})


def test_nobody_else_on_the_machine_can_use_the_models_own_server(llama: LlamaServer) -> None:
    with httpx.Client(base_url=llama.url) as stranger:
        asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        assert stranger.post("/v1/chat/completions", json=asked).status_code == 401
        assert stranger.get("/slots").status_code in (401, 501)


def test_a_broken_model_file_is_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and no more")
    with pytest.raises(LlamaUnavailable, match="cannot be loaded"):
        LlamaServer(broken, name="broken", threads=1)
    with pytest.raises(LlamaUnavailable, match="no model file"):
        choose(Wishes(threads=1, model=tmp_path / "absent.gguf"), str)


def test_without_weights_scripted_text_answers_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_index(**_options: object) -> Path:
        raise WeightsError("The package index does not answer.")

    said: list[str] = []
    monkeypatch.setattr(engine, "fetch", no_index)
    chosen = choose(Wishes(threads=1), said.append)
    assert (chosen.engine.real, chosen.engine.name) == (False, "scripted")
    assert chosen.engine.reason == "The package index does not answer."
    assert "scripted text: The package index does not answer." in said[0]


@pytest.mark.parametrize(
    ("code", "errors", "sentence"),
    [
        (1, "ModuleNotFoundError: No module named 'xllamacpp'", "not installed"),
        (-4, "", "does not run on this processor"),
        (1, "ImportError: libfoo.so is missing", "libfoo.so is missing"),
        (1, "", "it gave no reason"),
    ],
)
def test_an_engine_that_cannot_be_loaded_is_a_sentence(
    code: int, errors: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    end = f"kill {code} $$" if code < 0 else f"exit {code}"
    python.write_text(f'#!/bin/sh\necho "{errors}" >&2\n{end}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(engine, "_lacks_avx2", lambda: False)
    with pytest.raises(LlamaUnavailable, match=sentence):
        engine.require_engine()


def test_another_server_answers_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_LLAMA_API_KEY", "k")
    chosen = choose(Wishes(threads=1, openai_url="http://127.0.0.1:9/v1", openai_model="m"), str)
    assert isinstance(chosen.engine, OpenAIEngine)
    assert (chosen.engine.name, chosen.engine.real) == ("m", True)
