"""A server's storage, opened by somebody else: a server may run on it at the same time."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..settings import STORAGE, Settings, add_options, given_settings
from ..storage.credentials import Credentials
from ..storage.database import Database, database_url
from ..storage.folder import is_used, lock, make_folder
from ..storage.storage import usable
from ..storage.upgrading import check_version, migrate

__all__ = [
    "add_storage_options",
    "as_table",
    "credentials_beside",
    "database_alone",
    "shown_time",
    "storage_settings",
]


def add_storage_options(parser: argparse.ArgumentParser) -> None:
    """Have a command take the settings that say where the storage is."""
    add_options(parser, STORAGE)
    parser.add_argument("--json", action="store_true", help="print JSON")


def storage_settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Settings:
    """Read them: flags, or else the variables of ``farfunc serve``."""
    return Settings(**given_settings(parser, vars(options), os.environ))


@contextlib.contextmanager
def credentials_beside(settings: Settings) -> Iterator[Credentials]:
    """The rows that let somebody in. What is taken away is out of use in every running server when the block ends.

    Raises
    ------
    ServerError
        The storage cannot be used, or has another version of the schema.
    """
    database = Database(database_url(settings.database, settings.data_dir))
    try:
        with usable(database, settings.data_dir):
            if settings.database is None:
                make_folder(settings.data_dir)
            held = lock(settings.data_dir) if settings.database is None else None
            if held is not None:  # no server has it: as the next one to start would do
                with held:
                    migrate(database)
            check_version(database)
        yield Credentials(database, is_guest=True)
    finally:
        database.close()


@contextlib.contextmanager
def database_alone(settings: Settings) -> Iterator[Database]:
    """The database, for what must not be done under a running server. Of PostgreSQL that cannot be told.

    Raises
    ------
    ServerError
        It cannot be used, or a server uses the data folder.
    """
    held = None
    if settings.database is None:
        make_folder(settings.data_dir)
        held = lock(settings.data_dir)
        if held is None:
            raise is_used(settings.data_dir)
    with held or contextlib.nullcontext():
        database = Database(database_url(settings.database, settings.data_dir))
        try:
            with usable(database, settings.data_dir):
                yield database
        finally:
            database.close()


def as_table(rows: Sequence[Mapping[str, Any]], *, is_json: bool) -> str:
    """Rows for people, or for programs.

    >>> print(as_table([{"name": "arm", "weight": 1.0}], is_json=False))
    name  weight
    arm   1.0
    """
    if is_json:
        return json.dumps(list(rows), indent=2)
    if not rows:
        return "none"
    lines = [list(rows[0]), *([("-" if value in (None, "") else str(value)) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def shown_time(seconds: float | None) -> str | None:
    """A time since 1970, for people.

    >>> shown_time(1.8e9)
    '2027-01-15T08:00Z'
    """
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(seconds))
