from __future__ import annotations

import os

import pytest

from tests.privacy.faults import FAULTS
from tests.privacy.planting import changed, first_leak


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_still_fits_the_source(name: str) -> None:
    compile(changed(FAULTS[name]), name, "exec")


@pytest.mark.skipif(
    not os.environ.get("LLM_OBSERVE_FULL"), reason="takes minutes: scripts/test --full"
)
@pytest.mark.parametrize("name", FAULTS)
def test_a_path_without_its_protection_leaks(name: str) -> None:
    assert first_leak(name) is not None
