"""What is known of a call, of a span of others or of a trace, for the matchers of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource

from llm_observe.conventions import PROMOTED
from llm_observe.policy.globs import LONGEST
from llm_observe.policy.matching import Known, Subject, Want
from llm_observe.tracing.call import Call

Reader = Callable[[str, Context, Mapping[str, object]], Known]
"""From the name of the service, a context and attributes to what is wanted of them."""

_Read = Callable[[str, Context, Mapping[str, object]], str | None]

_COLUMNS = ("provider", "model", "session", "user")


def service_of(resource: Resource) -> str:
    """The name of the service that a process is; empty where it has none."""
    return str(resource.attributes.get("service.name", ""))


def subject_of_call(
    call: Call,
    service: str = "",
    attributes: Mapping[str, Any] = MappingProxyType({}),
    route: str = "",
) -> Subject:
    """What a call tells; ``attributes``: what others put on its span."""
    return Subject(
        service=service,
        provider=call.provider,
        model=call.request_model,
        session=call.session,
        user=call.user,
        route=route,
        attributes=_texts({**attributes, **call.attributes}),
    )


def subject_of_attributes(
    attributes: Mapping[str, Any], service: str = "", route: str = ""
) -> Subject:
    """What a span of another instrumentor tells, by the keys that pages show it under."""
    texts = _texts(attributes)
    found = {name: _first(texts, name) for name in _COLUMNS}
    return Subject(service=service, route=route, attributes=texts, **found)


def reader(wants: Sequence[Want]) -> Reader:
    """What reads these of a root that begins in this context with these attributes.

    Session and user are also known from the context (`llm_observe.context`, OpenInference's
    ``using_session``) and from baggage, which another service may have sent. A value is given as
    far as matchers look at it, a session whole.
    """
    first, *others = [_read_attribute(key) if key else _READERS[name] for name, key in wants]
    if not others:
        return lambda service, here, told: (first(service, here, told),)
    if len(others) == 1:
        then = others[0]
        return lambda service, here, told: (first(service, here, told), then(service, here, told))
    read = (first, *others)
    return lambda service, here, told: tuple([one(service, here, told) for one in read])


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: str(value) for key, value in attributes.items() if isinstance(value, str | int | float)
    }


def _text(value: object) -> str | None:
    if type(value) is str:
        return value
    return str(value) if isinstance(value, str | int | float) else None


def _first(attributes: Mapping[str, object], column: str) -> str:
    return next((str(attributes[key]) for key in PROMOTED[column] if attributes.get(key)), "")


def _around(here: Context, key: str) -> str:
    value = here.get(key) or baggage.get_baggage(key, here)
    return "" if value is None else str(value)


def _read_service(service: str, here: Context, attributes: Mapping[str, object]) -> str:
    return service


def _read_route(service: str, here: Context, attributes: Mapping[str, object]) -> str:
    return (_text(attributes.get("http.route")) or "")[:LONGEST]


def _read_attribute(key: str) -> _Read:
    def read(service: str, here: Context, attributes: Mapping[str, object]) -> str | None:
        text = _text(attributes.get(key))
        return text if text is None else text[:LONGEST]

    return read


def _read_column(column: str, around: str = "", most: int | None = LONGEST) -> _Read:
    keys = PROMOTED[column]

    def read(service: str, here: Context, attributes: Mapping[str, object]) -> str:
        for key in keys:
            if key in attributes and (text := _text(attributes[key])):
                return text[:most]
        return _around(here, around)[:most] if around else ""

    return read


_READERS: dict[str, _Read] = {
    "service": _read_service,
    "provider": _read_column("provider"),
    "model": _read_column("model"),
    "session": _read_column("session", "session.id", None),
    "user": _read_column("user", "user.id"),
    "route": _read_route,
}
