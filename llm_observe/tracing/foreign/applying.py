"""What a change of settings means on a tracer provider that is not ours: what is out of reach. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import TracerProvider

from llm_observe.errors import Problem
from llm_observe.settings.documents import flatten
from llm_observe.settings.layers import as_document
from llm_observe.settings.model import Settings

_OUT_OF_REACH = ("sampling.", "destinations.", "capture.grants.")


def not_enforceable(before: Settings, after: Settings, provider: TracerProvider) -> list[Problem]:
    """One problem per key of a change that the provider would have to obey."""
    old, new = _flat(before), _flat(after)
    return [
        Problem(path, _found(new, path), f"{_found(old, path)}, as it is; {out_of_reach(provider)}")
        for path in sorted({*old, *new})
        if _is_out_of_reach(path) and old.get(path, "") != new.get(path, "")
    ]


def _is_out_of_reach(path: str) -> bool:
    """A route too: between a request and a call another instrumentor's spans may stand there."""
    return path.startswith(_OUT_OF_REACH) or path.endswith(".match.route")


def out_of_reach(provider: TracerProvider) -> str:
    """Why the settings cannot say it."""
    return f"not enforceable here: {name_of(provider)} is not llm-observe's and keeps its own rules"


def name_of(provider: TracerProvider) -> str:
    """Whose provider it is: module and class."""
    return f"{type(provider).__module__}.{type(provider).__qualname__}"


def _flat(settings: Settings) -> Mapping[str, object]:
    return flatten(as_document(settings))


def _found(document: Mapping[str, object], path: str) -> str:
    return str(document.get(path, "nothing"))
