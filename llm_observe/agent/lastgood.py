"""What the control plane last said, kept across restarts.

A process that starts while its server is away runs under the settings that were last applied.
The file also holds the last *received* hash with its status, so that a server does not send
again what was applied or refused (OpAMP, "Configuration"; opamp-spec#397).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llm_observe.errors import Problem, StateError
from llm_observe.policy import grants
from llm_observe.policy.capture import Clocks
from llm_observe.policy.grants import Book
from llm_observe.settings.documents import document_hash, without
from llm_observe.statedir import StateDir
from llm_observe.uids import uid_from_text, uid_text

_FILE = "remote.json"
_IDENTITY = "instance_uid"
_GRANTS = "grants.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class RemoteState:
    """The remote layer in force, and how the last offer ended.

    ``received_hash`` and ``status`` tell of the last offer, which after a refusal is not the
    one that ``fragment`` came from.
    """

    fragment: Mapping[str, Any] = field(default_factory=dict)
    since: float = 0.0
    received_hash: bytes = b""
    applied: bool = True
    error: str = ""

    def refusing(self, problems: Collection[Problem]) -> RemoteState:
        """The same without the keys that these problems name, as a refusal."""
        fragment: Mapping[str, Any] = self.fragment
        for problem in problems:
            fragment = without(fragment, problem.path)
        error = "\n".join(map(str, problems))
        return replace(self, fragment=fragment, applied=False, error=error)

    def encode(self, version: str) -> bytes:
        """As JSON, with a hash over the fragment so that damage is noticed."""
        body = {
            "format": _FORMAT,
            "version": version,
            "fragment": self.fragment,
            "fragment_hash": document_hash(self.fragment).hex(),
            "since": self.since,
            "received_hash": self.received_hash.hex(),
            "applied": self.applied,
            "error": self.error,
        }
        return json.dumps(body, indent=1).encode()


@dataclass(frozen=True, slots=True)
class Saved:
    """A state read from disk, and the version of this package that wrote it."""

    state: RemoteState
    version: str


def decode(data: bytes) -> Saved:
    """The inverse of `RemoteState.encode`.

    Raises:
        StateError: Damaged, or written by an unknown format.
    """
    try:
        body = json.loads(data)
        if body["format"] != _FORMAT:
            raise StateError(f"{_FILE} has format {body['format']}, expected {_FORMAT}")
        if document_hash(body["fragment"]).hex() != body["fragment_hash"]:
            raise StateError(f"{_FILE} is damaged: its hash does not fit")
        state = RemoteState(
            fragment=body["fragment"],
            since=float(body["since"]),
            received_hash=bytes.fromhex(body["received_hash"]),
            applied=bool(body["applied"]),
            error=str(body["error"]),
        )
        return Saved(state, str(body["version"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{_FILE} is damaged: {error}") from error


class LastGood:
    """The files on disk, or memory where there is no usable disk.

    ``trouble`` says why nothing is kept, or that what was kept could not be read; ``damaged``
    is true for the latter.
    """

    def __init__(self, folder: StateDir | None, version: str, trouble: str = "") -> None:
        self._folder, self._version = folder, version
        self._unclaimed: tuple[Path, str] | None = None
        self._address: tuple[Path, str] | None = None
        self._records: dict[str, bytes] = {}
        self.trouble, self.damaged = trouble, False

    @classmethod
    def open(cls, root: Path, service: str, version: str) -> LastGood:
        """Claim the service's state folder; never raises."""
        made = cls(None, version)
        made._address = made._unclaimed = (root, service)
        made._claim()
        return made

    @property
    def wanted(self) -> bool:
        """Whether a folder was asked for, be there one or not."""
        return self._address is not None

    def after_fork_in_child(self) -> LastGood:
        """A child's own: the parent keeps its folder, the child claims another when it saves."""
        child = LastGood(None, self._version)
        child._address = child._unclaimed = self._address
        child._records = dict(self._records)
        if self._folder is not None:
            with suppress(OSError):
                self._folder.release()
        return child

    def load(self) -> Saved | None:
        """What was saved, or None; a damaged file is reported in ``trouble``."""
        if self._folder is None:
            return None
        try:
            data = self._folder.read(_FILE)
            return decode(data) if data else None
        except StateError as error:
            self.trouble, self.damaged = str(error), True
            return None

    def save(self, state: RemoteState) -> None:
        """Write through to disk before what it says is reported; never raises."""
        self._write(_FILE, state.encode(self._version))

    def load_grants(self, now: Clocks, boot_id: str) -> Book | None:
        """The grants that run or have ended; None where nothing was kept, or it is damaged."""
        try:
            data = self._folder.read(_GRANTS) if self._folder is not None else None
            return grants.load(json.loads(data), now, boot_id) if data else None
        except (StateError, KeyError, TypeError, ValueError, AttributeError) as error:
            self.trouble = f"{_GRANTS} is damaged, and what it held has ended: {error}"
            return None

    def save_grants(self, book: Book, now: Clocks, boot_id: str) -> None:
        """Write through to disk, before what it says is in force; never raises."""
        self._write(_GRANTS, json.dumps(grants.save(book, now, boot_id)).encode())

    def assigned_uid(self) -> bytes | None:
        """The instance uid that a server assigned to this folder, or None."""
        try:
            data = self._folder.read(_IDENTITY) if self._folder is not None else None
        except StateError:  # another identity does no harm, and the next one is saved
            return None
        uid = uid_from_text((data or b"").decode("ascii", "replace"))
        return uid if any(uid) else None

    def save_uid(self, uid: bytes) -> None:
        """Keep an assigned instance uid; never raises."""
        self._write(_IDENTITY, uid_text(uid).encode())

    def record(self, name: str) -> bytes | None:
        """A record that was kept, here or by the process that forked this one.

        Raises:
            StateError: It is there and cannot be read.
        """
        if name not in self._records and self._folder is not None:
            data = self._folder.read(name)
            if data:
                self._records[name] = data
        return self._records.get(name)

    def keep_record(self, name: str, data: bytes) -> None:
        """Keep it, for the owner's eyes only; durable when this returns.

        Raises:
            StateError: It cannot be kept.
        """
        self._claim()
        if self._folder is None:
            raise StateError("there is no state folder")
        self._folder.write(name, data)
        self._records[name] = data

    def keep_files(self, begin: str, files: Mapping[str, bytes]) -> str:
        """Keep these files, and no others whose names begin so; the folder they are in.

        Raises:
            StateError: They cannot be kept.
        """
        self._claim()
        if self._folder is None:
            raise StateError("there is no state folder")
        for name, data in files.items():
            self._folder.write(name, data)
        for path in self._folder.path.glob(f"{begin}*"):
            if path.name not in files:
                with suppress(OSError):  # one too many harms nobody
                    self._folder.delete(path.name)
        return str(self._folder.path.absolute())

    def _write(self, name: str, data: bytes) -> None:
        self._claim()
        if self._folder is None:
            return
        try:
            self._folder.write(name, data)
            self.trouble = ""
        except StateError as error:
            self.trouble = f"settings are not kept across restarts: {error}"

    def _claim(self) -> None:
        wanted, self._unclaimed = self._unclaimed, None
        if wanted is None:
            return
        try:
            self._folder = StateDir.claim(*wanted)
        except StateError as error:
            self.trouble = f"settings are not kept across restarts: {error}"
