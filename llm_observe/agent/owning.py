"""An offer of own telemetry, from judgement to destinations in force; see `receivers`.

Each of own_traces and own_metrics is judged for itself; what is taken is probed together, as any
destination is, before it replaces anything. Withdrawn is what is offered without an address; what
an offer leaves out stays as it is (OpAMP, "ConnectionSettingsOffers").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_observe.agent import granting, receivers, standing
from llm_observe.agent.offers import keep_ages
from llm_observe.agent.options import Options
from llm_observe.agent.receivers import Own, Receiver
from llm_observe.agent.standing import Standing
from llm_observe.agent.steered import Steered
from llm_observe.errors import Problem, SettingsError, StateError
from llm_observe.opamp import ConnectionOffer, ConnectionSettings, TLSSettings
from llm_observe.opamp.candidate import merged
from llm_observe.settings.model import Limits
from llm_observe.tracing.export import late, vault

NAMES = ("own_traces", "own_metrics")
MAX_PEM_BYTES = 256 * 1024
"""Authorities that are offered with an address, at most."""

_APPLY_S = 15.0
_TLS = "llm_observe.tracing.export.tls"
_TO_PROXY = "proxy-authorization"
_USUAL_TLS = ("1.2", "TLSv1.2")
_NOT_KEPT = Problem("", "no state folder that can be written", "one, to keep it in")

Errors = Mapping[str, str]
"""Why a part of an offer is not in force, by ``own_traces`` or ``own_metrics``."""


def take(
    pipeline: Steered, before: Standing, options: Options, offer: ConnectionOffer, now: float
) -> tuple[Standing, Errors]:
    """Put in force what of the offer can be, and keep it across restarts.

    What cannot be tried, or kept, leaves all as it was.
    """
    own, errors = judged(before.own, offer, options.limits, now)
    if own == before.own:
        return before, errors
    try:
        own = receivers.with_files(own, before.lastgood, before.own)
    except StateError:
        return before, {**errors, **_for_each(offer, (_NOT_KEPT,), errors)}
    vault.hold((*before.own.secrets, *own.secrets))
    after = _with(before, own, options)
    trouble: tuple[Problem, ...] | None = None
    try:
        trouble = _tried(pipeline, after, options) or _kept(after)
    finally:
        if trouble != ():
            pipeline.begin_again(
                before.resource, before.resolved.settings, before.config_hash,
                grants=before.grants(options.limits),
            )  # fmt: skip
        _let_go(before if trouble != () else after)
    if trouble:
        return before, {**errors, **_for_each(offer, trouble, errors)}
    return after, errors


def _let_go(standing: Standing) -> None:
    """Of secrets and files that are not in force."""
    vault.hold(standing.own.secrets)
    with suppress(StateError):
        receivers.with_files(standing.own, standing.lastgood)


def _with(before: Standing, own: Own, options: Options) -> Standing:
    whole = standing.resolved_of(options, before.remote, own)
    resolved = granting.running(whole, before.book)
    return replace(before, own=own, resolved=keep_ages(resolved, before.resolved))


def judged(own: Own, offer: ConnectionOffer, limits: Limits, now: float) -> tuple[Own, Errors]:
    """What is taken of an offer, and why the rest is not. Nothing is tried here."""
    errors: dict[str, str] = {}
    for name in NAMES:
        offered: ConnectionSettings | None = getattr(offer, name)
        if offered is None:
            continue
        taken: dict[str, Any] = {name: _receiver(getattr(own, name), offered, now)}
        wanted = replace(own, **taken)
        problem = _problem(offered) or receivers.limit_problems(wanted, limits).get(name, "")
        if problem:
            errors[name] = problem
        else:
            own = wanted
    return own, errors


def _receiver(former: Receiver | None, offered: ConnectionSettings, now: float) -> Receiver | None:
    """Where to; a header that is not told anew goes on to the same host alone."""
    if not offered.endpoint:
        return None
    known = ConnectionSettings(former.endpoint, former.headers) if former is not None else None
    headers = merged(known, offered).headers or {}
    receiver = Receiver(offered.endpoint, dict(headers), now, **_way(former, offered))
    same = former is not None and replace(former, since=now) == receiver
    return former if same else receiver


def _way(former: Receiver | None, offered: ConnectionSettings) -> dict[str, str]:
    """Authorities and proxy; what is not told anew goes on as it is."""
    before = former or Receiver("")
    way = {"proxy": before.proxy, "proxy_authorization": before.proxy_authorization}
    if offered.proxy is not None:
        told = offered.proxy
        way = {
            "proxy": told.url if "://" in told.url else f"http://{told.url}",
            "proxy_authorization": next(iter(told.connect_headers.values()), ""),
        }
    secure = offered.endpoint.lower().startswith("https:")
    return {
        **way,
        "ca": (_authorities(offered.tls) if offered.tls else before.ca) if secure else "",
    }


def _authorities(told: TLSSettings) -> str:
    """PEM of those that count, where they are not just the usual ones."""
    usual = told.ca_pem and told.include_system_pool
    return told.ca_pem + (f"\n{Path(late.load(_TLS).bundle()).read_text()}" if usual else "")


_UNTRIED: tuple[tuple[str, Callable[[ConnectionSettings], bool]], ...] = (
    ("client certificates are not supported", lambda offered: offered.certificate),
    (
        "TLS cannot be without verification, nor of versions and ciphers but the usual ones",
        lambda offered: offered.tls is not None and _is_odd(offered.tls),
    ),
    (
        f"expected authorities of at most {MAX_PEM_BYTES} bytes, for https",
        lambda offered: offered.tls is not None and not _fits(offered.tls, offered.endpoint),
    ),
    (
        "a proxy can be told no headers but Proxy-Authorization",
        lambda offered: (
            offered.proxy is not None
            and not {name.lower() for name in offered.proxy.connect_headers} <= {_TO_PROXY}
        ),
    ),
)


def _is_odd(told: TLSSettings) -> bool:
    usual = replace(told, ca_pem="", include_system_pool=False)
    return usual not in (TLSSettings(), *(TLSSettings(min_version=text) for text in _USUAL_TLS))


def _fits(told: TLSSettings, endpoint: str) -> bool:
    secure = endpoint.lower().startswith("https:")
    return not told.ca_pem or (secure and len(told.ca_pem) <= MAX_PEM_BYTES)


def _problem(offered: ConnectionSettings) -> str:
    """Why it cannot be taken at all. Nothing of it is quoted."""
    if not offered.endpoint:
        return ""
    told = {"endpoint": offered.endpoint, "proxy": _way(None, offered)["proxy"]}
    plain = {"destinations": {receivers.DESTINATION: told}}
    try:
        standing.schema().validate(plain)
    except SettingsError as error:
        return f"expected {error.problems[0].expected}"
    return next((text for text, holds in _UNTRIED if holds(offered)), "")


def _tried(pipeline: Steered, after: Standing, options: Options) -> tuple[Problem, ...]:
    applied = pipeline.apply(
        after.resolved.settings, after.config_hash,
        grants=after.grants(options.limits), timeout_s=_APPLY_S,
    )  # fmt: skip
    return applied.problems


def _kept(after: Standing) -> tuple[Problem, ...]:
    try:
        after.lastgood.keep_record(receivers.RECORD, receivers.to_bytes(after.own))
    except StateError:
        return (_NOT_KEPT,)
    return ()


def _for_each(offer: ConnectionOffer, problems: tuple[Problem, ...], known: Errors) -> Errors:
    """The same problems for every part that was tried; they were tried together."""
    text = "; ".join(str(problem) for problem in problems)
    return {n: text for n in NAMES if getattr(offer, n) is not None and n not in known}
