"""The chatbot's own observation: begun with the process, and what is said of it on the page.

What is said is short, and only what is true now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import llm_observe

if TYPE_CHECKING:
    from llm_observe import Handle, Status


def begin() -> Handle:
    """Observe this process; called again, the same handle."""
    return llm_observe.observe(
        service_name="llama2-chatbot",
        settings={"capture": {"level": "full"}},
        resource={"service.version": llm_observe.__version__},
    )


_RECORDED = {
    "off": "Prompts and answers are **not** recorded, only model, timing and tokens.",
    "metadata": "Prompts and answers are **not** recorded, only parameters, lengths and tokens.",
    "redacted": "Prompts and answers are recorded **with personal data taken out**.",
    "full": "Prompts and answers are **recorded as they are**.",
}
_SOME = {
    "redacted": "Some prompts and answers are recorded **with personal data taken out**.",
    "full": "Some prompts and answers are **recorded as they are**.",
}
"""Where a part of a call, a rule or a grant lets more through than the level."""
_LEVELS = tuple(_RECORDED)


def recorded(status: Status) -> str:
    """What is recorded of a call, at the capture level in force."""
    if status.disabled:
        return "Nothing is recorded: observation is switched off."
    capture, ratio = status.settings["capture"], float(status.settings["sampling"]["ratio"])
    level, most = str(capture["level"]), max(_levels(capture), key=_LEVELS.index)
    more = _LEVELS.index(most) > _LEVELS.index(level)
    sentence = _SOME.get(most, _RECORDED[most]) if more else _RECORDED[level]
    share = "" if ratio >= 1 else f" {ratio:.0%} of the chats are exported."
    return f"{sentence} (Capture level: `{level}`.){share}"


def sent(status: Status) -> str:
    """Whether a control plane is connected, and whether spans go anywhere."""
    link = status.link
    if status.disabled:
        return ""
    if link.server is None:
        return "No control plane is configured. " + _destinations(status)
    if link.connected:
        return "Connected to the control plane. " + _destinations(status)
    why = f" ({link.last_error})" if link.last_error else ""
    return f"**Not connected** to the control plane{why}. " + _destinations(status)


def _destinations(status: Status) -> str:
    if not status.destinations:
        return "Spans are sent nowhere."
    return f"Spans are sent to: {', '.join(sorted(status.destinations))}."


def _levels(capture: Mapping[str, Any]) -> Iterator[str]:
    """The level of all calls, and those of parts, rules and grants."""
    yield from (value for value in capture.values() if isinstance(value, str))
    for kind in ("rules", "grants"):
        yield from (str(each["level"]) for each in capture.get(kind, {}).values())
