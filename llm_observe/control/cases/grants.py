"""Use cases of timed capture grants: begin one, see them, end one before its time."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from llm_observe.control.cases.settings import SettingsCases
from llm_observe.control.rules import grants as rules
from llm_observe.control.rules.grants import GrantResult, GrantView, GrantWish
from llm_observe.control.rules.model import ChangeResult, Edit, Scope, Version
from llm_observe.errors import NotFound

_LOOKED_BACK = 500
"""Versions of a scope in which the beginning of a grant is looked for."""


class GrantCases(SettingsCases):
    """Part of `llm_observe.control.service.Service`."""

    async def grants(self) -> list[GrantView]:
        """Every grant that stands in what is wanted: where it is in force, who began it, and why."""
        heads = [head for head in self._roster.heads if rules.of(head.document)]
        origins: dict[str, Version] = {}
        for head in heads:
            origins |= await self._origins(head)
        return rules.views(heads, origins, self._roster.connected(), self._clock())

    async def preview_grant(self, wish: GrantWish) -> GrantResult:
        """Which agents a grant would reach, with nothing stored or sent.

        Raises:
            SettingsError: One problem per wrong key.
        """
        name, end, edit = self._granting(wish)
        return GrantResult(name, end, await self.preview(edit))

    async def grant(self, wish: GrantWish) -> GrantResult:
        """Begin a grant: a new version of the settings, offered at once.

        Its time runs from here on, not from when an agent hears of it. Grants of the same scope
        that are over leave the document with it.

        Raises:
            SettingsError: One problem per wrong key; nothing was stored.
        """
        name, end, edit = self._granting(wish)
        return GrantResult(name, end, await self.change(edit))

    async def revoke(self, name: str, *, author: str = "", comment: str = "") -> ChangeResult:
        """End a grant now, in every agent; it can never begin again.

        Raises:
            NotFound: No such grant is wanted.
        """
        for head in self._roster.heads:
            if name in rules.of(head.document):
                text = comment or f"end grant {name}"
                service = head.scope.service
                edit = Edit(service, unset=[rules.path(name)], comment=text, author=author)
                return await self.change(edit)
        raise NotFound(f"there is no grant {name[:80]!r}")

    def _granting(self, wish: GrantWish) -> tuple[str, float, Edit]:
        now = self._clock()
        name, end = f"g-{secrets.token_hex(4)}", rules.deadline(wish, now)
        head = self._roster.head(Scope.of(wish.service))
        document: Mapping[str, object] = head.document if head else {}
        edit = Edit(
            wish.service,
            set=rules.values(name, wish, end, now),
            unset=[rules.path(old) for old in rules.over(document, now)],
            comment=wish.comment,
            author=wish.author,
        )
        return name, end, edit

    async def _origins(self, head: Version) -> Mapping[str, Version]:
        """The version in which each grant of a scope first stood."""
        wanted, found = rules.of(head.document).keys(), dict[str, Version]()
        for version in await self._storage.history(head.scope, limit=_LOOKED_BACK):
            held = wanted & rules.of(version.document).keys()
            if not held:
                break
            found |= dict.fromkeys(held, version)
        return found
