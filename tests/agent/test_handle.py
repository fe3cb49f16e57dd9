"""`observe` in processes of its own: what it sets up belongs to a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_BEGIN = """
import logging, sys, threading, warnings
warnings.simplefilter("error")
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import llm_observe
from opentelemetry import trace
from llm_observe.agent import handle as module
from llm_observe.errors import SettingsError
from llm_observe.tracing.wrapping import patch
"""


def run(tmp_path: Path, script: str, **environ: str) -> list[str]:
    env = {
        **os.environ,
        "LLM_OBSERVE_STATE_DIR": str(tmp_path),
        "OTEL_SERVICE_NAME": "s",
        **environ,
    }
    command = [sys.executable, "-c", _BEGIN + script]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_second_observe_is_the_first_without_a_word(tmp_path: Path) -> None:
    assert run(tmp_path, """
first = llm_observe.observe(settings={"sampling": {"ratio": 0.5}})
provider, threads = trace.get_tracer_provider(), threading.active_count()
for _ in range(5):
    assert llm_observe.observe(settings={"sampling": {"ratio": 0.5}}) is first
assert trace.get_tracer_provider() is provider
assert threading.active_count() == threads
""") == []  # fmt: skip


def test_other_arguments_are_ignored_with_one_warning(tmp_path: Path) -> None:
    assert run(tmp_path, """
first = llm_observe.observe()
assert llm_observe.observe("other") is first
print(first.status().service_name)
""") == ["llm-observe: already observing; the new arguments are ignored", "s"]  # fmt: skip


def test_observe_from_many_threads_makes_one_handle(tmp_path: Path) -> None:
    assert run(tmp_path, """
found, start = [], threading.Barrier(8)
def observe():
    start.wait()
    found.append(llm_observe.observe())
threads = [threading.Thread(target=observe) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(found), len(set(map(id, found))))
""") == ["8 1"]  # fmt: skip


def test_after_shutdown_observation_may_begin_again_under_a_new_name(tmp_path: Path) -> None:
    assert run(tmp_path, """
import signal
first = llm_observe.observe()
first.shutdown(); first.shutdown()
assert patch.connected() is None
assert first.flush(0.1)
second = llm_observe.observe()
assert second is not first and second.instance_id != first.instance_id
assert patch.connected() is not None
assert module.current() is second
llm_observe.shutdown()
assert signal.getsignal.__module__ == signal.signal.__module__ == "signal"
print(second.status())
""")[0].startswith("s observes")  # fmt: skip


@pytest.mark.parametrize(
    "argument", ['settings={"sampling": {"ratio": 3}}', 'server="nonsense"', 'limits={"x": 1}',
                 'opamp_endpoint="localhost:1"'],
)  # fmt: skip
def test_a_mistake_of_the_program_raises_and_starts_nothing(tmp_path: Path, argument: str) -> None:
    assert run(tmp_path, f"""
try:
    llm_observe.observe({argument})
except SettingsError as error:
    print(type(error).__name__)
assert module.current() is None and patch.connected() is None
assert threading.active_count() == 1
""") == ["SettingsError"]  # fmt: skip


def test_a_mistake_of_the_environment_is_said_and_observes(tmp_path: Path) -> None:
    lines = run(tmp_path, "print(llm_observe.observe().status())", LLM_OBSERVE_SAMPLING_RATIO="9")
    assert any(line.startswith("Ignored: LLM_OBSERVE_SAMPLING_RATIO") for line in lines)


def test_disabled_means_that_nothing_is_wrapped_started_or_claimed(tmp_path: Path) -> None:
    assert run(tmp_path / "state", """
handle = llm_observe.observe(server="http://127.0.0.1:9")
assert patch.connected() is None and threading.active_count() == 1
assert handle.flush() and handle.settings().sampling.ratio == 1.0
handle.shutdown()
print(handle.status())
""", OTEL_SDK_DISABLED="true") == ["Nothing is observed: OTEL_SDK_DISABLED is true."]  # fmt: skip
    assert not (tmp_path / "state").exists()


def test_a_fault_of_ours_at_the_start_costs_observation_and_not_the_program(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
from llm_observe.agent import doors
def broken(*args):
    raise NameError("half an update")
doors.make_pipeline = broken
handle = llm_observe.observe("shop")
assert llm_observe.observe("shop") is handle
assert handle.flush() and handle.settings().capture.level == "metadata"
print(handle.status())
handle.shutdown()
""",
    )
    assert said[0] == "llm-observe: nothing is observed, because of a fault of our own"
    assert said[-1] == (
        "Nothing is observed: it could not start (NameError), and the log says more."
    )


def test_without_a_control_plane_no_thread_dials(tmp_path: Path) -> None:
    assert run(tmp_path, """
llm_observe.observe()
names = {thread.name for thread in threading.enumerate()}
print([name for name in sorted(names) if "opamp" in name or "start" in name])
assert "pydantic" not in sys.modules and "websockets" not in sys.modules
""") == ["[]"]  # fmt: skip


def test_an_absent_control_plane_delays_neither_start_nor_end(tmp_path: Path) -> None:
    lines = run(tmp_path, """
handle = llm_observe.observe(server="http://127.0.0.1:9")
print(handle.status().link.server, handle.status().link.connected)
""")  # fmt: skip
    assert lines == ["http://127.0.0.1:9 False"]


def test_the_program_that_takes_over_before_a_line_is_made_has_its_own_line(tmp_path: Path) -> None:
    """What a command line said of the server is not dialled any more, least of all with its token."""
    assert run(tmp_path, """
import time
from llm_observe.agent import doors
doors.preset(server="http://127.0.0.1:8")
module.begin()
handle = llm_observe.observe(server="http://127.0.0.1:9", token="own")
until = time.monotonic() + 30
while handle._runtime is None and time.monotonic() < until:
    time.sleep(0.01)
print(handle._runtime._link.url)
""") == ["ws://127.0.0.1:9/v1/opamp"]  # fmt: skip
