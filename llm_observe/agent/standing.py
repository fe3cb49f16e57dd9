"""Who this process is, and under which settings it stands: one value, replaced as a whole."""

from __future__ import annotations

import importlib
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from opentelemetry.sdk.resources import Resource

from llm_observe.agent import doors, granting, receivers
from llm_observe.agent.identity import make_resource, renamed
from llm_observe.agent.lastgood import LastGood, RemoteState, Saved
from llm_observe.agent.options import Options, default_service_name
from llm_observe.agent.receivers import Own
from llm_observe.errors import LLMObserveError, StateError
from llm_observe.policy.capture import ActiveGrant, Clocks
from llm_observe.policy.grants import Book
from llm_observe.settings.documents import document_hash
from llm_observe.settings.layers import (
    Layer,
    LayerValue,
    Resolved,
    beyond_limits,
    forbidden_keys,
    resolve,
)
from llm_observe.settings.model import CaptureLevel, Limits
from llm_observe.tracing.clocks import present
from llm_observe.tracing.export import vault
from llm_observe.uids import new_uid, uid_text
from llm_observe.version import __version__

_CAUTIOUS: dict[str, Any] = {"capture": {"level": str(CaptureLevel.METADATA)}}
"""The remote layer where the saved one is damaged: it may have been a tightening."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One process at one moment."""

    uid: bytes
    resource: Resource
    lastgood: LastGood
    remote: RemoteState
    resolved: Resolved
    """In force; of grants only those that run."""
    book: Book = field(default_factory=Book)
    """The grants that run, and those that have ended."""
    own: Own = receivers.NOTHING
    """Where a control plane wants this process's own telemetry."""

    @property
    def config_hash(self) -> str:
        """The hash that marks spans recorded under these settings: 16 hex digits."""
        return config_hash(self.resolved)

    def grants(self, limits: Limits) -> tuple[ActiveGrant, ...]:
        """The grants that run, as a pipeline wants them."""
        return granting.active(self.resolved, self.book, limits)

    def renamed(self, uid: bytes) -> Standing:
        """The same under another instance uid."""
        return replace(self, uid=uid, resource=renamed(self.resource, uid_text(uid)))


def config_hash(resolved: Resolved) -> str:
    """The hash that marks spans recorded under these settings: 16 hex digits."""
    return document_hash(resolved.document).hex()[:16]


def first(options: Options, now: Clocks | None = None) -> Standing:
    """A program that starts: what the control plane last said holds on, if a disk kept it.

    A uid that a server once assigned to this state folder is used again (OpAMP,
    "ServerToAgent.agent_identification"); else every process has a new one.
    """
    service = options.service_name or default_service_name()
    lastgood = LastGood(None, __version__)
    if options.opamp_url and not options.disabled:
        lastgood = LastGood.open(options.state_root, service, __version__)
    uid = lastgood.assigned_uid() or new_uid()
    remote, own = _load(lastgood, options), _load_own(lastgood, options)
    now = now or present()
    resolved, book = _begun(options, remote, own, _book(lastgood, remote, now), now)
    return Standing(
        uid=uid,
        resource=make_resource(service, uuid.UUID(bytes=uid), options.resource, __version__),
        lastgood=lastgood,
        remote=remote,
        resolved=resolved,
        book=book,
        own=own,
    )


def _book(lastgood: LastGood, remote: RemoteState, now: Clocks) -> Book:
    """The grants as they were written down. One that is in force without being there has ended:
    the book is written first, so it was lost or tampered with.
    """
    book = lastgood.load_grants(now, granting.boot_id()) or Book()
    given = remote.fragment.get("capture", {}).get("grants", {})
    return book.without(name for name in given if name not in book.running)


def _begun(
    options: Options, remote: RemoteState, own: Own, book: Book, now: Clocks
) -> tuple[Resolved, Book]:
    """On a provider that is not ours none begins: it may hold spans back beyond an end."""
    ours = doors.PROVIDER not in options.resource
    return granting.begun(
        resolved_of(options, remote, own), book, now, options.limits, allowed=ours
    )


def forked(parent: Standing) -> Standing:
    """A forked child: a process of its own, under the settings that its parent had.

    They are fresher than what any disk holds. Nothing is read or written here, because a fork
    must not take long.
    """
    child = replace(parent, lastgood=parent.lastgood.after_fork_in_child())
    return child.renamed(new_uid())


def retold(before: Standing, options: Options, now: Clocks | None = None) -> Standing:
    """The same process, for which the program itself now says other things than a command line did.

    What the control plane said beyond the program's limits is let go of, and is a refusal. Where the
    command line named no control plane, what one last said to the program holds from now on.
    """
    if options.opamp_url and not before.lastgood.wanted:
        return first(options, now).renamed(before.uid)
    remote = _within(before.remote, options.limits)
    own = receivers.within(before.own, options.limits)
    service = options.service_name or default_service_name()
    uid = uuid.UUID(bytes=before.uid)
    resolved, book = _begun(options, remote, own, before.book, now or present())
    return replace(
        before,
        resource=make_resource(service, uid, options.resource, __version__),
        remote=remote,
        resolved=resolved,
        book=book,
        own=own,
    )


def _within(remote: RemoteState, limits: Limits) -> RemoteState:
    beyond = [*forbidden_keys(remote.fragment, limits), *beyond_limits(remote.fragment, limits)]
    return remote.refusing(beyond) if beyond else remote


def schema() -> Any:
    """The checker of settings, loaded when it is needed: it brings pydantic with it."""
    return importlib.import_module("llm_observe.settings.schema")


def resolved_of(options: Options, remote: RemoteState, own: Own = receivers.NOTHING) -> Resolved:
    """The settings that all of it leads to."""
    layers = {
        **options.layers,
        Layer.OFFER: LayerValue(receivers.fragment(own), own.since),
        Layer.REMOTE: LayerValue(remote.fragment, remote.since),
    }
    return resolve(layers, options.limits)


def _load_own(lastgood: LastGood, options: Options) -> Own:
    """What was taken by the process before, as far as the limits still let it."""
    try:
        own = receivers.within(receivers.load(lastgood), options.limits)
    except StateError as error:
        lastgood.trouble = f"where own telemetry was to go is not known: {error}"
        own = receivers.NOTHING
    vault.hold(own.secrets)
    return own


def _load(lastgood: LastGood, options: Options) -> RemoteState:
    saved = lastgood.load()
    if saved is None:
        return RemoteState(_CAUTIOUS) if lastgood.damaged else RemoteState()
    try:
        _check(saved, options)
    except (LLMObserveError, TypeError, ValueError, KeyError, AttributeError) as error:
        lastgood.trouble = f"the saved settings do not fit this version: {error}"
        return RemoteState(_CAUTIOUS)
    return doors.enforceable(saved.state, options)


def _check(saved: Saved, options: Options) -> None:
    if saved.version != __version__:
        schema().validate(saved.state.fragment)
    resolved_of(options, saved.state)
