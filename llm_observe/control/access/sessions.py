"""Who logged in to the pages: kept in memory, so a restart of the server ends every session."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from llm_observe.control.rules.model import TokenKind
from llm_observe.control.tokens import Keyring, hashed

COOKIE = "llm_observe_session"
LIFETIME_S = 12 * 3600
MAX_SESSIONS = 1000


@dataclass(frozen=True, slots=True)
class _Session:
    token_id: int
    name: str
    ends: float


class Sessions:
    """A session belongs to an admin token and ends with it, with logout, or after its lifetime."""

    def __init__(self, keyring: Keyring, clock: Callable[[], float]) -> None:
        self._keyring, self._clock = keyring, clock
        self._sessions: dict[str, _Session] = {}

    def begin(self, token: str) -> str | None:
        """The value of a new session's cookie; None where this is no admin token."""
        view = self._keyring.find(token.strip())
        if view is None or view.kind is not TokenKind.ADMIN:
            return None
        self._drop_old()
        value = secrets.token_urlsafe(32)
        session = _Session(view.id, view.name, self._clock() + LIFETIME_S)
        self._sessions[hashed(value)] = session
        return value

    def who(self, value: str) -> str | None:
        """The name of who logged in with this cookie; None for nobody."""
        session = self._sessions.get(hashed(value)) if value else None
        if session is None or session.ends <= self._clock():
            return None
        return session.name if self._keyring.alive(session.token_id) else None

    def end(self, value: str) -> None:
        """Log out."""
        self._sessions.pop(hashed(value), None)

    def _drop_old(self) -> None:
        now = self._clock()
        self._sessions = {key: s for key, s in self._sessions.items() if s.ends > now}
        for key in list(self._sessions)[: max(0, len(self._sessions) - MAX_SESSIONS + 1)]:
            del self._sessions[key]
