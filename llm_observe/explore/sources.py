"""Where traces are read from: a control plane, a span store's file, or a file of OTLP lines.

All three answer the same questions with the same words, so the rest of `llm_observe.explore`
does not know which one it has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from llm_observe.control.client import ControlClient
from llm_observe.errors import StoreError
from llm_observe.spanstore.model import Page, SeriesQuery, SpanFilter, TraceFilter, to_json
from llm_observe.spanstore.otlp import decode_metrics, decode_traces
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.scores import ScoreFilter
from llm_observe.spanstore.sqlite import SpanStore

Json = dict[str, Any]

PAGE = 5000
MAX_LINE_BYTES = 64 * 1024 * 1024


class Source(Protocol):
    """What can be asked."""

    name: str

    def spans(self, filters: Json, columns: Sequence[str], limit: int) -> Iterator[Json]:
        """Span rows, newest first, at most ``limit``."""

    def trace(self, trace_id: str) -> list[Json]:
        """The spans of one trace by start, with their payload; empty where there is none."""

    def traces(self, filters: Json, limit: int) -> Iterator[Json]:
        """Trace summaries, newest first, at most ``limit``."""

    def scores(self, filters: Json, limit: int) -> Iterator[Json]:
        """What was judged, newest first, at most ``limit``."""

    def series(self, query: Json) -> list[Json]:
        """Lines of a chart, from metrics."""

    def close(self) -> None:
        """Give everything back."""


class Remote:
    """A running control plane."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client
        self.name = client.server

    def spans(self, filters: Json, columns: Sequence[str], limit: int) -> Iterator[Json]:
        """See `Source`."""
        left = limit
        asked = {**filters, "columns": list(columns), "limit": min(limit, PAGE)}
        for page in self._client.span_pages(**asked):
            yield from page["items"][:left]
            left -= len(page["items"])
            if left <= 0:
                return

    def trace(self, trace_id: str) -> list[Json]:
        """See `Source`."""
        return self._client.trace(trace_id)

    def traces(self, filters: Json, limit: int) -> Iterator[Json]:
        """See `Source`."""
        found = self._client.traces(**filters, limit=min(limit, 500))
        for _, trace in zip(range(limit), found, strict=False):
            yield trace

    def scores(self, filters: Json, limit: int) -> Iterator[Json]:
        """See `Source`."""
        found = self._client.scores(**filters, limit=min(limit, PAGE))
        for _, score in zip(range(limit), found, strict=False):
            yield score

    def series(self, query: Json) -> list[Json]:
        """See `Source`."""
        asked = {**query, "step": query["step_s"]}
        del asked["step_s"]
        return self._client.series(**asked)

    def close(self) -> None:
        """See `Source`."""
        self._client.close()


class Stored:
    """The file of a span store, also while a control plane writes it."""

    def __init__(self, path: Path) -> None:
        self._reader = SpanReader(path)
        self.name = str(path)

    def spans(self, filters: Json, columns: Sequence[str], limit: int) -> Iterator[Json]:
        """See `Source`."""
        where, cursor, left = SpanFilter(**filters), None, limit
        while left > 0:
            page = self._reader.spans(where, columns, min(left, PAGE), cursor)
            yield from page.items
            left, cursor = left - len(page.items), page.next
            if cursor is None:
                return

    def trace(self, trace_id: str) -> list[Json]:
        """See `Source`."""
        return [to_json(span) for span in self._reader.trace(trace_id, 10_000)]

    def traces(self, filters: Json, limit: int) -> Iterator[Json]:
        """See `Source`."""
        return _walk(partial(self._reader.traces, TraceFilter(**filters)), limit)

    def scores(self, filters: Json, limit: int) -> Iterator[Json]:
        """See `Source`."""
        return _walk(partial(self._reader.scores, ScoreFilter(**filters)), limit)

    def series(self, query: Json) -> list[Json]:
        """See `Source`."""
        return [to_json(series) for series in self._reader.series(SeriesQuery(**query))]

    def close(self) -> None:
        """See `Source`."""
        self._reader.close()


class Lines(Stored):
    """A file with one OTLP/JSON request per line, as a Collector's file exporter writes it.

    It is read once, into a span store in a temporary folder.

    Raises:
        StoreError: A line is no OTLP, with its number.
    """

    def __init__(self, path: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llm-observe-")
        try:
            stored = Path(self._folder.name) / "spans.db"
            _load(path, stored)
            super().__init__(stored)
        except BaseException:
            self._folder.cleanup()
            raise
        self.name = str(path)

    def close(self) -> None:
        """See `Source`."""
        super().close()
        self._folder.cleanup()


def _walk(ask: Callable[[int, str | None], Page[Any]], limit: int) -> Iterator[Json]:
    """The items of all pages as plain data, at most ``limit``."""
    cursor: str | None = None
    while limit > 0:
        page = ask(min(limit, PAGE), cursor)
        yield from map(to_json, page.items)
        limit, cursor = limit - len(page.items), page.next
        if cursor is None:
            return


def open_source(place: str | None, token: str | None = None) -> Source:
    """The source behind an address or a path.

    Raises:
        StoreError: There is no such file, or it is neither a span store nor OTLP lines.
        ControlError: The address is none, or no control plane answers there.
    """
    if place is None or place.startswith(("http://", "https://")):
        client = ControlClient(place, token, timeout_s=60.0)
        client.status()
        return Remote(client)
    path = Path(place).expanduser()
    if path.is_dir():
        path = path / "spans.db"
    if not path.is_file():
        raise StoreError(f"there is no file {path}")
    with path.open("rb") as file:
        is_database = file.read(16) == b"SQLite format 3\0"
    return Stored(path) if is_database else Lines(path)


def _load(path: Path, stored: Path) -> None:
    store = SpanStore(stored)
    try:
        for number, line in _lines(path):
            try:
                _append(store, line)
            except StoreError as error:
                raise StoreError(f"{path}, line {number}: {error}") from error
    finally:
        store.close(60.0)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise StoreError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes")
            if line.strip():
                yield number, line


def _append(store: SpanStore, line: bytes) -> None:
    metrics = b'"resourceMetrics"' in line[:4096]
    decode: Any = decode_metrics if metrics else decode_traces
    rows = decode(line, "application/json")
    if rows.refused:
        raise StoreError(rows.reason)
    store.append(*(((), rows) if metrics else (rows, ()))).result()
