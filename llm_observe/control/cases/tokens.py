"""Use cases of tokens, and who is let in where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from llm_observe.control.rules.model import AuditRow, AuthView, NewToken, TokenKind, TokenView
from llm_observe.control.store.storage import Storage
from llm_observe.control.tokens import Keyring, hashed, new_value
from llm_observe.errors import Conflict, NotFound, Problem, SettingsError

MAX_NAME = 100
MAX_TOKENS = 1000


class TokenCases:
    """Part of `llm_observe.control.service.Service`."""

    _storage: Storage
    _clock: Callable[[], float]
    keyring: Keyring
    loopback: bool

    async def tokens(self) -> list[TokenView]:
        """All tokens, without their values."""
        stored = [token.view for token in await self._storage.tokens()]
        return [
            replace(view, last_used=self.keyring.last_used(view.id) or view.last_used)
            for view in stored
        ]

    async def create_token(self, kind: TokenKind, name: str, author: str = "") -> NewToken:
        """Make a token; only its hash is stored, the value is in the answer alone.

        From the first token of a kind on, what that kind opens is closed without one.

        Raises:
            SettingsError: The name is empty or too long.
            Conflict: There are too many tokens.
        """
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME:
            expected = f"1 to {MAX_NAME} characters"
            raise SettingsError([Problem("name", f"{len(name)} characters", expected)])
        if self.keyring.count(kind) >= MAX_TOKENS:
            raise Conflict(f"there are {MAX_TOKENS} {kind} tokens already; delete some first")
        value = new_value(kind)
        view = await self._storage.add_token(kind, name, hashed(value), self._clock())
        self.keyring.add(view, hashed(value))
        await self._token_note(author, "create token", view)
        return NewToken(view.id, view.kind, view.name, view.created, value=value)

    async def delete_token(self, token_id: int, author: str = "") -> None:
        """Remove a token; it opens nothing from now on.

        Raises:
            NotFound: No such token.
            Conflict: It is the last admin token and the server is reachable from elsewhere.
        """
        view = {token.id: token for token in await self.tokens()}.get(token_id)
        if view is None:
            raise NotFound(f"there is no token {token_id}")
        last = view.kind is TokenKind.ADMIN and self.keyring.count(TokenKind.ADMIN) == 1
        if last and not self.loopback:
            raise Conflict("this is the last admin token; without it nobody could get in")
        await self._storage.delete_token(token_id)
        self.keyring.remove(token_id)
        await self._token_note(author, "delete token", view)

    def auth(self) -> AuthView:
        """Who is let in: with a token only, or everybody on this machine."""
        return AuthView(
            "token" if self.needs_token(TokenKind.ADMIN) else "open",
            "token" if self.needs_token(TokenKind.INGEST) else "open",
        )

    def needs_token(self, kind: TokenKind) -> bool:
        """Whether what this kind of token opens is closed without one."""
        return not self.loopback or self.keyring.has(kind)

    async def _token_note(self, author: str, action: str, view: TokenView) -> None:
        row = AuditRow(
            self._clock(), author, action, f"token {view.id}", f"{view.kind} {view.name}"
        )
        await self._storage.add_audit(row)

    async def _tidy_tokens(self) -> None:
        used: Mapping[int, float] = self.keyring.take_used()
        for token_id, at in used.items():
            await self._storage.token_used(token_id, at)
