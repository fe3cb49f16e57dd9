"""Every error that llm-observe raises.

::

    LLMObserveError
    ├── SettingsError            (ValueError)  one Problem per wrong key
    ├── ProtocolError
    │   ├── LocalProtocolError                 our side called in the wrong order
    │   └── RemoteProtocolError                the peer broke the rules
    │       ├── MalformedMessage
    │       └── MessageTooLarge
    ├── StateError               (OSError)     the state folder is locked or unreadable
    ├── DestinationError         (OSError)     a telemetry destination does not answer
    ├── StoreError                             the span store cannot be opened or read
    └── ControlError                           the control plane refused or cannot be reached
        ├── NotFound
        ├── Conflict
        ├── Forbidden
        └── Unreachable

Errors carry data and compose their own sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong key of a settings document.

    ``found`` never holds a secret: whoever makes a Problem masks the value first.
    """

    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        """``sampling.ratio: found 1.5, expected a number from 0 to 1``."""
        return f"{self.path or '(document)'}: found {self.found}, expected {self.expected}"


class LLMObserveError(Exception):
    """The root of all errors of this package."""


class SettingsError(LLMObserveError, ValueError):
    """A settings document was refused; nothing of it was applied."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ProtocolError(LLMObserveError):
    """Something went wrong in an OpAMP conversation."""


class LocalProtocolError(ProtocolError):
    """Our side used the protocol wrongly; nothing was changed by the call."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that the protocol forbids."""


class MalformedMessage(RemoteProtocolError):
    """Bytes that are no OpAMP message."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class MessageTooLarge(RemoteProtocolError):
    """A message beyond the size limit (OpAMP, "Message Size Limits")."""

    def __init__(self, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        super().__init__(size, limit)

    def __str__(self) -> str:
        return f"message of {self.size} bytes is over the limit of {self.limit} bytes"


class StateError(LLMObserveError, OSError):
    """The folder that keeps state across restarts cannot be used."""


class DestinationError(LLMObserveError, OSError):
    """A telemetry destination could not be reached or refused what it was sent."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"destination {self.name}: {self.reason}"


class StoreError(LLMObserveError):
    """The span store cannot be opened, read or written."""


class ControlError(LLMObserveError):
    """The control plane refused a request or could not be reached."""


class NotFound(ControlError):
    """No such agent, version, trace or session."""


class Conflict(ControlError):
    """The request contradicts the present state."""


class Forbidden(ControlError):
    """The token presented does not allow this."""


class Unreachable(ControlError):
    """No control plane answers at the given address."""
