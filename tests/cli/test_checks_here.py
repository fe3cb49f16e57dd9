"""Doctor's checks of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from llm_observe.agent.options import read_options
from llm_observe.cli import checks_here
from llm_observe.cli.finding import Finding, State
from llm_observe.settings.environment import ROWS
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo


def states(findings: Iterable[Finding]) -> list[State]:
    return [finding.state for finding in findings]


def said(findings: Iterable[Finding]) -> str:
    return "\n".join(finding.sentence for finding in findings)


def variables(environ: dict[str, str]) -> list[Finding]:
    return list(checks_here.variables(read_options(environ, 0.0), environ))


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 10), State.BROKEN), ((3, 11), State.OK), ((3, 13), State.OK), ((3, 15), State.WARNING)],
)
def test_python_is_judged_by_what_is_tested(version: tuple[int, int], state: State) -> None:
    assert states(checks_here.python(version)) == [state]


def test_the_packages_of_the_core_are_here() -> None:
    assert states(checks_here.packages()) == [State.OK]


def test_a_missing_package_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_here, "PACKAGES", ("llm-observe", "no-such-package"))
    (finding,) = checks_here.packages()
    assert finding.state is State.BROKEN
    assert "no-such-package" in finding.sentence


def test_libraries_that_cannot_be_traced_say_why() -> None:
    found = (
        InstrumentorInfo("a", "a", "1.0", "waiting", "not imported yet"),
        InstrumentorInfo("b", "b", "9.0", "unsupported", "b 9.0 is installed, 1.x is supported"),
        InstrumentorInfo("c", "c", "", "absent", "c is not installed"),
    )
    findings = list(checks_here.libraries(found))
    assert states(findings) == [State.OK, State.WARNING]
    assert "1.x is supported" in said(findings)


def test_without_any_library_the_known_ones_are_named() -> None:
    absent = (InstrumentorInfo("replicate", "replicate", "", "absent"),)
    (finding,) = checks_here.libraries(absent)
    assert finding.state is State.NOTE
    assert "replicate" in finding.sentence


def test_looking_for_libraries_imports_none_of_them() -> None:
    before = {*sys.modules}
    found = checks_here.instrumentors()
    assert found
    assert not {info.library for info in found} & ({*sys.modules} - before)


def test_a_wrong_variable_is_broken_and_a_right_one_is_listed() -> None:
    findings = variables({"LLM_OBSERVE_SAMPLING_RATIO": "7", "LLM_OBSERVE_CAPTURE_LEVEL": "off"})
    assert states(findings) == [State.BROKEN, State.OK]
    assert "LLM_OBSERVE_SAMPLING_RATIO: found '7'" in findings[0].sentence
    assert findings[1].sentence.endswith(": LLM_OBSERVE_CAPTURE_LEVEL.")


def test_a_misspelt_variable_of_ours_is_noticed() -> None:
    findings = variables({"LLM_OBSERVE_SAMPLE_RATIO": "0.5"})
    assert State.WARNING in states(findings)
    assert "LLM_OBSERVE_SAMPLE_RATIO" in said(findings)


def test_values_of_variables_are_never_shown() -> None:
    environ = {"LLM_OBSERVE_TOKEN": "hunter2", "OTEL_EXPORTER_OTLP_HEADERS": "x=hunter2"}
    assert "hunter2" not in said(variables(environ))


def test_a_switched_off_sdk_is_said() -> None:
    assert "nothing is observed" in said(variables({"OTEL_SDK_DISABLED": "true"}))


def test_every_variable_of_the_settings_is_known() -> None:
    assert {row.variable for row in ROWS} <= checks_here.KNOWN


def test_a_state_folder_is_made_and_written(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    assert states(checks_here.state_folder(folder)) == [State.OK]
    assert not [*folder.iterdir()]


def test_a_state_folder_that_cannot_be_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = checks_here.state_folder(tmp_path / "file" / "state")
    assert finding.state is State.WARNING
    assert "LLM_OBSERVE_STATE_DIR" in finding.sentence


def test_a_state_folder_that_others_can_write_is_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    assert states(checks_here.state_folder(folder)) == [State.WARNING]
