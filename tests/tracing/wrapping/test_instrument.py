import importlib
import inspect
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
import wrapt

from llm_observe.tracing.providers.base import Target
from llm_observe.tracing.providers.replicate import Replicate
from llm_observe.tracing.wrapping import instrument
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo

CLIENT: Any = importlib.import_module("replicate.client")
MODELS: Any = importlib.import_module("replicate.model").ModelsPredictions
TARGETS = Replicate.targets


def present() -> tuple[Any, ...]:
    return tuple(wrapt.resolve_path(target.module, target.name)[2] for target in TARGETS)


ORIGINALS = present()
STREAM: Any = importlib.import_module("replicate.stream")
QUESTIONS: tuple[Callable[[Any], Any], ...] = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
    inspect.isfunction,
    inspect.signature,
    lambda function: (function.__name__, function.__qualname__, function.__doc__),
)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    instrument.uninstall()  # `capture_spans` in another test leaves the wrappers on
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
            "from llm_observe.tracing.wrapping import instrument\n"
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
    monkeypatch.setattr(instrument, "_version", lambda library: "0.34.2")
    instrument.install()
    assert only().state == "unsupported"
    assert only().reason.startswith("replicate 0.34.2 is installed, 1.x")
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
    assert present() == ORIGINALS


def test_functions_keep_their_kind_and_signature() -> None:
    instrument.install()
    for after, before in zip(present(), ORIGINALS, strict=True):
        for question in QUESTIONS:
            assert question(after) == question(before), before
    client: Any = CLIENT.Client("token")
    assert inspect.iscoroutinefunction(client.predictions.async_create)
    assert inspect.iscoroutinefunction(client.models.predictions.async_create)
    assert not inspect.iscoroutinefunction(client.predictions.create)
    assert client.predictions.create.__self__._client is client


def test_kinds_fit_the_functions() -> None:
    for target, function in zip(TARGETS, ORIGINALS, strict=True):
        asynchronous, lazy = target.kind.startswith("async_"), target.kind.endswith("lazy")
        assert inspect.iscoroutinefunction(function) == (asynchronous and not lazy), target
        assert inspect.isasyncgenfunction(function) == (asynchronous and lazy), target
        assert inspect.isgeneratorfunction(function) == (lazy and not asynchronous), target


class Newer(Replicate):
    majors = (2,)
    targets = (
        Target("replicate.stream", "stream", "lazy", Replicate.targets[0].request),
        Target("gone", "x", "call", Replicate.targets[0].request),
    )


def both(monkeypatch: pytest.MonkeyPatch, version: str, newer: type = Newer) -> None:
    entry = instrument._Entry((Replicate(), newer()))
    monkeypatch.setattr(instrument, "_entries", {"replicate": entry})
    monkeypatch.setattr(instrument, "_version", lambda library: version)
    instrument.install()


def test_of_two_major_versions_the_one_that_is_installed_is_wrapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both(monkeypatch, "1.0.7")
    assert only().state == "active"
    assert CLIENT.run is not ORIGINALS[0]
    instrument.uninstall()


def test_a_name_that_only_some_versions_have_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lenient(Newer):
        targets = (Newer.targets[0], Target("gone", "x", "call", optional=True))

    both(monkeypatch, "2.0.0", Lenient)
    assert only().state == "active"
    assert CLIENT.run is ORIGINALS[0]
    instrument.uninstall()
    both(monkeypatch, "2.0.0", Newer)
    assert (only().state, only().version) == ("unsupported", "2.0.0")
    assert STREAM.stream is ORIGINALS[2]


def test_a_version_that_nobody_knows_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    both(monkeypatch, "3.0")
    assert only().reason == "replicate 3.0 is installed, 1.x or 2.x is supported"


def test_the_packages_of_the_machine_are_looked_through_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def look(library: str) -> str:
        asked.append(library)
        raise PackageNotFoundError(library)

    monkeypatch.setattr(instrument, "_versions", {})
    monkeypatch.setattr("importlib.metadata.version", look)
    assert [only().version for _ in range(5)] == [""] * 5
    assert len(asked) == 1
    monkeypatch.setattr("importlib.metadata.version", lambda library: "1.0.7")
    monkeypatch.setattr(instrument, "_ABSENT_S", 0.0)
    instrument._versions.clear()
    assert only().version == "1.0.7"
