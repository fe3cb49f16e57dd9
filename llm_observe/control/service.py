"""Every use case of the control plane: the one door for REST, pages and the OpAMP endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from llm_observe.control import model
from llm_observe.errors import NotFound


class Service:
    """Use cases as async methods; records of `llm_observe.control.model` in and out.

    Errors: `SettingsError` (one problem per key; nothing was stored), `NotFound`, `Conflict`.
    """

    # agents

    async def status(self) -> model.StatusView:
        """The control plane's own state: counts, sizes, who is let in."""
        raise NotFound("not filled in yet")

    async def agents(
        self,
        *,
        service: str | None = None,
        state: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> model.Page[model.AgentSummary]:
        """Agents, connected ones first, then by service and newest first.

        ``state``: a `Presence`, a `ConfigState`, or ``unhealthy``.

        Raises:
            SettingsError: An unknown state or a broken cursor.
        """
        raise NotFound("not filled in yet")

    async def agent(self, uid: str) -> model.AgentDetail:
        """All that is known of one agent.

        Raises:
            NotFound: No such agent.
        """
        raise NotFound("not filled in yet")

    async def forget_agent(self, uid: str) -> None:
        """Remove an agent that is no longer connected from the list.

        Raises:
            NotFound: No such agent.
            Conflict: It is connected.
        """
        raise NotFound("not filled in yet")

    async def services(self) -> list[str]:
        """Names of all services that are known from agents or have settings, sorted."""
        raise NotFound("not filled in yet")

    # settings

    async def settings(self, service: str | None = None) -> model.SettingsView:
        """What one scope wants now (None: all agents), and whom it matches."""
        raise NotFound("not filled in yet")

    async def preview(self, edit: model.Edit) -> model.ChangeResult:
        """What an edit would do, with nothing stored or sent. ``version`` is None.

        Raises:
            SettingsError: One problem per wrong key.
        """
        raise NotFound("not filled in yet")

    async def change(self, edit: model.Edit) -> model.ChangeResult:
        """Validate, store as a new version, and offer it; it is durable when this returns.

        Raises:
            SettingsError: One problem per wrong key; nothing was stored.
        """
        raise NotFound("not filled in yet")

    async def undo(
        self,
        version: int | None = None,
        *,
        service: str | None = None,
        author: str = "",
        comment: str = "",
    ) -> model.ChangeResult:
        """A new version that restores what the scope wanted before ``version``.

        Without a version: the newest one of ``service``'s scope.

        Raises:
            NotFound: No such version, or nothing to undo.
        """
        raise NotFound("not filled in yet")

    async def versions(
        self,
        *,
        service: str | None = None,
        all_scopes: bool = True,
        limit: int = 50,
        cursor: str | None = None,
    ) -> model.Page[model.VersionSummary]:
        """History, newest first. ``all_scopes=False`` with no service: only "all agents"."""
        raise NotFound("not filled in yet")

    async def version(self, number: int) -> model.VersionDetail:
        """One version, its document and what it changed in its scope.

        Raises:
            NotFound: No such version.
        """
        raise NotFound("not filled in yet")

    async def progress(self, number: int) -> model.Progress:
        """How far a version has come, agent by agent.

        Raises:
            NotFound: No such version.
        """
        raise NotFound("not filled in yet")

    async def audit(self, *, limit: int = 100) -> list[model.AuditRow]:
        """Who did what, newest first."""
        raise NotFound("not filled in yet")

    # tokens

    async def tokens(self) -> list[model.TokenView]:
        """All tokens, without their values."""
        raise NotFound("not filled in yet")

    async def create_token(self, kind: model.TokenKind, name: str) -> model.NewToken:
        """Make a token; only its hash is stored, the value is in the answer alone."""
        raise NotFound("not filled in yet")

    async def delete_token(self, token_id: int) -> None:
        """Remove a token; it opens nothing from now on.

        Raises:
            NotFound: No such token.
            Conflict: It is the last admin token and the server is reachable from elsewhere.
        """
        raise NotFound("not filled in yet")

    # traces (records of `llm_observe.spanstore`)

    async def traces(self, filter: Any, *, limit: int = 50, cursor: str | None = None) -> Any:
        """``Page[TraceSummary]`` for a ``TraceFilter``, newest first."""
        raise NotFound("not filled in yet")

    async def trace(self, trace_id: str) -> Any:
        """The spans of one trace, payload decoded (``list[Span]``).

        Raises:
            NotFound: No such trace.
        """
        raise NotFound("not filled in yet")

    async def spans(
        self, filter: Any, *, columns: Any = (), limit: int = 1000, cursor: str | None = None
    ) -> Any:
        """Span rows for data frames."""
        raise NotFound("not filled in yet")

    async def series(self, query: Any) -> Any:
        """``list[Series]`` from metrics for a ``SeriesQuery``; true whatever is sampled."""
        raise NotFound("not filled in yet")

    async def facets(self) -> Any:
        """``Facets(services, models, sessions)``: what filters can be set to."""
        raise NotFound("not filled in yet")

    async def sessions(self, *, limit: int = 50, cursor: str | None = None) -> Any:
        """Sessions, newest first."""
        raise NotFound("not filled in yet")

    async def delete_session(self, session_id: str) -> int:
        """Delete everything of one session; the number of spans that went."""
        raise NotFound("not filled in yet")

    # what changes

    def changes(self) -> AsyncIterator[model.Notice]:
        """Notices from now on, until the server stops. Coalesced: none is lost in meaning."""
        raise NotFound("not filled in yet")
