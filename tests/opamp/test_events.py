from __future__ import annotations

import dataclasses
from typing import get_args

from llm_observe.opamp import events

KINDS = [kind for kind in vars(events).values() if dataclasses.is_dataclass(kind)]
OURS = [kind for kind in KINDS if isinstance(kind, type) and kind.__module__ == events.__name__]


def test_every_event_belongs_to_a_side() -> None:
    assert set(get_args(events.Event)) == set(OURS)
    assert set(get_args(events.ClientEvent)) | set(get_args(events.ServerEvent)) == set(OURS)


def test_events_are_frozen() -> None:
    assert all(kind.__dataclass_params__.frozen for kind in OURS)  # type: ignore[attr-defined]  # set by dataclass
