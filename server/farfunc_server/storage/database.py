"""The database: SQLite in the data folder, or PostgreSQL."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite

from farfunc_protocol.errors import FarfuncError, ServerError, StorageFailed

__all__ = ["Database", "database_url", "insert_missing", "missing_package", "now_of"]

_log = logging.getLogger("farfunc.storage")

_BUSY_SECONDS = 30.0


def database_url(text: str | None, folder: Path) -> sa.URL:
    """Read the address of a database; without one it is a file in the folder.

    >>> database_url("postgresql://farfunc@db/pool", Path(".")).drivername
    'postgresql+psycopg'
    >>> database_url(None, Path("data")).database
    'data/farfunc.sqlite3'

    Raises
    ------
    ServerError
        It is not one of PostgreSQL or SQLite.
    """
    if text is None:
        return sa.URL.create("sqlite", database=str(folder / "farfunc.sqlite3"))
    remedy = "give postgresql://user:password@host:5432/database, or leave it out for SQLite in the data folder"
    try:
        url = sa.make_url(text)
    except exc.ArgumentError:
        raise ServerError("--database is not the address of a database", where="database", remedy=remedy) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    raise ServerError(f"--database names {url.drivername!r}, and PostgreSQL is wanted", where="database", remedy=remedy)


class Database:
    """Connections to a database, and what its two kinds have in common. Safe to be used from several threads.

    Parameters
    ----------
    url:
        As of :func:`database_url`.

    Attributes
    ----------
    is_shared:
        Whether other servers may use it at the same time.
    """

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.is_shared = url.get_backend_name() != "sqlite"
        options: dict[str, Any] = {}
        if self.is_shared:
            arguments = {"connect_timeout": 5, "application_name": "farfunc"}
            options = {"pool_size": 8, "max_overflow": 8, "pool_timeout": 10.0, "pool_pre_ping": True}
        else:
            arguments = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
        try:
            self.engine = sa.create_engine(url, connect_args=arguments, **options)
        except ImportError:
            raise missing_package("psycopg", "postgres") from None
        if not self.is_shared:
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._watch: sqlite3.Connection | None = None
        self._unknown = 0
        self._watch_lock = threading.Lock()
        # SQLite has one writer at a time: here they wait for each other in order, in the database they would poll.
        self._writer = contextlib.nullcontext() if self.is_shared else threading.Lock()

    @property
    def title(self) -> str:
        """Its address without the password."""
        return self.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for looking something up."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction: on the disk at the end of the block, or undone.

        Raises
        ------
        StorageFailed
            The database does not answer, or takes nothing more.
        """
        engine = self.engine.execution_options(is_write=True)
        with self._told(), self._writer, engine.begin() as connection:
            yield connection

    def changes(self) -> int:
        """A number that is another one once somebody has written to it, this process or another; SQLite alone has it.

        It takes some microseconds, and waits for nobody.
        """
        with self._watch_lock:
            if self._watch is None:
                # A connection of its own, since it tells what others have written.
                self._watch = sqlite3.connect(str(self.url.database), check_same_thread=False, timeout=1.0)
            try:
                return self._watch.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error:  # whoever looks something up is told why
                self._unknown -= 1
                return self._unknown

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FarfuncError:
            raise
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
            raise self._failure(error) from error

    def _failure(self, error: exc.SQLAlchemyError) -> StorageFailed:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        _log.error("the database %s failed: %s", self.title, reason)
        return StorageFailed(
            # What a database says of itself is for its operator: it may name hosts and users.
            f"the server cannot use its database{'' if self.is_shared else f': {reason}'}",
            remedy="try again in a moment; if it stays so, tell the server's operator",
            retry_after=1.0,
        )

    def close(self) -> None:
        """Close all connections."""
        with self._watch_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self.engine.dispose()


def missing_package(name: str, extra: str) -> ServerError:
    """What to say where an optional package is not installed."""
    return ServerError(f"the package {name} is not installed", remedy=f"run pip install 'farfunc[server,{extra}]'")


def insert_missing(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    """Add a row, unless there is one of its key."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).values(**values).on_conflict_do_nothing())


def now_of(connection: sa.Connection) -> float:
    """Seconds since 1970, on the one clock that all servers of a database share: its own."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")))


def _set_up_sqlite(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("is_write") else "BEGIN")
