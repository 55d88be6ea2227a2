"""Bringing a database to a version of the schema, by Alembic."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from farfunc_protocol.errors import ServerError

from .database import Database

__all__ = ["NEWEST", "check_version", "migrate", "version_of", "versions"]


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "farfunc_server.storage:migrations")
    config.attributes["connection"] = connection
    return config


def versions() -> list[str]:
    """All versions of the schema, oldest first."""
    found = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]
    return found[::-1]


NEWEST = versions()[-1]


def version_of(database: Database) -> str | None:
    """The version of a database's schema; None of one that is empty."""
    with database.read() as connection:
        return _version(connection)


def _version(connection: sa.Connection) -> str | None:
    found = MigrationContext.configure(connection).get_current_revision()
    if connection.dialect.name == "sqlite":
        # A folder from before there were migrations has this number only, and looks at it alone.
        number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if number > int(found or 0):
            return f"{number:04}"
    return found


def check_version(database: Database) -> None:
    """See that a database has the newest version.

    Raises
    ------
    ServerError
        It has another: an earlier one, a later one, or none.
    """
    found = version_of(database)
    if found == NEWEST:
        return
    if found is not None and found not in versions():
        raise _later(database, found)
    raise ServerError(
        f"the database {database.title} has {f'version {found}' if found else 'no version'} of the schema, and this "
        f"farfunc needs {NEWEST}",
        remedy="stop the servers that use it, back it up, and run: farfunc db upgrade",
    )


def migrate(database: Database, version: str = "head") -> tuple[str | None, str | None]:
    """Bring a database to a version: ``head`` is the newest, ``base`` is empty.

    Of several processes one does it and the others wait; all of it happens in one transaction.

    Returns
    -------
    tuple
        The versions before and after.

    Raises
    ------
    ServerError
        There is no such version, or the database has one that is later than all.
    """
    known = versions()
    if version not in (*known, "head", "base"):
        raise ServerError(
            f"there is no version {version!r} of the schema", remedy=f"take one of {', '.join(known)}, head, base"
        )
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7218563019845)")
        before = _version(connection)
        if before is not None and before not in known:
            raise _later(database, before)
        config = _config(connection)
        if MigrationContext.configure(connection).get_current_revision() != before:
            command.stamp(config, before or "base")
        wanted = {"head": known[-1], "base": None}.get(version, version)
        position = [None, *known].index
        if position(wanted) < position(before):
            command.downgrade(config, version)
        elif wanted != before:
            command.upgrade(config, version)
        after = MigrationContext.configure(connection).get_current_revision()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA user_version = {int(after or 0)}")
        return before, after


def _later(database: Database, version: str) -> ServerError:
    return ServerError(
        f"the database {database.title} was written by a later farfunc: its schema is {version}, this one knows "
        f"{NEWEST}",
        remedy="install that farfunc, or a newer one",
    )
