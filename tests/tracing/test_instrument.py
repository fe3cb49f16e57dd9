import importlib
import subprocess
import sys
import types
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import wrapt

from llm_observe.tracing import instrument
from llm_observe.tracing.instrument import InstrumentorInfo

CLIENT: Any = importlib.import_module("replicate.client")
PREDICTIONS: Any = importlib.import_module("replicate.prediction").Predictions
MODELS: Any = importlib.import_module("replicate.model").ModelsPredictions


def present() -> tuple[Any, ...]:
    return CLIENT.run, CLIENT.stream, PREDICTIONS.create, MODELS.create


ORIGINALS = present()


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    instrument.uninstall()
    assert present() == ORIGINALS


def only() -> InstrumentorInfo:
    (info,) = instrument.installed()
    return info


def test_a_library_imported_before_is_wrapped_and_unwrapped() -> None:
    assert only() == InstrumentorInfo("replicate", "replicate", version("replicate"), "off")
    instrument.install()
    assert only().state == "active"
    assert [getattr(item, "__wrapped__", None) for item in present()] == list(ORIGINALS)
    instrument.uninstall()
    assert only().state == "off"
    assert present() == ORIGINALS


def test_installing_twice_wraps_once() -> None:
    instrument.install()
    first = present()
    instrument.install()
    assert present() == first
    assert CLIENT.run.__wrapped__ is ORIGINALS[0]


def test_it_can_be_installed_again() -> None:
    for _ in range(3):
        instrument.install()
        assert only().state == "active"
        instrument.uninstall()


def test_a_wrapper_around_ours_is_left_in_place_and_ours_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instrument.install()
    ours = CLIENT.run
    around = wrapt.FunctionWrapper(ours, lambda wrapped, instance, args, kwargs: "theirs")
    with monkeypatch.context() as patched:
        patched.setattr(CLIENT, "run", around)
        instrument.uninstall()
        assert CLIENT.run is around
        assert ours._self_wrapper.on is False
    CLIENT.run = ORIGINALS[0]


def run(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_library_imported_later_is_caught_and_none_is_imported_for_it() -> None:
    assert (
        run(
            "import sys\n"
            "from llm_observe.tracing import instrument\n"
            "instrument.install()\n"
            "print(instrument.installed()[0].state, 'replicate' in sys.modules)\n"
            "import replicate\n"
            "print(instrument.installed()[0].state)\n"
        )
        == "waiting False\nactive"
    )


def test_an_absent_library_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrument, "_version", lambda library: "")
    entry = instrument._entries["replicate"]
    monkeypatch.setattr(entry, "state", "waiting")
    assert (only().state, only().reason) == ("absent", "replicate is not installed")


def test_another_major_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrument, "_version", lambda library: "2.0.0b4")
    instrument.install()
    assert only().state == "unsupported"
    assert only().reason == "replicate 2.0.0b4 is installed, 1.x is supported"
    assert present() == ORIGINALS


class Rival:
    is_instrumented_by_opentelemetry = True


def test_where_another_instrumentor_is_active_ours_stays_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("opentelemetry.instrumentation.replicate")
    module.ReplicateInstrumentor = Rival  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, module.__name__, module)
    instrument.install()
    assert only().state == "conflict"
    assert "opentelemetry-instrumentation-replicate already records" in only().reason
    assert present() == ORIGINALS


def test_another_instrumentor_that_comes_later_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    instrument.install()
    module = types.ModuleType("opentelemetry.instrumentation.replicate")
    module.ReplicateInstrumentor = Rival  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert only().state == "active"
    assert "recorded twice" in only().reason


def test_a_library_without_the_expected_names_is_left_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.delattr(MODELS, "create")
        instrument.install()
        assert only().state == "unsupported"
        assert CLIENT.run is ORIGINALS[0]
        assert PREDICTIONS.create is ORIGINALS[2]
