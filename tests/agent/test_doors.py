"""Doors into a process: what a command line said, and a tracer provider that is not ours."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from llm_observe.agent import doors
from llm_observe.agent.lastgood import RemoteState
from llm_observe.agent.options import read_options
from llm_observe.control.client import ControlClient
from llm_observe.errors import SettingsError
from llm_observe.settings.layers import Layer
from llm_observe.settings.model import Capture, CaptureLevel, Settings
from llm_observe.testing import OTLPSink
from tests.cli.plane import serving, until
from tests.programs import LONG_S, MODEL, World, servers

SECRET = "the-launch-code"


class TestWhatACommandLineSaid:
    NOTHING = dict.fromkeys(("service_name", "server", "settings", "limits", "resource"))

    @pytest.fixture(autouse=True)
    def _forget(self) -> Iterator[None]:
        yield
        doors.preset()

    def test_holds_where_the_program_says_nothing(self) -> None:
        doors.preset(service_name="given", server="http://x", settings=None)
        both = doors.with_preset(self.NOTHING)
        assert both == {**self.NOTHING, "service_name": "given", "server": "http://x"}

    def test_is_weaker_than_what_the_program_says(self) -> None:
        doors.preset(service_name="given", server="http://x")
        assert doors.with_preset({"service_name": "own", "server": None}) == {
            "service_name": "own",
            "server": "http://x",
        }

    @pytest.mark.parametrize(
        "own",
        [{"capture": {"level": "off"}}, Settings(capture=Capture(level=CaptureLevel.OFF))],
    )
    def test_is_merged_with_it_key_by_key(self, own: Any) -> None:
        doors.preset(
            settings={"capture": {"level": "full"}, "sampling": {"ratio": 0.5}},
            resource={"a": 1, "b": 1},
        )
        both = doors.with_preset({"settings": own, "resource": {"b": 2}})
        assert both["settings"] == {"capture": {"level": "off"}, "sampling": {"ratio": 0.5}}
        assert both["resource"] == {"a": 1, "b": 2}

    def test_is_forgotten_with_the_next_word(self) -> None:
        doors.preset(server="http://x")
        doors.preset(service_name="given")
        assert doors.with_preset({"server": None})["server"] is None


class TestOnAProviderThatIsNotOurs:
    @pytest.fixture(autouse=True)
    def _theirs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doors, "foreign_provider", lambda: TracerProvider())

    def test_the_otlp_variables_are_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
        monkeypatch.setenv("LLM_OBSERVE_SERVER", "http://plane:4320")
        options = doors.read_here(0.0)
        assert not options.layers[Layer.ENVIRONMENT].fragment.get("destinations")
        assert [*options.layers[Layer.DEFAULT].fragment["destinations"]] == ["control-plane"]

    def test_sampling_has_no_effect_and_that_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLM_OBSERVE_SAMPLING_RATIO", "0.25")
        options = doors.read_here(0.0, settings={"sampling": {"ratio": 0.5}})
        assert all("sampling" not in value.fragment for value in options.layers.values())
        assert [problem.path for problem in options.problems] == ["sampling", "sampling"]
        assert all("not enforceable here" in str(problem) for problem in options.problems)

    def test_the_resource_names_it(self) -> None:
        name = "opentelemetry.sdk.trace.TracerProvider"
        assert doors.read_here(0.0).resource == {doors.PROVIDER: name}

    def test_saved_settings_that_do_not_hold_are_not_claimed(self) -> None:
        saved = RemoteState(
            {"sampling": {"ratio": 0.5}, "capture": {"level": "off"}}, 1.0, b"h" * 32
        )
        held = doors.enforceable(saved, read_options({}, 0.0))
        assert held.fragment == {"capture": {"level": "off"}}
        assert not held.applied
        assert "sampling.ratio: found 0.5" in held.error
        assert held.received_hash == saved.received_hash

    def test_saved_settings_that_hold_are_kept(self) -> None:
        saved = RemoteState({"capture": {"level": "off"}}, 1.0, b"h" * 32)
        assert doors.enforceable(saved, read_options({}, 0.0)) is saved

    def test_a_wrong_argument_is_an_error_all_the_same(self) -> None:
        with pytest.raises(SettingsError):
            doors.read_here(0.0, server="nowhere")


PROGRAM = f"""
import json, sys
import replicate
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=60_000))
trace.set_tracer_provider(provider)

import llm_observe
handle = llm_observe.observe("shop")
for line in sys.stdin:
    if line.startswith("call"):
        with trace.get_tracer("app").start_as_current_span("request"):
            list(replicate.stream("{MODEL}", input={{"prompt": "{SECRET}"}}))
        print(json.dumps(line != "call\\n" or handle.flush(30.0)), flush=True)
    else:
        print(json.dumps(str(handle.status())), flush=True)
"""


class Shop:
    """The program, and the control plane it follows."""

    def __init__(self, program: subprocess.Popen[str], client: ControlClient) -> None:
        self.program, self.client = program, client

    def ask(self, word: str) -> Any:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{word}\n")
        self.program.stdin.flush()
        return json.loads(self.program.stdout.readline())

    @property
    def agent(self) -> dict[str, Any]:
        (found,) = self.client.agents(service="shop")
        return self.client.agent(found["uid"])

    def settled(self, number: int) -> dict[str, Any]:
        *_, last = self.client.wait(number, LONG_S)
        return dict(last)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[str, OTLPSink, str]]:
    with servers() as made:
        yield made


@pytest.fixture
def shop(both: tuple[str, OTLPSink, str], tmp_path: Path) -> Iterator[tuple[OTLPSink, Shop]]:
    replicate, sink, otlp = both
    sink.clear()
    place = World(tmp_path, replicate, sink, otlp)
    place.write("shop.py", PROGRAM)
    with serving(tmp_path / "plane") as url, ControlClient(url) as client:
        environ = place.environ(LLM_OBSERVE_SERVER=url, LLM_OBSERVE_STATE_DIR=str(tmp_path / "s"))
        with running(place, environ) as program:
            until(lambda: [*client.agents(service="shop")])
            yield sink, Shop(program, client)


@contextmanager
def running(place: World, environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        [sys.executable, "shop.py"], cwd=place.folder, env=environ, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield program
    finally:
        program.communicate(timeout=LONG_S)


def test_calls_are_in_the_apps_backend_in_whole_traces_and_in_the_control_plane(
    shop: tuple[OTLPSink, Shop],
) -> None:
    sink, program = shop
    assert program.ask("call") is True
    call, request = sorted(sink.spans(), key=lambda span: span.name)
    assert call.name == f"chat {MODEL}"
    assert call.parent_span_id == request.span_id
    numbers = {item.key: item.value.int_value for item in call.attributes}
    assert numbers["gen_ai.usage.output_tokens"] == 2
    (seen,) = program.client.traces()
    assert seen["trace_id"] == call.trace_id.hex()
    assert len(sink.spans()) == 2  # one copy, although both read the same variables


def test_the_capture_level_is_followed_and_acknowledged(shop: tuple[OTLPSink, Shop]) -> None:
    sink, program = shop
    raised = program.client.change({"capture.level": "full"}, service="shop")
    assert program.settled(raised["version"])["state"] == "acknowledged"
    program.ask("call")
    assert sink.holds(SECRET)
    lowered = program.client.change({"capture.level": "off"}, service="shop")
    assert program.settled(lowered["version"])["state"] == "acknowledged"
    sink.clear()
    program.ask("call")
    assert len(sink.spans()) == 2
    assert not sink.holds(SECRET)


def test_a_signal_loses_no_call(shop: tuple[OTLPSink, Shop]) -> None:
    sink, program = shop
    assert program.ask("call and no flush") is True
    assert not sink.spans()
    program.program.send_signal(signal.SIGTERM)
    assert program.program.wait(LONG_S) == -signal.SIGTERM
    assert sorted(span.name for span in sink.spans()) == [f"chat {MODEL}", "request"]


@pytest.mark.parametrize(
    "change",
    [
        {"sampling.ratio": 0.5},
        {"destinations.other.endpoint": "http://127.0.0.1:9"},
        {"destinations.control-plane.enabled": False},
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(
    shop: tuple[OTLPSink, Shop], change: dict[str, Any]
) -> None:
    _, program = shop
    made = program.client.change(change, service="shop")
    outcome = program.settled(made["version"])
    assert outcome["state"] == "refused"
    said = str(outcome["agents"])
    assert "not enforceable here" in said
    assert next(iter(change)).rpartition(".")[0] in said
    status = program.ask("status")
    assert "opentelemetry.sdk.trace.TracerProvider" in status
    keys = {item["path"]: item["effective"] for item in program.agent["keys"]}
    assert keys["capture.level"] == "metadata"
    assert keys.get("sampling.ratio") is None  # nobody here knows it
