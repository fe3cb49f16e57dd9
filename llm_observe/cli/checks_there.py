"""Checks of what is elsewhere: the control plane, OTLP destinations, this service's agents."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from llm_observe.agent.options import Options, otlp_url
from llm_observe.cli.checks_doors import taken
from llm_observe.cli.finding import Finding, broken, ok, remark, warning
from llm_observe.cli.output import age
from llm_observe.control.client import ControlClient, Json
from llm_observe.errors import ControlError, Forbidden, LLMObserveError, Unreachable
from llm_observe.settings.layers import active_destinations, resolve
from llm_observe.settings.model import Destination
from llm_observe.settings.places import place
from llm_observe.tracing.export import folders
from llm_observe.tracing.export.backend import Backend
from llm_observe.tracing.export.exchange import Exchange
from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.headers import resolve as resolve_headers
from llm_observe.tracing.export.target import asked
from llm_observe.tracing.export.verdict import Answer, explain

MOST_ASKED = 20
"""Agents of a service that are looked at more closely."""

TIMEOUT_S = 5.0


def control_plane(client: ControlClient, configured: bool) -> Iterator[Finding]:
    """Whether the control plane answers, and whether it lets us in.

    ``configured``: somebody named a server, so it is an error if none answers.
    """
    try:
        status = client.status()
    except Unreachable as error:
        yield (
            broken("control plane", f"{_sentence(error)}")
            if configured
            else remark("control plane", f"None is named, and none answers at {client.server}.")
        )
    except Forbidden as error:
        yield broken(
            "control plane", f"{_sentence(error)} LLM_OBSERVE_ADMIN_TOKEN must be an admin token."
        )
    except LLMObserveError as error:
        yield broken("control plane", _sentence(error))
    else:
        agents = status["agents"]
        yield ok(
            "control plane",
            f"{client.server} answers (version {status['version']}); "
            f"{agents['connected']} of {agents['total']} agents are connected.",
        )
        yield from _exposure(client.server)


def _exposure(server: str) -> Iterator[Finding]:
    url = urlsplit(server)
    if url.scheme == "http" and url.hostname not in {"127.0.0.1", "localhost", "::1"}:
        yield warning("control plane", f"{server} is not encrypted: tokens can be read on the way.")


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def destinations(options: Options, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether each OTLP destination of environment and defaults answers an empty request."""
    resolved = resolve(options.layers, options.limits)
    found = active_destinations(resolved.settings)
    folders.permit(options.limits.file_folders or ())
    for problem in resolved.capped:
        yield warning("destinations", f"{problem}. The limits forbid it.")
    if not found:
        yield remark(
            "destinations",
            "None is configured here: spans go nowhere unless the program names a server. "
            "Set LLM_OBSERVE_SERVER or OTEL_EXPORTER_OTLP_ENDPOINT.",
        )
    for name, destination in found.items():
        yield probe(name, destination, environ)


def probe(name: str, destination: Destination, environ: Mapping[str, str]) -> Finding:
    """Send an empty OTLP request to one destination."""
    label = f"{name} ({place(destination)})"
    try:
        answer = _empty_request(destination, environ)
    except KeyFault as error:
        return broken("destinations", f"{label}: {error}.")
    if answer.succeeded or answer.throttled:
        return ok("destinations", f"{label} answers.")
    what = " and ".join(destination.signals)
    return broken("destinations", f"{label} does not take {what}: {explain(answer)}.")


def _empty_request(destination: Destination, environ: Mapping[str, str]) -> Answer:
    headers = resolve_headers(destination, environ)
    limited = replace(destination, timeout_s=min(destination.timeout_s, TIMEOUT_S))
    exchange = Exchange(None, limited, time.monotonic() + limited.timeout_s)
    backend = Backend(environ)
    try:
        return backend.post(asked(limited), limited, backend.nothing(), headers, exchange)
    finally:
        backend.close()


def ingest(options: Options, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether apps of this environment may report to the control plane."""
    if not options.server:
        return
    headers = {"authorization": "env:LLM_OBSERVE_TOKEN"} if options.token else {}
    place = Destination(endpoint=otlp_url(options.server), headers=headers)
    answer = _empty_request(place, environ)
    if answer.status in {401, 403}:
        what = "is refused" if options.token else "is missing, and one is needed"
        yield broken("token", f"The ingest token in LLM_OBSERVE_TOKEN {what}.")
    elif answer.succeeded:
        yield ok("token", f"Apps may report to {options.server}.")


def agents(client: ControlClient, service: str | None) -> Iterator[Finding]:
    """Whether this service's agents are connected, and what they say."""
    if not service:
        yield remark("agent", "No service is named; give --service or OTEL_SERVICE_NAME.")
        return
    try:
        found = list(client.agents(service=service))
    except ControlError:
        return  # said by `control_plane` already
    here = [agent for agent in found if agent["connected"]]
    if not here:
        last = f"; last seen {age(found[0]['last_seen'], time.time())} ago" if found else ""
        yield warning("agent", f"No agent of {service} is connected{last}.")
    for number, agent in enumerate(here):
        yield _said(service, agent, _door(client, agent) if number < MOST_ASKED else "")


def _door(client: ControlClient, agent: Json) -> str:
    try:
        return taken(client.agent(agent["uid"]))
    except ControlError:
        return ""


def _said(service: str, agent: Json, door: str = "") -> Finding:
    health, config = agent.get("health") or {}, agent.get("config") or {}
    label = f"{service} {agent['uid'][:13]}… is connected"
    if health.get("healthy") is False:
        return broken("agent", f"{label} and says: {_why(health)}.")
    if config.get("state") == "refused":
        return broken(
            "agent", f"{label} and refused its settings: {config.get('reason') or 'see agent'}."
        )
    tail = f"; {door}" if door else ""
    return ok("agent", f"{label}; settings {config.get('state')}{tail}.")


def _why(health: Mapping[str, Any]) -> str:
    return str(health.get("last_error") or health.get("status") or "unhealthy")
