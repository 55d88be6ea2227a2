"""The storage of one server, opened and closed as one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy import exc

from farfunc_protocol.errors import ServerError, StorageFailed

from .contents import Contents
from .credentials import Credentials
from .database import Database, database_url
from .deliveries import DeliveryStore
from .folder import is_used, lock, make_folder
from .functions import FunctionStore
from .jobs import JobStore
from .leases import Block, blocks_of
from .objects import objects_at
from .shares import Shares
from .upgrading import check_version, migrate
from .uploads import UploadStore

__all__ = ["Storage", "usable"]


class Storage:
    """The database and the object store of a server, and what is kept there.

    Parameters
    ----------
    folder:
        The data folder, made if it is not there.
    database:
        The address of a PostgreSQL database, which several servers may share; None for SQLite in the folder, which
        one server at a time may use.
    object_store:
        ``s3://bucket/prefix``; None for the folder.

    Attributes
    ----------
    database, objects:
        Where rows and contents are.
    functions, shares:
        Functions and their names, and which of them are shared.
    credentials:
        Who may ask.
    contents, jobs, uploads, deliveries:
        Requests of jobs; jobs and what they have computed; requests that arrive in parts; what is to be told of jobs.

    Raises
    ------
    ServerError
        One of them cannot be used, or the database has another version of the schema. A folder is brought to the
        newest version here.
    """

    def __init__(self, folder: Path, database: str | None = None, object_store: str | None = None) -> None:
        url = database_url(database, folder)
        make_folder(folder)
        self._lock: IO[str] | None = None
        if database is None:
            self._lock = lock(folder)
            if self._lock is None:
                raise is_used(folder)
        self.objects = objects_at(object_store, folder)
        self.database = Database(url)
        self.functions = FunctionStore(self.database, self.objects)
        self.shares = Shares(self.database, self.functions, self.functions.forget)
        self.credentials = Credentials(self.database)
        self.contents = Contents(self.database, self.objects)
        self.jobs = JobStore(self.database, self.objects, self.contents)
        self.uploads = UploadStore(self.database, self.objects, self.contents)
        self.deliveries = DeliveryStore(self.database)
        try:
            with usable(self.database, folder):
                if self.database.is_shared:
                    check_version(self.database)
                else:
                    migrate(self.database)
                self.functions.heal()
                if not self.database.is_shared:
                    self.jobs.sweep()
                    self.uploads.sweep()
        except BaseException:
            self.close()
            raise

    def blocks(self, job: str) -> list[Block]:
        """What has been computed of a job, in order."""
        return blocks_of(self.database, job)

    def close(self) -> None:
        """Close the database and let another server use the folder."""
        self.database.close()
        if self._lock is not None:
            self._lock.close()


@contextlib.contextmanager
def usable(database: Database, folder: Path) -> Iterator[None]:
    """What fails in the block fails for whoever starts a server, and is told so."""
    try:
        yield
    except StorageFailed as error:
        raise _unusable(database, folder, error.__cause__ or error) from None
    except exc.DatabaseError as error:
        raise _unusable(database, folder, error) from None


def _unusable(database: Database, folder: Path, error: BaseException) -> ServerError:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if database.is_shared:
        return ServerError(
            f"the database {database.title} cannot be used: {reason}",
            remedy="start it, or give another with --database",
        )
    return ServerError(
        f"the database of the data folder {folder} cannot be used: {reason}",
        remedy="make the folder writable, restore farfunc.sqlite3, or give another folder with --data-dir",
    )
