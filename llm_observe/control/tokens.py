"""Tokens: made at random, shown once, kept as a hash, checked without a database."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable

from llm_observe.control.rules.model import TokenKind, TokenView
from llm_observe.control.store.storage import StoredToken

PREFIX = "llmo"
"""Tokens begin with it and their kind, so that a scanner or a reader can tell what they found."""


def new_value(kind: TokenKind) -> str:
    """A token of 256 random bits."""
    return f"{PREFIX}_{kind}_{secrets.token_urlsafe(32)}"


def hashed(value: str) -> str:
    """What is kept of a token. Plain SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(value.encode()).hexdigest()


class Keyring:
    """The tokens that exist, in memory. Used on the event loop only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_hash: dict[str, TokenView] = {}
        self._used: dict[int, float] = {}

    def load(self, tokens: Iterable[StoredToken]) -> None:
        """Take what the database holds."""
        self._by_hash = {token.hash: token.view for token in tokens}

    def add(self, view: TokenView, hash_: str) -> None:
        """A token was made."""
        self._by_hash[hash_] = view

    def remove(self, token_id: int) -> None:
        """A token was withdrawn."""
        self._by_hash = {h: view for h, view in self._by_hash.items() if view.id != token_id}

    def find(self, value: str) -> TokenView | None:
        """The token with this value, and remember that it was used."""
        view = self._by_hash.get(hashed(value))
        if view is not None:
            self._used[view.id] = self._clock()
        return view

    def has(self, kind: TokenKind) -> bool:
        """Whether any token of this kind exists."""
        return any(view.kind is kind for view in self._by_hash.values())

    def alive(self, token_id: int) -> bool:
        """Whether this token still exists."""
        return any(view.id == token_id for view in self._by_hash.values())

    def count(self, kind: TokenKind) -> int:
        """How many tokens of this kind exist."""
        return sum(view.kind is kind for view in self._by_hash.values())

    def last_used(self, token_id: int) -> float | None:
        """When a token was last used since the server started."""
        return self._used.get(token_id)

    def take_used(self) -> dict[int, float]:
        """Uses to be written down; forgotten here afterwards only by a restart."""
        return dict(self._used)
