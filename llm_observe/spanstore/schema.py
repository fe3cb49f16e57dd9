"""The file: tables, versions, connections.

Numbers and promoted columns live in narrow tables; what was said lives in ``payloads`` (and, as
the first words, in ``traces``), so that content can be deleted and lists never read it. The
file's version is ``PRAGMA user_version``; each entry of `MIGRATIONS` leads to the next one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from llm_observe.errors import StoreError

APPLICATION_ID = 0x4C4D4F53  # "LMOS"
SERVICE, MODEL = 1, 2  # trace_facets.kind

SPAN_FIELDS = (
    "trace_id",
    "span_id",
    "parent_id",
    "name",
    "kind",
    "service",
    "scope",
    "instance",
    "start_ns",
    "end_ns",
    "error",
    "error_type",
    "model",
    "provider",
    "operation",
    "session",
    "user",
    "tokens_in",
    "tokens_out",
    "tokens_total",
    "ttft_ms",
    "queue_ms",
    "tokens_per_s",
    "cost",
    "finish_reason",
    "capture_level",
    "config_hash",
    "feedback",
)
"""Columns of ``spans`` that a row brings, in the order of writing."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('commits', 0), ('spans', 0), ('traces', 0);

CREATE TABLE spans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id BLOB NOT NULL, span_id BLOB NOT NULL, parent_id BLOB NOT NULL,
    name TEXT NOT NULL, kind TEXT NOT NULL,
    service TEXT NOT NULL, scope TEXT NOT NULL, instance TEXT NOT NULL,
    start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    error INTEGER NOT NULL, error_type TEXT NOT NULL,
    model TEXT NOT NULL, provider TEXT NOT NULL, operation TEXT NOT NULL,
    session TEXT NOT NULL, user TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, tokens_total INTEGER,
    ttft_ms REAL, queue_ms REAL, tokens_per_s REAL, cost REAL,
    finish_reason TEXT NOT NULL, capture_level TEXT NOT NULL, config_hash TEXT NOT NULL
);
CREATE UNIQUE INDEX spans_identity ON spans (trace_id, span_id);
CREATE INDEX spans_start ON spans (start_ns, id);
CREATE INDEX spans_session ON spans (session) WHERE session <> '';

CREATE TABLE payloads (
    id INTEGER PRIMARY KEY,
    input_preview TEXT NOT NULL, output_preview TEXT NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE traces (
    id INTEGER PRIMARY KEY,
    trace_id BLOB NOT NULL UNIQUE,
    start_ns INTEGER NOT NULL, duration_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    name TEXT NOT NULL, service TEXT NOT NULL,
    model TEXT NOT NULL, models INTEGER NOT NULL, session TEXT NOT NULL, user TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, tokens_total INTEGER, cost REAL,
    ttft_ms REAL, queue_ms REAL, tokens_per_s REAL,
    finish_reason TEXT NOT NULL, error INTEGER NOT NULL, error_type TEXT NOT NULL,
    spans INTEGER NOT NULL, calls INTEGER NOT NULL,
    capture_level TEXT NOT NULL, config_hash TEXT NOT NULL,
    input_preview TEXT NOT NULL, output_preview TEXT NOT NULL
);
CREATE INDEX traces_start ON traces (start_ns, trace_id);
CREATE INDEX traces_received ON traces (received_ns);
CREATE INDEX traces_session ON traces (session, start_ns, trace_id) WHERE session <> '';
CREATE INDEX traces_user ON traces (user, start_ns, trace_id) WHERE user <> '';
CREATE INDEX traces_config ON traces (config_hash, start_ns, trace_id) WHERE config_hash <> '';
CREATE INDEX traces_error ON traces (start_ns, trace_id) WHERE error = 1;

CREATE TABLE trace_facets (
    kind INTEGER NOT NULL, value TEXT NOT NULL,
    start_ns INTEGER NOT NULL, trace_id BLOB NOT NULL,
    PRIMARY KEY (kind, value, start_ns, trace_id)
) WITHOUT ROWID;

CREATE TABLE sessions (
    session TEXT PRIMARY KEY, user TEXT NOT NULL, service TEXT NOT NULL,
    first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_last ON sessions (last_ns, session);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    metric TEXT NOT NULL, unit TEXT NOT NULL, service TEXT NOT NULL,
    model TEXT NOT NULL, provider TEXT NOT NULL, operation TEXT NOT NULL,
    token_type TEXT NOT NULL, error_type TEXT NOT NULL,
    bounds BLOB NOT NULL,
    UNIQUE (metric, unit, service, model, provider, operation, token_type, error_type, bounds)
);
CREATE TABLE rollups (
    resolution INTEGER NOT NULL, series INTEGER NOT NULL, time INTEGER NOT NULL,
    count INTEGER NOT NULL, sum REAL NOT NULL, counts BLOB NOT NULL,
    PRIMARY KEY (resolution, series, time)
) WITHOUT ROWID;
CREATE TABLE streams (
    stream BLOB PRIMARY KEY, start_ns INTEGER NOT NULL, time_ns INTEGER NOT NULL,
    count INTEGER NOT NULL, sum REAL NOT NULL, counts BLOB NOT NULL, recent BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX streams_time ON streams (time_ns);
"""

_SCORES = """
ALTER TABLE spans ADD COLUMN feedback INTEGER NOT NULL DEFAULT 0;
ALTER TABLE traces ADD COLUMN feedback INTEGER NOT NULL DEFAULT 0;
CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    carrier INTEGER NOT NULL, number INTEGER NOT NULL,
    trace_id BLOB NOT NULL, span_id BLOB NOT NULL,
    scope TEXT NOT NULL, subject BLOB NOT NULL, name TEXT NOT NULL,
    annotator TEXT NOT NULL, identifier TEXT NOT NULL,
    value REAL, label TEXT NOT NULL, session TEXT NOT NULL,
    time_ns INTEGER NOT NULL, latest INTEGER NOT NULL
);
CREATE INDEX scores_trace ON scores (trace_id, span_id);
CREATE INDEX scores_carrier ON scores (carrier);
CREATE INDEX scores_same ON scores (subject, name, scope, annotator, identifier) WHERE latest = 1;
CREATE INDEX scores_name ON scores (name, value, trace_id) WHERE latest = 1;
CREATE INDEX scores_time ON scores (time_ns, id) WHERE latest = 1;
"""

MIGRATIONS: tuple[str, ...] = (_TABLES, _SCORES)


def open_writer(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """The one connection that writes, with the file made or brought to the present version.

    ``synchronous=FULL``: a COMMIT has reached the disk before it returns, so what was
    acknowledged survives ``kill -9`` and a power loss (where the disk keeps its word on fsync).

    Raises:
        StoreError: Not a store of ours, written by a newer version, or unreadable.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        path.chmod(0o600)
        try:
            _prepare(db, path, migrations)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"cannot open the span store {path}: {error}") from error
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; works while another process writes, and blocks nobody.

    Raises:
        StoreError: There is no such file, or it is not a store of this version.
    """
    if not path.is_file():
        raise StoreError(f"there is no span store at {path}")
    try:
        db = _connect_read_only(path)
        version = _version(db, path)
    except sqlite3.Error as error:
        raise StoreError(f"cannot read the span store {path}: {error}") from error
    if version != len(MIGRATIONS):
        db.close()
        raise StoreError(_wrong_version(path, version, len(MIGRATIONS)))
    return db


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Read-only; on a read-only disk, where WAL's helper file cannot be made, as a fixed file."""
    uri = f"file:{quote(str(path.absolute()))}"
    try:
        db = _connect_uri(f"{uri}?mode=ro")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        if path.with_name(f"{path.name}-wal").exists():
            raise
        db = _connect_uri(f"{uri}?mode=ro&immutable=1")
    return db


def _connect_uri(uri: str) -> sqlite3.Connection:
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    db.execute("PRAGMA query_only = ON")
    db.execute("PRAGMA cache_size = -16000")
    return db


def _prepare(db: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = _version(db, path)
    if version > len(migrations):
        raise StoreError(_wrong_version(path, version, len(migrations)))
    if version == 0:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA journal_size_limit = 67108864")
    db.execute("PRAGMA cache_size = -32000")
    for number in range(version, len(migrations)):
        _migrate(db, migrations[number], number + 1)


def _migrate(db: sqlite3.Connection, script: str, version: int) -> None:
    db.executescript(
        f"BEGIN IMMEDIATE;{script};PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {version};COMMIT;"
    )


def _version(db: sqlite3.Connection, path: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    ours = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not ours and not (empty and version == 0):
        raise StoreError(f"{path} is not a span store of llm-observe")
    return version


def _wrong_version(path: Path, version: int, known: int) -> str:
    if version > known:
        return (
            f"{path} was written by a newer llm-observe (store version {version}, this one knows "
            f"{known}): install that version, or choose another data folder"
        )
    return (
        f"{path} was written by an older llm-observe (store version {version}, this one reads "
        f"{known}): start `llm-observe serve` on it once, it brings the file up to date"
    )
