from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from llm_observe.errors import StoreError
from llm_observe.spanstore import schema
from llm_observe.spanstore.query import SpanReader
from llm_observe.spanstore.sqlite import SpanStore
from tests.spanstore.build import llm, write


def test_a_new_file_has_the_present_version_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "spans.db"
    SpanStore(path).close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    db.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_newer_file_is_refused_with_a_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    SpanStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    for opened in (SpanStore, SpanReader):
        with pytest.raises(StoreError, match=r"newer llm-observe \(store version 99"):
            opened(path)


def test_an_older_file_is_brought_up_to_date_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    store = SpanStore(path)
    write(store, llm(trace=7))
    store.close()
    grown = (*schema.MIGRATIONS, "ALTER TABLE spans ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
    db = schema.open_writer(path, grown)
    assert db.execute("SELECT colour FROM spans").fetchall() == [("red",)]
    assert db.execute("PRAGMA user_version").fetchone() == (len(grown),)
    db.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    SpanStore(path).close()
    broken = (*schema.MIGRATIONS, "CREATE TABLE half (x); SELECT * FROM nowhere")
    with pytest.raises(StoreError, match="nowhere"):
        schema.open_writer(path, broken)
    db = schema.open_writer(path)
    assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchall()
    db.close()


def test_a_reader_of_an_older_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    SpanStore(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 0")
    db.close()
    with pytest.raises(StoreError, match="llm-observe serve"):
        SpanReader(path)


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    text = tmp_path / "text.db"
    text.write_text("not a database at all, but some words in a file")
    for path in (foreign, text):
        before = path.read_bytes()
        for opened in (SpanStore, SpanReader):
            with pytest.raises(StoreError):
                opened(path)
        assert path.read_bytes() == before


def test_a_reader_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no span store"):
        SpanReader(tmp_path / "nowhere.db")
    assert not list(tmp_path.iterdir())


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "spans.db"
    SpanStore(path).close()
    db = schema.open_reader(path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM spans")
    db.close()
