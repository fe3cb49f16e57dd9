"""Opening ``control.db``: migrations first, then one engine that writes and one that reads."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool

from llm_observe.errors import StoreError

_WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a version that was answered survives a power cut
    "PRAGMA busy_timeout = 10000",
    "PRAGMA foreign_keys = ON",
)
_READER_PRAGMAS = ("PRAGMA busy_timeout = 10000", "PRAGMA query_only = ON")


def migrate(path: Path) -> None:
    """Bring the file to the newest shape, or make it (mode 0600).

    Raises:
        StoreError: The file is no database of ours, of a newer release, or cannot be written.
    """
    engine = sqlalchemy.create_engine(_url("sqlite", path), poolclass=NullPool)
    try:
        path.touch(mode=0o600, exist_ok=True)
        with engine.begin() as connection:
            command.upgrade(_config(connection), "head")
    except CommandError as error:
        raise StoreError(
            f"{path} was written by a newer release of llm-observe: {error}"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreError(f"cannot open {path}: {_reason(error)}") from error
    finally:
        engine.dispose()


def writing_engine(path: Path) -> AsyncEngine:
    """One connection, held open; each transaction takes the write lock at its start."""
    return _engine(path, _WRITER_PRAGMAS, "BEGIN IMMEDIATE", StaticPool)


def reading_engine(path: Path) -> AsyncEngine:
    """Connections that cannot write; they never wait for the writer (WAL)."""
    return _engine(path, _READER_PRAGMAS, "BEGIN", None)


def _engine(path: Path, pragmas: tuple[str, ...], begin: str, pool: Any) -> AsyncEngine:
    options = {"poolclass": pool} if pool else {"pool_size": 4, "max_overflow": 4}
    engine = create_async_engine(_url("sqlite+aiosqlite", path), **options)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, so that savepoints work
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _url(driver: str, path: Path) -> sqlalchemy.URL:
    return sqlalchemy.URL.create(driver, database=str(path))


def _config(connection: sqlalchemy.Connection) -> Config:
    config = Config()
    folder = str(files("llm_observe.control.store") / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
