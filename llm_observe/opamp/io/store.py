"""Where the record of an offered connection lives across crashes (OpAMP, "Offer Flow", step 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from llm_observe.statedir import read_bytes, write_atomic


class OfferStore(Protocol):
    """One record of bytes, with credentials in it."""

    def load(self) -> bytes | None:
        """What was saved last, or None. Raises `OSError`."""

    def save(self, data: bytes) -> None:
        """Replace it, all or nothing; durable when this returns. Raises `OSError`."""


class FileStore:
    """In a file that its owner alone can read; its folder must be there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        """See `OfferStore`."""
        return read_bytes(self._path)

    def save(self, data: bytes) -> None:
        """See `OfferStore`."""
        write_atomic(self._path, data)


class MemoryStore:
    """In memory, for tests and for agents without a disk: an offer does not outlive the process."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data

    def load(self) -> bytes | None:
        """See `OfferStore`."""
        return self.data

    def save(self, data: bytes) -> None:
        """See `OfferStore`."""
        self.data = data
