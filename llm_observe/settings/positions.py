"""Where in a document a key stands, so that a problem can be shown there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import yaml

from llm_observe.settings.documents import join_path, split_path


class Position(NamedTuple):
    """A place in a text; both count from 1, as editors do."""

    line: int
    column: int


START = Position(1, 1)


class Positions:
    """The places of all keys of a YAML or JSON document that `llm_observe.settings.schema.parse` reads."""

    def __init__(self, body: bytes) -> None:
        root = yaml.compose(body, Loader=yaml.SafeLoader)
        self._places: Mapping[str, Position] = dict(_places(root, ()))

    def of(self, path: str) -> Position:
        """The place of a key; of one that is not there, that of the nearest one around it."""
        names = split_path(path)
        for length in range(len(names), 0, -1):
            place = self._places.get(join_path(names[:length]))
            if place is not None:
                return place
        return START


def position_of(error: BaseException | None) -> Position:
    """Where a YAML parser stopped; the beginning, if it does not say."""
    mark = getattr(error, "problem_mark", None)
    return Position(mark.line + 1, mark.column + 1) if mark else START


def _places(node: yaml.Node | None, above: tuple[str, ...]) -> Iterator[tuple[str, Position]]:
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(number), value, value) for number, value in enumerate(node.value)]
    else:
        return
    for name, stands, value in children:
        path = (*above, name)
        mark = stands.start_mark
        yield join_path(path), Position(mark.line + 1, mark.column + 1)
        yield from _places(value, path)
