"""A program that ``llm-observe run`` started, and that has its own say later, sooner or never."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_observe.agent.autostart import _is_helper
from llm_observe.control.client import ControlClient
from llm_observe.testing import OTLPSink
from tests.cli.plane import serving, until
from tests.programs import CALL, LONG_S, RUN, World, servers

BEGUN = """
import json, sys, time, llm_observe
from llm_observe.agent.handle import current
while current() is None:
    time.sleep(0.02)
first = current()
"""
"""Waits until observation has begun by itself."""


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[str, OTLPSink, str]]:
    with servers() as made:
        yield made


@pytest.fixture
def place(both: tuple[str, OTLPSink, str], tmp_path: Path) -> World:
    replicate, sink, otlp = both
    sink.clear()
    return World(tmp_path, replicate, sink, otlp)


def test_a_program_that_only_waits_is_observed_all_the_same(place: World) -> None:
    place.write("idle.py", BEGUN + "print(first.status().service_name, first.provisional)")
    done = place.run("python", "idle.py")
    assert (done.stdout, done.stderr) == ("idle True\n", "")


def test_a_program_that_is_ended_by_a_signal_loses_nothing(place: World) -> None:
    place.write("idle.py", f"""{BEGUN}
import os, signal
{CALL}
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
""")  # fmt: skip
    done = place.run("python", "idle.py")
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")
    assert place.services() == ["idle"]


def test_a_variable_that_is_wrong_is_said_once(place: World) -> None:
    place.write("shop.py", f"import llm_observe\n{CALL}\nllm_observe.observe('own')")
    done = place.run("python", "shop.py", env={"LLM_OBSERVE_SERVER": "nonsense"})
    assert done.stdout == "Hello you.\n"
    assert done.stderr == (
        "llm-observe: LLM_OBSERVE_SERVER: found 'nonsense', "
        "expected a URL such as http://127.0.0.1:4320; it is ignored\n"
    )


class TestAProgramThatObservesItselfLate:
    def test_has_its_way_in_place_and_at_once(self, place: World) -> None:
        place.write("late.py", f"""{BEGUN}
handle = llm_observe.observe("own", settings={{"capture": {{"level": "off"}}}}, resource={{"team": "blue"}})
settings = handle.settings()
{CALL}
print(json.dumps([handle is first, settings.capture.level, handle.status().service_name]))
""")  # fmt: skip
        done = place.run("--service-name", "given", "python", "late.py")
        assert json.loads(done.stdout.splitlines()[-1]) == [True, "off", "own"]
        assert done.stderr == ""
        assert place.services() == ["own"]
        assert place.sink.holds("blue")

    def test_loses_no_call_of_before(self, place: World) -> None:
        place.write("late.py", f"""import llm_observe
{CALL}
llm_observe.observe("own", settings={{"capture": {{"level": "off"}}}})
{CALL}
""")  # fmt: skip
        assert place.run("--service-name", "given", "python", "late.py").returncode == 0
        assert len(place.services()) == 2
        assert "own" in place.services()

    def test_counts_once_and_the_second_time_is_a_second_time(self, place: World) -> None:
        place.write("late.py", f"""{BEGUN}
llm_observe.observe("own")
llm_observe.observe("own")
llm_observe.observe("other")
print(first.status().service_name)
""")  # fmt: skip
        done = place.run("python", "late.py")
        assert done.stdout == "own\n"
        assert done.stderr.count("the new arguments are ignored") == 1

    def test_that_asks_for_nothing_changes_nothing(self, place: World) -> None:
        place.write("late.py", f"""{BEGUN}
before = first.status()
after = llm_observe.observe().status()
print(before.service_name == after.service_name == "given", before.instance_id == after.instance_id)
""")  # fmt: skip
        done = place.run("--service-name", "given", "python", "late.py")
        assert (done.stdout, done.stderr) == ("True True\n", "")

    def test_and_wants_no_client_wrapped_has_none_wrapped(self, place: World) -> None:
        place.write("own.py", f"""import llm_observe
handle = llm_observe.observe(instrument=False)
{CALL}
print(handle.status().instrumentors["replicate"])
""")  # fmt: skip
        done = place.run("python", "own.py")
        assert (done.stdout, done.stderr) == ("Hello you.\noff\n", "")
        assert place.services() == []

    def test_and_is_wrong_gets_the_error_and_nothing_changes(self, place: World) -> None:
        place.write("late.py", f"""{BEGUN}
try:
    llm_observe.observe(settings={{"capture": {{"level": "loud"}}}})
except llm_observe.SettingsError as error:
    print(error)
print(first.settings().capture.level)
""")  # fmt: skip
        done = place.run("python", "late.py")
        assert "capture.level" in done.stdout
        assert done.stdout.splitlines()[-1] == "metadata"


def test_a_program_in_the_midst_of_observing_itself_when_time_is_up_has_the_only_say(
    place: World,
) -> None:
    place.write(
        "slow.py",
        """
import threading, llm_observe
from llm_observe.agent import handle
from llm_observe.tracing.wrapping import patch
waiting, options, threads = patch.connected(), handle._options, []
def while_time_is_up(arguments):
    if not threads:
        threads.append(threading.Thread(target=waiting._begun))
        threads[0].start()
        threads[0].join(0.2)  # as long as it likes to wait for us
    return options(arguments)
handle._options = while_time_is_up
own = llm_observe.observe("own")
threads[0].join()
print(own.provisional, patch.connected() is own._pipeline, own.status().service_name)
""",
    )
    done = place.run("--service-name", "given", "python", "slow.py")
    assert (done.stdout, done.stderr) == ("False True own\n", "")


class TestItsLimits:
    LATE = f"""{BEGUN}
for line in sys.stdin:
    if line == "observe\\n":
        llm_observe.observe("shop", limits={{"capture_level": "metadata"}})
    print(first.settings().capture.level, flush=True)
"""

    def test_hold_against_what_the_control_plane_had_said_before(self, place: World) -> None:
        place.write("late.py", self.LATE)
        with serving(place.folder / "plane") as url:
            program = subprocess.Popen(
                [*RUN, "--server", url, "--service-name", "shop", "python", "late.py"],
                cwd=place.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=place.environ(LLM_OBSERVE_STATE_DIR=str(place.folder / "state")),
            )  # fmt: skip

            def ask(word: str) -> str:
                assert program.stdin is not None
                assert program.stdout is not None
                program.stdin.write(f"{word}\n")
                program.stdin.flush()
                return program.stdout.readline().strip()

            try:
                with ControlClient(url) as client:
                    client.change({"capture.level": "full"}, service="shop")
                    until(lambda: ask("level") == "full")
                    assert ask("observe") == "metadata"
                    until(lambda: self.refused(client))
                    assert self.effective(client) == "metadata"
                assert ask("level") == "metadata"
            finally:
                program.communicate(timeout=LONG_S)

    def agent(self, client: ControlClient) -> dict[str, Any]:
        (found,) = client.agents(service="shop")
        return client.agent(found["uid"])

    def refused(self, client: ControlClient) -> bool:
        said = self.agent(client)["acknowledged"] or {}
        return said.get("state") == "failed" and "local limit" in str(said)

    def effective(self, client: ControlClient) -> Any:
        keys = {item["path"]: item["effective"] for item in self.agent(client)["keys"]}
        return keys["capture.level"]


@pytest.mark.parametrize(
    ("argv", "helper"),
    [
        (["python", "-c", "from multiprocessing.resource_tracker import main;main(5)"], True),
        (["python", "-E", "-c", "from multiprocessing.semaphore_tracker import main"], True),
        (["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()"], False),
        (["python", "app.py"], False),
        ([], False),
    ],
)
def test_pythons_own_helpers_are_left_alone(argv: list[str], helper: bool) -> None:
    assert _is_helper(argv) is helper


def test_what_is_loaded_before_the_program_is_what_observe_loads() -> None:
    code = (
        "import sys; sys.argv = ['app.py']; from llm_observe.agent.autostart import start\n"
        "start({'service_name': 'x'})\n"
        "print(sorted({'pydantic', 'grpc', 'websockets', 'requests', 'httpx'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
