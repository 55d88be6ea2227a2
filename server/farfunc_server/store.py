"""Functions kept on disk: SQLite for what is known of them, a folder for what they are.

A function's file is named by its identity, so it is written once and never changed. The order of
steps makes every moment safe to die at: a file is complete and on the disk before a row speaks of
it, and a row is gone before its file is. What a death leaves behind is a file without a row,
which is removed at the next start; nothing that was answered for is lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from farfunc_protocol.document import identity
from farfunc_protocol.errors import FunctionNotFound, InvalidRequest, ServerError, StorageFailed
from farfunc_protocol.messages import check_reference

__all__ = ["Entry", "Store"]

_log = logging.getLogger("farfunc.store")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")

_VERSION = re.compile("[0-9]{1,9}")

_SCHEMA_VERSION = 1

_MOST_SEEN = 10_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS functions (
    id TEXT PRIMARY KEY,          -- sha256:<hex>
    signature TEXT NOT NULL,      -- for people, so that a list need not read the files
    bytes INTEGER NOT NULL,
    created REAL NOT NULL         -- seconds since 1970
) STRICT;
CREATE TABLE IF NOT EXISTS names (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    id TEXT NOT NULL REFERENCES functions (id),
    created REAL NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
CREATE INDEX IF NOT EXISTS names_by_id ON names (id);
CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY,
    last_version INTEGER NOT NULL -- never given twice, even after a version was deleted
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A function as the store knows it.

    Attributes
    ----------
    id:
        Its identity, ``sha256:<hex>``.
    name, version:
        Those it was asked by; None for an identity.
    signature:
        Types and trees, as text.
    bytes:
        The size of its file.
    created:
        When the version (or, without a name, the function) was stored, in seconds since 1970.
    """

    id: str
    name: str | None
    version: int | None
    signature: str
    bytes: int
    created: float


class Store:
    """The functions of one server. Safe to be used from several threads.

    Parameters
    ----------
    folder:
        Made if it is not there. One process at a time may use it.

    Raises
    ------
    ServerError
        Another server uses the folder, or it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._files = folder / "functions"
        try:
            self._files.mkdir(parents=True, exist_ok=True)
            self._lock_file = open(folder / "lock", "w")  # noqa: SIM115 - held until close()
        except OSError as error:
            raise ServerError(
                f"the data folder {folder} cannot be used: {error.strerror}", remedy="give another with --data-dir"
            ) from None
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise ServerError(
                f"another server uses the data folder {folder}", remedy="stop it, or give another with --data-dir"
            ) from None
        # Two connections: what only looks something up never waits for a write to reach the disk.
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._seen: set[str] = set()
        self._deletions = 0
        self._writer, self._reader = (
            sqlite3.connect(folder / "farfunc.sqlite3", check_same_thread=False, isolation_level=None) for _ in range(2)
        )
        try:
            self._open_database(folder)
            self._heal()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise ServerError(
                    f"the database of the data folder {folder} cannot be used: {error}",
                    remedy="make the folder writable, restore farfunc.sqlite3, or give another folder with --data-dir",
                ) from None
            raise

    def _open_database(self, folder: Path) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("PRAGMA foreign_keys = ON")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise ServerError(
                f"the data folder {folder} was written by a later farfunc", remedy="install that one, or a newer"
            )
        self._writer.executescript(_SCHEMA)
        self._writer.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the database and let another process use the folder."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()
            self._lock_file.close()

    def add(self, file: bytes, signature: str, name: str | None = None) -> Entry:
        """Keep a function file, and give it a name's next version.

        The name's latest version stays what it is if it is this very function.

        Returns
        -------
        Entry
            On the disk when this returns.
        """
        if name is not None:
            check_name(name)
        id = identity(file)
        with self._write_lock:
            if not self._is_whole(id):
                _write(self._path(id), file)
            with self._transaction() as database:
                database.execute(
                    "INSERT INTO functions VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (id, signature, len(file), time.time()),
                )
                latest = None if name is None else _find(database, name)
                if name is not None and (latest is None or latest.id != id):
                    database.execute(
                        "INSERT INTO counters VALUES (?, 1) ON CONFLICT DO UPDATE SET last_version = last_version + 1",
                        (name,),
                    )
                    database.execute(
                        "INSERT INTO names SELECT name, last_version, ?, ? FROM counters WHERE name = ?",
                        (id, time.time(), name),
                    )
                return _required(_find(database, name or id), name or id)  # not what comes or goes a moment later

    def set_signature(self, id: str, signature: str) -> None:
        """Say it better than :meth:`add` could."""
        with self._write_lock, self._transaction() as database:
            database.execute("UPDATE functions SET signature = ? WHERE id = ?", (signature, id))

    def find(self, reference: str) -> Entry:
        """Look up ``sha256:<hex>``, ``name`` (its latest version) or ``name@version``.

        Raises
        ------
        FunctionNotFound
        InvalidRequest
            The reference has not the form of one.
        """
        check_reference(reference)
        with self._read_lock:
            return _required(_find(self._reader, reference), reference)

    def resolve(self, reference: str) -> str:
        """The identity that a reference stands for; raises as :meth:`find`.

        An identity that was seen stays one until something is deleted: it is not looked up again.
        """
        if reference in self._seen:
            return reference
        deletions = self._deletions
        id = self.find(reference).id
        if reference == id and deletions == self._deletions:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(id)
        return id

    def names(self, id: str) -> list[str]:
        """The names of a function, as ``name@version``."""
        with self._read_lock:
            return _names(self._reader, id)

    def versions(self, name: str) -> list[int]:
        """The versions of a name, oldest first."""
        with self._read_lock:
            rows = self._reader.execute("SELECT version FROM names WHERE name = ? ORDER BY 1", (name,))
            return [version for (version,) in rows]

    def page(self, limit: int, after: str | None = None) -> list[Entry]:
        """Named functions in the order of names and versions: at most ``limit`` that stand behind ``after``."""
        name, _, version = (after or "").partition("@")
        if after is not None and not (_NAME.fullmatch(name) and _VERSION.fullmatch(version)):
            raise InvalidRequest(
                f"{after[:200]!r} is not name@version",
                where="query.after",
                remedy="follow the path that `next` gives, or leave `after` out",
            )
        with self._read_lock:
            rows = self._reader.execute(
                "SELECT id, name, version, signature, bytes, names.created FROM names JOIN functions USING (id)"
                " WHERE (name, version) > (?, ?) ORDER BY name, version LIMIT ?",
                (name, int(version or 0), limit),
            )
            return [Entry(*row) for row in rows]

    def read(self, id: str) -> bytes:
        """The file of a function that :meth:`find` has found; its content is checked.

        Raises
        ------
        FunctionNotFound
            It has been deleted since.
        ServerError
            Its file is damaged.
        """
        try:
            file = self._path(id).read_bytes()
        except OSError:
            file = b""
        if identity(file) != id:
            self.find(id)
            _log.error("the file of %s is damaged or gone", id)
            raise ServerError(f"the stored file of {id} is damaged", remedy="register the function again")
        return file

    def delete(self, reference: str) -> None:
        """Delete a version, all versions of a name, or a function that has no name.

        A function goes with its last name.

        Raises
        ------
        FunctionNotFound
        InvalidRequest
            A function is asked by its identity and has names.
        """
        check_reference(reference)
        with self._write_lock:
            with self._transaction() as database:
                entry = _required(_find(database, reference), reference)
                if entry.name is None and (names := _names(database, entry.id)):
                    raise InvalidRequest(
                        f"the function is named {', '.join(names[:5])}", where="reference", remedy="delete its names"
                    )
                where, values = "name = ?", [entry.name]
                if "@" in reference:
                    where, values = "name = ? AND version = ?", [entry.name, entry.version]
                ids = {id for (id,) in database.execute(f"SELECT id FROM names WHERE {where}", values)}
                database.execute(f"DELETE FROM names WHERE {where}", values)
                gone = [id for id in {*ids, entry.id} if not _names(database, id)]
                database.executemany("DELETE FROM functions WHERE id = ?", [(id,) for id in gone])
            self._deletions += 1
            self._seen.clear()
            for id in gone:
                self._path(id).unlink(missing_ok=True)

    def _path(self, id: str) -> Path:
        return self._files / id.removeprefix("sha256:")

    def _is_whole(self, id: str) -> bool:
        try:
            return identity(self._path(id).read_bytes()) == id
        except OSError:
            return False

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite ends it by itself where the disk is full
                    self._writer.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise _storage_failed(error) from error

    def _heal(self) -> None:
        """Put right what a death in the middle of a step, or a hand in the folder, has left."""
        rows = {id.removeprefix("sha256:") for (id,) in self._writer.execute("SELECT id FROM functions")}
        files = set(os.listdir(self._files))
        for name in files - rows:
            (self._files / name).unlink()
        for name in rows - files:
            _log.error("the file of sha256:%s is gone: the function and its names are deleted", name)
            with self._transaction() as database:
                database.execute("DELETE FROM names WHERE id = ?", (f"sha256:{name}",))
                database.execute("DELETE FROM functions WHERE id = ?", (f"sha256:{name}",))


def _find(database: sqlite3.Connection, reference: str) -> Entry | None:
    if reference.startswith("sha256:"):
        row = database.execute("SELECT signature, bytes, created FROM functions WHERE id = ?", (reference,)).fetchone()
        return None if row is None else Entry(reference, None, None, *row)
    name, _, version = reference.partition("@")
    condition, values = ("AND version = ?", [name, int(version)]) if version else ("", [name])
    row = database.execute(
        "SELECT id, name, version, signature, bytes, names.created FROM names JOIN functions USING (id)"
        f" WHERE name = ? {condition} ORDER BY version DESC LIMIT 1",
        values,
    ).fetchone()
    return None if row is None else Entry(*row)


def _names(database: sqlite3.Connection, id: str) -> list[str]:
    rows = database.execute("SELECT name, version FROM names WHERE id = ? ORDER BY 1, 2", (id,))
    return [f"{name}@{version}" for name, version in rows]


def _required(found: Entry | None, reference: str) -> Entry:
    if found is None:
        raise FunctionNotFound(
            f"this server has no function {reference!r}",
            remedy="register it, or check the name: GET /v1/functions (farfunc.functions) lists what there is",
        )
    return found


def check_name(name: str) -> str:
    """Return ``name`` if a function may be called so.

    >>> check_name("arm.v2")
    'arm.v2'
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:200]!r} is not a name",
            where="query.name",
            remedy="use 1 to 128 letters, digits, '_', '.' and '-', a letter or '_' first",
        )
    return name


def _write(path: Path, content: bytes) -> None:
    """Put a file where it belongs, whole and on the disk, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)  # it would keep a full disk full
        raise _storage_failed(error) from error


def _storage_failed(error: OSError | sqlite3.OperationalError) -> StorageFailed:
    reason = error.strerror if isinstance(error, OSError) else error
    _log.error("the data folder cannot be written to: %s", reason)
    return StorageFailed(
        f"the server cannot write to its data folder: {reason}",
        remedy="tell the server's operator; functions that it has are evaluated all the same",
    )
