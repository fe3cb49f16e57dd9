import pytest

from llm_observe.conventions import Kind
from llm_observe.policy.capture import Verdict, shows_content, verdict
from llm_observe.settings.model import CaptureLevel

OFF, METADATA, REDACTED, FULL = CaptureLevel
_CONTENT = set(Kind) - {Kind.CORE, Kind.METADATA, Kind.LABEL}


def test_core_always_leaves_and_metadata_from_its_level_on() -> None:
    assert {verdict(Kind.CORE, level) for level in CaptureLevel} == {Verdict.KEEP}
    assert [verdict(Kind.METADATA, level) is Verdict.KEEP for level in CaptureLevel] == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("kind", sorted(_CONTENT))
def test_content_leaves_masked_at_redacted_and_whole_at_full_only(kind: Kind) -> None:
    assert verdict(kind, OFF) is verdict(kind, METADATA) is Verdict.DROP
    assert verdict(kind, REDACTED) is not Verdict.KEEP
    assert verdict(kind, FULL) is Verdict.KEEP


@pytest.mark.parametrize("kind", [Kind.MEDIA, Kind.EMBEDDING])
def test_what_detectors_cannot_read_is_dropped_at_redacted(kind: Kind) -> None:
    assert verdict(kind, REDACTED) is Verdict.DROP


def test_a_higher_level_never_shows_less() -> None:
    order = [Verdict.DROP, Verdict.MASK, Verdict.KEEP]
    for kind in Kind:
        ranks = [order.index(verdict(kind, level)) for level in CaptureLevel]
        assert ranks == sorted(ranks)


def test_content_shows_from_redacted_on() -> None:
    assert [shows_content(level) for level in CaptureLevel] == [False, False, True, True]
