"""Chooses what answers as the local Llama: the real model, another model, or scripted text."""

from __future__ import annotations

import importlib
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatbot_app.weights import SMOLLM2, Say, WeightsError, fetch
from llm_observe.testing.engines import Engine, ScriptedEngine
from llm_observe.testing.openai_engine import OpenAIEngine

SLOTS = 4
"""Answers at the same time; more wait for their turn."""

TOKENS_PER_SLOT = 2048
"""Prompt and answer together."""

API_KEY_VARIABLE = "LOCAL_LLAMA_API_KEY"
"""Environment variable with the key for ``--openai-url``, if that server wants one."""

_PROBE_DEADLINE_S = 60


class LlamaUnavailable(Exception):
    """No model can run here; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user asked for."""

    threads: int
    scripted: bool = False
    model: Path | None = None
    openai_url: str | None = None
    openai_model: str = "default"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What answers, and how to end it."""

    engine: Engine
    close: Callable[[], None]


def default_threads() -> int:
    """Half of the processors, 1 to 4: more than the machine has free makes it slower."""
    return max(1, min(4, (os.cpu_count() or 1) // 2))


def choose(wishes: Wishes, say: Say) -> Chosen:
    """Pick an engine. Where no model can run, scripted text answers, and `say` is told why.

    Raises:
        LlamaUnavailable: A model was asked for by name and cannot be had.
    """
    if wishes.openai_url:
        return _other_server(wishes, wishes.openai_url)
    if wishes.scripted:
        return _scripted("scripted text was asked for")
    try:
        return _real(wishes, say)
    except LlamaUnavailable as error:
        if wishes.model is not None:
            raise
        say(f"No model can run here, so answers are scripted text: {error}")
        return _scripted(str(error))


def _nothing_to_close() -> None:
    return None


def _scripted(reason: str) -> Chosen:
    engine = ScriptedEngine(first_delay_s=0.2, delay_s=0.04, reason=reason)
    return Chosen(engine, _nothing_to_close)


def _other_server(wishes: Wishes, url: str) -> Chosen:
    key = os.environ.get(API_KEY_VARIABLE)
    engine = OpenAIEngine(
        url,
        model=wishes.openai_model,
        reason="an OpenAI-compatible server answers",
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
    return Chosen(engine, _nothing_to_close)


def _real(wishes: Wishes, say: Say) -> Chosen:
    require_engine()
    try:
        path = wishes.model or fetch(say=say)
    except WeightsError as error:
        raise LlamaUnavailable(str(error)) from error
    name = SMOLLM2.name if wishes.model is None else path.stem
    server = LlamaServer(path, name=name, threads=wishes.threads)
    reason = f"llama.cpp runs it on this machine, {wishes.threads} thread(s)"
    return Chosen(server.engine(reason), server.close)


def require_engine() -> None:
    """Check in a process of its own that xllamacpp can be loaded: on a processor without AVX2 the
    system would end the process that tries.

    Raises:
        LlamaUnavailable: It cannot, and why.
    """
    if _lacks_avx2():
        raise LlamaUnavailable("this processor has no AVX2, which the engine's wheel needs")
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import xllamacpp"],
            capture_output=True,
            text=True,
            timeout=_PROBE_DEADLINE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LlamaUnavailable(f"the engine xllamacpp cannot be tried: {error}") from error
    if done.returncode != 0:
        raise LlamaUnavailable(_why(done.returncode, done.stderr))


def _lacks_avx2() -> bool:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    try:
        return " avx2 " not in Path("/proc/cpuinfo").read_text().replace("\n", " ")
    except OSError:
        return False


def _why(code: int, errors: str) -> str:
    if "No module named" in errors:
        return "the engine is not installed (pip install 'llm-observe[llama]')"
    if code < 0:
        return f"the engine xllamacpp does not run on this processor (signal {-code})"
    last = (errors.strip().splitlines() or ["it gave no reason"])[-1]
    return f"the engine xllamacpp cannot be loaded: {last[:300]}"


class LlamaServer:
    """llama.cpp's own server in this process, on a free loopback port, behind a random key.

    Args:
        path: A GGUF file.
        name: What the model is called.
        threads: Processor threads.
        slots: Answers at the same time.
        tokens_per_slot: Prompt and answer together, in tokens.

    Raises:
        LlamaUnavailable: The model cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        threads: int,
        slots: int = SLOTS,
        tokens_per_slot: int = TOKENS_PER_SLOT,
    ) -> None:
        if not path.is_file():
            raise LlamaUnavailable(f"there is no model file at {path}")
        self.name, self.api_key = name, secrets.token_urlsafe(24)
        xllamacpp = importlib.import_module("xllamacpp")  # optional, and 0.1 s to load
        parameters = xllamacpp.CommonParams()
        _configure(parameters, path, name, threads)
        parameters.n_parallel, parameters.n_ctx = slots, slots * tokens_per_slot
        parameters.api_keys = [self.api_key]
        try:
            self._server: Any = xllamacpp.Server(parameters)
        except (RuntimeError, ValueError) as error:
            raise LlamaUnavailable(f"the model in {path} cannot be loaded: {error}") from error
        self.url: str = self._server.listening_address

    def engine(self, reason: str = "") -> OpenAIEngine:
        """An engine that asks this server."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return OpenAIEngine(
            self.url, model=self.name, name=self.name, reason=reason, headers=headers
        )

    def close(self) -> None:
        """Stop the server and free the model."""
        self._server = None


def _configure(parameters: Any, path: Path, name: str, threads: int) -> None:
    parameters.model.path = str(path)
    parameters.model_alias = {name}
    parameters.verbosity = 0
    parameters.warmup = True
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.port = 0
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
