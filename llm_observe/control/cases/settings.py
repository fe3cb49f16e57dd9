"""Use cases of settings: see, change, undo, history, progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llm_observe.control.bus import Bus
from llm_observe.control.roster import Roster
from llm_observe.control.rules import desired as rules
from llm_observe.control.rules import grants, plan
from llm_observe.control.rules.model import (
    AuditRow,
    ChangeResult,
    Edit,
    Notice,
    Page,
    Progress,
    Scope,
    SettingsView,
    Version,
    VersionDetail,
    VersionSummary,
)
from llm_observe.control.rules.progress import progress
from llm_observe.control.rules.record import AgentRecord
from llm_observe.control.store.storage import Draft, Storage
from llm_observe.errors import NotFound, Problem, SettingsError
from llm_observe.settings.schema import validate

_LONGEST = {"service": 255, "author": 200, "comment": 2000}
MAX_PAGE = 500


class SettingsCases:
    """Part of `llm_observe.control.service.Service`."""

    _storage: Storage
    _roster: Roster
    _bus: Bus
    _clock: Callable[[], float]

    def _init_settings(self) -> None:
        self._changing = asyncio.Lock()
        self.on_publish: list[Callable[[], None]] = []

    async def _load_settings(self) -> None:
        for head in await self._storage.heads():
            self._roster.set_head(head)

    async def settings(self, service: str | None = None) -> SettingsView:
        """What one scope wants now (None: all agents), and whom it matches."""
        scope = Scope.of(service)
        head = self._roster.head(scope)
        matched = [r.uid for r in self._roster.matching(scope) if not plan.refusal(r)]
        if head is None:
            return SettingsView(service, {}, None, "", None, matched)
        return SettingsView(service, head.document, head.version, head.hash, head.at, matched)

    async def detectors(self, service: str | None = None) -> list[str]:
        """Names of the detectors that any connected agent of a scope reports."""
        found: set[str] = set()
        for record in self._roster.connected():
            if _meant(Scope.of(service), record):
                found.update(plan.reported(record, "detectors") or ())
        return sorted(found)

    async def preview(self, edit: Edit) -> ChangeResult:
        """What an edit would do, with nothing stored or sent. ``version`` is None.

        Raises:
            SettingsError: One problem per wrong key.
        """
        return self._result(await self._checked(self._drafted(edit)))

    async def change(self, edit: Edit) -> ChangeResult:
        """Validate, store as a new version, and offer it; it is durable when this returns.

        An edit that changes nothing makes no version: the answer names the one in force.

        Raises:
            SettingsError: One problem per wrong key; nothing was stored.
        """
        async with self._changing:
            draft = await self._checked(self._drafted(edit))
            return await self._publish(draft, "change settings")

    async def undo(
        self,
        version: int | None = None,
        *,
        service: str | None = None,
        author: str = "",
        comment: str = "",
    ) -> ChangeResult:
        """A new version that restores what the scope wanted before ``version``.

        Without a version: the newest one of ``service``'s scope (so a second undo takes the first
        one back). A grant that has ended does not come back.

        Raises:
            NotFound: No such version, or nothing to undo.
            SettingsError: What was wanted then is not valid in this release.
        """
        async with self._changing:
            undone = await self._to_undo(version, service)
            before = await self._storage.before(undone)
            head = self._roster.head(undone.scope)
            now = head.document if head else {}
            document = grants.not_revived(before.document if before else {}, now)
            _check(Edit(undone.scope.service, comment=comment, author=author), document)
            text = comment or f"undo version {undone.version}"
            draft = Draft(undone.scope, document, self._clock(), author, text, undone.version)
            return await self._publish(draft, "undo settings")

    async def versions(
        self,
        *,
        service: str | None = None,
        all_scopes: bool = True,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[VersionSummary]:
        """History, newest first: of one service, or of all scopes.

        ``all_scopes=False`` without a service means only the versions for all agents.

        Raises:
            SettingsError: A cursor that is not one of ours.
        """
        scope = None if service is None and all_scopes else Scope.of(service)
        limit = max(1, min(limit, MAX_PAGE))
        found = await self._storage.history(scope, below=_below(cursor), limit=limit + 1)
        page = found[:limit]
        undone = await self._storage.undone([v.version for v in page])
        items = [
            VersionSummary(**self._row(version, before, undone.get(version.version)))
            for version, before in await self._with_former(page)
        ]
        return Page(items, str(page[-1].version) if len(found) > limit else None)

    async def version(self, number: int) -> VersionDetail:
        """One version, its document and what it changed in its scope.

        Raises:
            NotFound: No such version.
        """
        found = await self._version(number)
        undone = await self._storage.undone([number])
        row = self._row(found, await self._storage.before(found), undone.get(number))
        return VersionDetail(**row, document=found.document)

    async def progress(self, number: int) -> Progress:
        """How far a version has come, agent by agent.

        Raises:
            NotFound: No such version.
        """
        found = await self._version(number)
        targets = self._roster.targets(found, await self._storage.heads(number))
        older = {t.then.hash for t in targets if not t.still_wanted}
        said = await self._storage.acknowledgements(older, found.at) if older else {}
        head = self._roster.head(found.scope)
        superseded = head is not None and head.version != number
        return progress(found, targets, said, superseded)

    async def audit(self, *, limit: int = 100) -> list[AuditRow]:
        """Who did what, newest first."""
        return await self._storage.audit(max(1, min(limit, 1000)))

    # How it is done

    def _drafted(self, edit: Edit) -> Draft:
        head = self._roster.head(Scope.of(edit.service))
        document = rules.edited(head.document if head else {}, edit)
        _check(edit, document)
        return Draft(Scope.of(edit.service), document, self._clock(), edit.author, edit.comment)

    async def _checked(self, draft: Draft) -> Draft:
        """The draft, if each grant that begins in it has an id of its own, and is not over."""
        head = self._roster.head(draft.scope)
        found = grants.of(draft.document)
        new = found.keys() - grants.of(head.document if head else {}).keys()
        used = new & await self._storage.grant_ids() if new else set()
        late = new & set(grants.over(draft.document, draft.at))
        problems = [Problem(grants.path(n), "an id used before", "a new id") for n in used]
        problems += [
            Problem(grants.path(n, "until"), repr(found[n].get("until")), "a moment to come")
            for n in late - used
        ]
        if problems:
            raise SettingsError(sorted(problems, key=str))
        return draft

    async def _publish(self, draft: Draft, action: str) -> ChangeResult:
        result = self._result(draft)
        head = self._roster.head(draft.scope)
        if head is not None and not result.changes:
            return self._result(draft, head.version)
        version = await self._storage.add_version(draft)
        self._roster.set_head(version)
        self._tell(version)
        await self._note(draft, action, version.version)
        return self._numbered(result, version.version)

    def _tell(self, version: Version) -> None:
        for listener in self.on_publish:
            listener()
        self._bus.publish(Notice("settings", str(version.version)))

    async def _note(self, draft: Draft, action: str, number: int) -> None:
        where = draft.scope.service or "all agents"
        row = AuditRow(draft.at, draft.author, action, f"version {number}", f"for {where}")
        await self._storage.add_audit(row)

    @staticmethod
    def _numbered(result: ChangeResult, number: int) -> ChangeResult:
        return ChangeResult(
            number, result.service, result.document, result.changes, result.agents,
            result.skipped, result.loosens_capture, result.undone_of, result.refusing,
        )  # fmt: skip

    def _result(self, draft: Draft, number: int | None = None) -> ChangeResult:
        """What a draft does to the agents that are connected now."""
        head = self._roster.head(draft.scope)
        before: Mapping[str, Any] = head.document if head else {}
        changes = rules.changes(before, draft.document)
        agents = [r for r in self._roster.connected() if _meant(draft.scope, r)]
        heads = self._roster.heads_with(Version(2**62, draft.scope, draft.document, "", draft.at))
        after = self._roster.desired_by(agents, heads)
        paths = [change.path for change in changes]
        skipped = [s for r in agents if (s := plan.skipped(r, paths, after[r.uid]))]
        reached = [r for r in agents if not plan.refusal(r)]
        loosening = [
            rules.loosens(
                self._roster.desired(r).document, after[r.uid].document, r.effective.document
            )
            for r in reached
        ] or [rules.loosens(before, draft.document, None)]
        return ChangeResult(
            number, draft.scope.service, draft.document, changes, [r.uid for r in reached],
            skipped, any(loosening), draft.undone_of,
            [s for r in reached if (s := plan.refusing(r, after[r.uid].document))],
        )  # fmt: skip

    async def _to_undo(self, number: int | None, service: str | None) -> Version:
        if number is not None:
            return await self._version(number)
        head = self._roster.head(Scope.of(service))
        if head is None:
            where = f"service {service}" if service else "all agents"
            raise NotFound(f"nothing was ever set for {where}, so there is nothing to undo")
        return head

    async def _version(self, number: int) -> Version:
        found = await self._storage.version(number) if 0 < number < 2**63 else None
        if found is None:
            raise NotFound(f"there is no version {number}")
        return found

    async def _with_former(self, page: list[Version]) -> list[tuple[Version, Version | None]]:
        """Each with the one before it in its scope; only that of a scope's oldest is looked up."""
        older: dict[str, Version] = {}
        pairs = []
        for version in reversed(page):
            where = repr(version.scope)
            pairs.append((version, older.get(where) or await self._storage.before(version)))
            older[where] = version
        return pairs[::-1]

    def _row(
        self, version: Version, before: Version | None, undone_by: int | None
    ) -> dict[str, Any]:
        head = self._roster.head(version.scope)
        return {
            "version": version.version,
            "service": version.scope.service,
            "author": version.author,
            "at": version.at,
            "comment": version.comment,
            "hash": version.hash,
            "changes": rules.changes(before.document if before else {}, version.document),
            "undone_of": version.undone_of,
            "undone_by": undone_by,
            "current": head is not None and head.version == version.version,
        }


def _meant(scope: Scope, record: AgentRecord) -> bool:
    return rules.matches(scope, record.description.identifying)


def _check(edit: Edit, document: Mapping[str, Any]) -> None:
    problems = list(_too_long(edit))
    try:
        validate(document)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(problems)


def _too_long(edit: Edit) -> Iterator[Problem]:
    for name, longest in _LONGEST.items():
        text = getattr(edit, name) or ""
        if len(text) > longest:
            yield Problem(name, f"{len(text)} characters", f"at most {longest}")


def _below(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise SettingsError([Problem("cursor", repr(cursor[:40]), "the next of an earlier page")])
    return int(cursor)
