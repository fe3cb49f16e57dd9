"""What is known of a call, of a span of others or of a trace, for the matchers of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource

from llm_observe.conventions import PROMOTED
from llm_observe.policy.matching import Subject
from llm_observe.tracing.call import Call

_COLUMNS = ("provider", "model", "session", "user")


def service_of(resource: Resource) -> str:
    """The name of the service that a process is; empty where it has none."""
    return str(resource.attributes.get("service.name", ""))


def subject_of_call(
    call: Call, service: str = "", attributes: Mapping[str, Any] = MappingProxyType({})
) -> Subject:
    """What a call tells; ``attributes``: what others put on its span."""
    return Subject(
        service=service,
        provider=call.provider,
        model=call.request_model,
        session=call.session,
        user=call.user,
        attributes=_texts({**attributes, **call.attributes}),
    )


def subject_of_attributes(attributes: Mapping[str, Any], service: str = "") -> Subject:
    """What a span of another instrumentor tells, by the keys that pages show it under."""
    texts = _texts(attributes)
    found = {name: _first(texts, name) for name in _COLUMNS}
    return Subject(service=service, attributes=texts, **found)


def subject_of_root(service: str, here: Context, attributes: Mapping[str, object]) -> Subject:
    """What a root that begins in this context with these attributes says of itself.

    Session and user are also known from the context (`llm_observe.context`, OpenInference's
    ``using_session``) and from baggage, which another service may have sent.
    """
    told = subject_of_attributes(attributes, service)
    return replace(
        told,
        session=told.session or _around(here, "session.id"),
        user=told.user or _around(here, "user.id"),
        route=told.attributes.get("http.route", ""),
    )


def session_alone(service: str, here: Context, attributes: Mapping[str, object]) -> Subject:
    """No more than the session, at a fraction of the cost."""
    session = _first(attributes, "session") or _around(here, "session.id")
    return Subject(service=service, session=session)


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: str(value) for key, value in attributes.items() if isinstance(value, str | int | float)
    }


def _first(attributes: Mapping[str, object], column: str) -> str:
    return next((str(attributes[key]) for key in PROMOTED[column] if attributes.get(key)), "")


def _around(here: Context, key: str) -> str:
    value = here.get(key) or baggage.get_baggage(key, here)
    return "" if value is None else str(value)
