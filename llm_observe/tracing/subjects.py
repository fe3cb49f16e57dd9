"""What is known of a trace when it begins, for the rules of sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from opentelemetry import baggage
from opentelemetry.context import Context

from llm_observe.policy.matching import Subject
from llm_observe.tracing.privacy import subject_of_attributes


def subject(service: str, here: Context, attributes: Mapping[str, object]) -> Subject:
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
    told = attributes.get("session.id") or attributes.get("gen_ai.conversation.id")
    return Subject(service=service, session=str(told) if told else _around(here, "session.id"))


def _around(here: Context, key: str) -> str:
    value = here.get(key) or baggage.get_baggage(key, here)
    return "" if value is None else str(value)
