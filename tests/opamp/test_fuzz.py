"""A hundred thousand hostile inputs; see `tests.opamp.fuzz` for ten million."""

from __future__ import annotations

import pytest

from tests.opamp.fuzz import TARGETS, run

INPUTS = 100_000


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_make_a_decoder_raise_anything_but_our_own_errors(target: str) -> None:
    run(target, -(-INPUTS // len(TARGETS)), seed=1)
