"""What the demo starts, as data: ports, commands, environments, and the words for the screen."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_observe.cli.processes import Program

_NOT_PASSED_ON = ("OTEL_EXPORTER_OTLP_", "LLM_OBSERVE_TOKEN", "LLM_OBSERVE_ADMIN_TOKEN")
"""Of the user's own environment: they would lead the demo's spans elsewhere, or be refused."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start and where. ``replicate``: a token for the real Replicate is there."""

    port: int
    otlp_port: int
    chatbot_port: int
    llama_port: int
    chatbot: bool
    scripted: bool
    data_dir: Path
    replicate: bool

    @property
    def llama(self) -> bool:
        """Whether a local Llama is needed."""
        return self.chatbot and (self.scripted or not self.replicate)

    @property
    def control_url(self) -> str:
        """Address of the control plane."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def chatbot_url(self) -> str:
        """Address of the chatbot."""
        return f"http://127.0.0.1:{self.chatbot_port}"

    @property
    def llama_url(self) -> str:
        """Address of the local Llama, in the place of Replicate's API."""
        return f"http://127.0.0.1:{self.llama_port}"

    def ports(self) -> Iterator[tuple[int, str, str]]:
        """Each port that is needed: number, for what, which option changes it."""
        yield self.port, "control plane", "--port"
        if self.otlp_port:
            yield self.otlp_port, "OTLP intake", "--otlp-port"
        if self.chatbot:
            yield self.chatbot_port, "chatbot", "--chatbot-port"
        if self.llama:
            yield self.llama_port, "local Llama", "--llama-port"


def needed_packages(plan: Plan) -> list[str]:
    """Packages that the plan's programs import."""
    chatbot = ["streamlit", "replicate"] if plan.chatbot else []
    return ["fastapi", "uvicorn", "sqlalchemy", *chatbot]


def programs(plan: Plan, environ: Mapping[str, str]) -> Iterator[Program]:
    """The programs in the order in which they are started."""
    base = {k: v for k, v in environ.items() if not k.startswith(_NOT_PASSED_ON)}
    base["PYTHONUNBUFFERED"] = "1"
    yield _control_plane(plan, base)
    if plan.llama:
        yield _llama(plan, base)
    if plan.chatbot:
        yield _chatbot(plan, base)


def _control_plane(plan: Plan, base: Mapping[str, str]) -> Program:
    command = [
        sys.executable, "-m", "llm_observe.cli", "serve", "--port", str(plan.port),
        "--otlp-port", str(plan.otlp_port), "--data-dir", str(plan.data_dir / "control-plane"),
    ]  # fmt: skip
    return Program("control plane", command, base, f"{plan.control_url}/readyz", deadline_s=90)


def _llama(plan: Plan, base: Mapping[str, str]) -> Program:
    command = [sys.executable, "-m", "chatbot_app.local_llama", "--port", str(plan.llama_port)]
    command += ["--scripted"] if plan.scripted else []
    # The first start fetches the model's weights.
    return Program("local Llama", command, base, f"{plan.llama_url}/healthz", deadline_s=600)


def _chatbot(plan: Plan, base: Mapping[str, str]) -> Program:
    environment = {
        **base,
        "LLM_OBSERVE_SERVER": plan.control_url,
        "LLM_OBSERVE_STATE_DIR": str(plan.data_dir / "state"),
    }
    if plan.llama:
        environment.pop("REPLICATE_API_TOKEN", None)  # it would go to the local Llama
        environment["REPLICATE_BASE_URL"] = plan.llama_url
    command = [sys.executable, "-m", "chatbot_app", "--port", str(plan.chatbot_port)]
    ready = f"{plan.chatbot_url}/_stcore/health"
    return Program("chatbot", command, environment, ready, deadline_s=90)


def command_line() -> str:
    """How a user runs the command line from here: the short way if the shell finds it."""
    here = Path(sys.executable).parent / "llm-observe"
    if shutil.which("llm-observe") or not here.exists():
        return "llm-observe"
    return os.path.relpath(here) if here.is_relative_to(Path.cwd()) else str(here)


def what_to_try(
    plan: Plan, engine: Mapping[str, Any], program: str = "llm-observe"
) -> Iterator[str]:
    """The addresses, and the first things to do.

    ``engine`` is what the local Llama says of itself; empty where there is none. ``program`` is
    what a user types to run the command line.
    """
    yield ""
    yield f"  Control plane  {plan.control_url}"
    if plan.chatbot:
        yield f"  Chatbot        {plan.chatbot_url}"
        yield f"  Model          {_model(plan, engine)}"
    yield f"  Data           {plan.data_dir}"
    yield ""
    yield "Try:"
    yield from (f"  {number}. {step}" for number, step in enumerate(_steps(plan, program), 1))
    yield ""
    yield "Ctrl-C stops everything."


def _model(plan: Plan, engine: Mapping[str, Any]) -> str:
    if not plan.llama:
        return "Llama 2 at Replicate, with your API key"
    where = f"behind Replicate's API at {plan.llama_url}"
    if engine.get("real"):
        return f"{engine.get('engine')}, a real small Llama on this machine, {where}"
    reason = f": {engine['reason']}" if engine.get("reason") else ""
    return f"scripted text, no model{reason}; {where}"


def _steps(plan: Plan, program: str) -> Iterator[str]:
    server = "" if plan.port == 4320 else f" --server {plan.control_url}"
    if plan.chatbot:
        yield "Ask the chatbot something, and see the call under Traces: why was it slow?"
        yield f"Hide prompts while it runs: {program} set capture.level=off --wait{server}"
        yield f"Stop exporting spans (charts go on): {program} set sampling.ratio=0 --wait{server}"
        yield f"Ask for something wrong: {program} set sampling.ratio=1.5{server}"
        yield f"Take it back: {program} undo --wait{server}"
    else:
        yield f"Start your own app with LLM_OBSERVE_SERVER={plan.control_url}"
        yield f"See who is connected: {program} agents{server}"
