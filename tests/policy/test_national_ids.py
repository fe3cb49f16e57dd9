import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.national_ids import SCHEMES, detectors
from llm_observe.policy.prefilter import re2
from llm_observe.policy.redaction import Redactor, Rule

ALL = Redactor([Rule(*detector) for detector in detectors()])
TELLING = Redactor([Rule(*detector) for detector in detectors(telling=True)])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("身份证号11010519491231002X。", "身份证号[id-cn]。"),
        ("SSN 536-90-4399", "SSN [id-us]"),
        ("NHS 943 476 5870 please", "NHS [id-gb-nhs] please"),
        ("aadhaar 2341 2341 2346", "aadhaar [id-in]"),
        ("CPF 390.533.447-05", "CPF [id-br]"),
        ("DNI 54362315K", "DNI [id-es]"),
        ("NIE x-2482300w", "NIE [id-es]"),
        ("RCCMNL83S18D969H", "[id-it]"),
        ("2 95 10 99 126 111 93", "[id-fr]"),
        ("971013-9019902", "[id-kr]"),
        ("BOXW310820HNERXN09", "[id-mx]"),
        ("131052-308T", "[id-fi]"),
        ("880320-0016", "[id-se]"),
        ("85.07.30-033.28", "[id-be]"),
        ("756.9217.0769.85", "[id-ch]"),
        ("12.531.909-2", "[id-cl]"),
    ],
)
def test_a_number_of_a_telling_shape_is_found(text: str, masked: str) -> None:
    assert TELLING.text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "11010519491231002Y 110105194912310021",  # the check digit is wrong
        "536-90-43990",
        "order 943 476 5871",
        "2.8.4-alpine and 10.2.3.4-5",
        "on 2024-11-24, at 971013",
        "44051401458",  # a PESEL, but any number of eleven digits may be one
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert TELLING.text(text) == text


@pytest.mark.parametrize(("text", "name"), [("44051401458", "id-pl"), ("123456782", "id-nl")])
def test_what_any_number_may_be_is_found_when_asked_for(text: str, name: str) -> None:
    rules = [Rule(*detector) for detector in detectors(telling=False) if detector.name == name]
    assert Redactor(rules).text(text) == f"[{name}]"


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.name} {scheme.module}")
def test_a_shape_means_the_same_to_both_engines(scheme: object) -> None:
    shape = scheme.shape  # type: ignore[attr-defined]  # a parameter of pytest has no type
    assert re2().compile(shape).pattern == re.compile(shape).pattern


@given(st.text("0123456789-. X", max_size=60))
def test_no_text_of_digits_is_a_fault(text: str) -> None:
    ALL.text(text)
