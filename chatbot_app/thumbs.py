"""A thumb on an answer becomes a score on the span of its turn."""

from __future__ import annotations

import llm_observe
from chatbot_app.conversation import Conversation, Turn

NAME = "helpful"
_LABELS = {0: "thumb down", 1: "thumb up", None: "withdrawn"}


def can_be_judged(turn: Turn) -> bool:
    """Whether the turn was recorded, so that there is something to say it of."""
    return turn.reference.endswith("-01")


def judge(chat: Conversation, turn: Turn, thumb: int | None) -> bool | None:
    """Say once what the user thinks of an answer: 1 up, 0 down, None taken back.

    Streamlit runs the page again and again; only another thumb than before is another score. The
    latest counts. Returns whether it was recorded; None: it was said before.
    """
    if chat.judged.get(turn.reference) == thumb:
        return None
    recorded = llm_observe.score(
        NAME,
        thumb,
        label=_LABELS.get(thumb, ""),
        target=turn.reference,
        annotator_kind="HUMAN",
        session=chat.session,
    )
    if recorded:
        chat.judged[turn.reference] = thumb
    return recorded
