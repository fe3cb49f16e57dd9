"""A key of a destination that cannot be used where the program runs."""

from __future__ import annotations


class KeyFault(ValueError):
    """Which key, and why. Holds reasons, never a secret.

    Args:
        key: The key below the destination, such as ``("headers", "x-key")``.
    """

    def __init__(self, key: tuple[str, ...], found: str, expected: str) -> None:
        self.key, self.found, self.expected = key, found, expected
        super().__init__(key, found, expected)

    def __str__(self) -> str:
        return f"{'.'.join(self.key)}: found {self.found}, expected {self.expected}"
