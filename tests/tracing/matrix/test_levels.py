"""Below its level no word leaves: not of the prompt, the answer, an error, or a model's logs."""

from __future__ import annotations

import pytest

from llm_observe.settings.model import CaptureLevel
from llm_observe.testing import Fault
from tests.tracing.matrix.clients import surfaces
from tests.tracing.matrix.table import ANSWER, CANARY, PROMPT, Case, Ending, Surface
from tests.tracing.matrix.world import World

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
CHOSEN = [surface for surface in surfaces().SURFACES if not surface.alike]
ERROR = f"out of memory at {CANARY}"
WHOLE = Ending(name="complete")
FAILED = Ending(
    name="failed",
    fault=Fault(chunk_s=0.002, fail_after=1, error=ERROR, logs=f"loading {CANARY}\n"),
)
LEVELS = [CaptureLevel.OFF, CaptureLevel.METADATA]


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("surface", CHOSEN, ids=lambda surface: surface.name)
def test_no_word_of_a_call_leaves_below_redacted(
    surface: Surface, level: CaptureLevel, world: World
) -> None:
    for ending in (WHOLE, FAILED):
        recorded = world.observed(Case(surface, ending), level)
        assert len(recorded.spans) == 1
        for word in (PROMPT, ANSWER, "Llamas", CANARY):
            assert not world.sink.holds(word)


@pytest.mark.parametrize("level", [CaptureLevel.REDACTED, CaptureLevel.FULL], ids=str)
def test_what_a_failed_model_printed_leaves_only_at_full(level: CaptureLevel, world: World) -> None:
    surface = next(each for each in CHOSEN if each.name.endswith(".run"))
    world.observed(Case(surface, FAILED), level)
    assert world.sink.holds(PROMPT)
    assert world.sink.holds(ERROR)
    assert world.sink.holds(f"loading {CANARY}") == (level is CaptureLevel.FULL)
