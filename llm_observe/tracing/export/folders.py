"""The folders that files of destinations may lie in: said by the local side only, for this process.

Settings are held against the same limit before they are taken; this is where a file is opened,
and where a link could lead out of the folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from llm_observe.settings.places import lies_in
from llm_observe.tracing.export.faults import KeyFault

_permitted: tuple[str, ...] = ()


def permit(folders: Iterable[str]) -> None:
    """These and no others, from now on. Absolute paths; a forked child inherits them."""
    global _permitted
    _permitted = tuple(folders)


def parted(path: str) -> tuple[str, tuple[str, ...]]:
    """The permitted folder that a file lies in, and the names that lead from there to it.

    Raises:
        KeyFault: There is none.
    """
    for folder in _permitted:
        if lies_in(path, folder):
            return folder, PurePosixPath(path).relative_to(folder).parts
    folders = ", ".join(_permitted) or "none"
    expected = f"a file in one of the folders {folders} (local limit)"
    raise KeyFault(("path",), path or "nothing", expected)
