"""What the demo would start, without starting it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llm_observe.cli.demo_plan import Plan, command_line, needed_packages, programs, what_to_try

PLAN = Plan(4320, 4318, 8501, 5320, True, False, Path("/data"), replicate=False)


def environment(plan: Plan, **environ: str) -> dict[str, str]:
    return dict([*programs(plan, environ)][-1].environment)


def test_without_a_key_the_chatbot_talks_to_the_local_llama() -> None:
    assert [p.name for p in programs(PLAN, {})] == ["control plane", "local Llama", "chatbot"]
    assert environment(PLAN)["REPLICATE_BASE_URL"] == "http://127.0.0.1:5320"
    assert environment(PLAN)["LLM_OBSERVE_SERVER"] == "http://127.0.0.1:4320"


def test_with_a_key_it_talks_to_replicate_and_no_llama_is_started() -> None:
    plan = replace(PLAN, replicate=True)
    assert [p.name for p in programs(plan, {})] == ["control plane", "chatbot"]
    found = environment(plan, REPLICATE_API_TOKEN="r8_x")
    assert found["REPLICATE_API_TOKEN"] == "r8_x"
    assert "REPLICATE_BASE_URL" not in found


def test_a_key_never_reaches_the_local_llama() -> None:
    plan = replace(PLAN, replicate=True, scripted=True)
    assert "REPLICATE_API_TOKEN" not in environment(plan, REPLICATE_API_TOKEN="r8_x")


def test_the_users_own_destinations_and_tokens_stay_out_of_the_demo() -> None:
    found = environment(
        PLAN,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://elsewhere",
        LLM_OBSERVE_TOKEN="t",
        LLM_OBSERVE_ADMIN_TOKEN="a",
        LLM_OBSERVE_SERVER="http://elsewhere",
        PATH="/bin",
    )
    assert found.keys().isdisjoint(
        {"OTEL_EXPORTER_OTLP_ENDPOINT", "LLM_OBSERVE_TOKEN", "LLM_OBSERVE_ADMIN_TOKEN"}
    )
    assert found["LLM_OBSERVE_SERVER"] == "http://127.0.0.1:4320"
    assert found["PATH"] == "/bin"


def test_only_what_is_started_needs_a_port_and_packages() -> None:
    plan = replace(PLAN, chatbot=False, otlp_port=0)
    assert [port for port, _, _ in plan.ports()] == [4320]
    assert "streamlit" not in needed_packages(plan)
    assert [port for port, _, _ in PLAN.ports()] == [4320, 4318, 8501, 5320]


def test_the_screen_says_what_answers_as_it_is() -> None:
    real = "\n".join(what_to_try(PLAN, {"engine": "SmolLM2", "real": True}))
    assert "SmolLM2, a real small Llama on this machine" in real
    scripted = "\n".join(what_to_try(PLAN, {"real": False, "reason": "no wheel fits"}))
    assert "scripted text, no model: no wheel fits" in scripted
    assert "Replicate, with your API key" in "\n".join(
        what_to_try(replace(PLAN, replicate=True), {})
    )


def test_commands_to_try_name_the_server_if_it_is_not_the_usual_one() -> None:
    assert "--server" not in "\n".join(what_to_try(PLAN, {}))
    assert "--server http://127.0.0.1:9" in "\n".join(what_to_try(replace(PLAN, port=9), {}))


def test_commands_to_try_are_written_as_the_shell_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / ".venv" / "bin" / "llm-observe"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.executable", str(program.parent / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_line() == ".venv/bin/llm-observe"
    assert ": .venv/bin/llm-observe undo" in "\n".join(what_to_try(PLAN, {}, command_line()))
    monkeypatch.setenv("PATH", str(program.parent))
    assert command_line() == "llm-observe"
