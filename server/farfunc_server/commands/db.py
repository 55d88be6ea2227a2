"""``farfunc db``: the version of the storage's schema."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from farfunc_protocol.errors import ServerError

from ..storage.database import Database, database_url
from ..storage.storage import usable
from ..storage.upgrading import NEWEST, migrate, version_of, versions
from .beside import add_storage_options, database_alone, storage_settings

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="farfunc db", description="The schema of a server's database.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="version|upgrade|downgrade")
    version = commands.add_parser("version", help="print the schema's version, and that of this farfunc")
    upgrade = commands.add_parser("upgrade", help="bring it to a later version; back it up first")
    upgrade.add_argument("version", nargs="?", default=NEWEST, help=f"[{NEWEST}]")
    downgrade = commands.add_parser("downgrade", help="bring it to an earlier version; what has no place there is lost")
    downgrade.add_argument("version", help=f"one of {', '.join(versions()[:-1])}")
    for command in (version, upgrade, downgrade):
        add_storage_options(command)
    options = parser.parse_args(arguments)
    settings = storage_settings(parser, options)
    if options.command == "version":
        if settings.database is None and not settings.data_dir.exists():
            raise ServerError(f"there is no data folder {settings.data_dir}", remedy="give it with --data-dir")
        database = Database(database_url(settings.database, settings.data_dir))
        try:
            with usable(database, settings.data_dir):
                found = version_of(database)
        finally:
            database.close()
        print(json.dumps({"version": found, "newest": NEWEST}) if options.json else f"{found or 'none'} of {NEWEST}")
        return 0
    with database_alone(settings) as database:
        _check_direction(version_of(database), options)
        before, after = migrate(database, options.version)
    print(
        json.dumps({"before": before, "after": after}) if options.json else f"{before or 'none'} -> {after or 'none'}"
    )
    return 0


def _check_direction(found: str | None, options: argparse.Namespace) -> None:
    if options.version not in versions() or found not in (None, *versions()):
        return  # which is told by the one who knows the versions
    is_later = options.version > (found or "")
    if options.version != found and is_later != (options.command == "upgrade"):
        raise ServerError(
            f"version {options.version} is {'later' if is_later else 'earlier'} than the schema's, {found or 'none'}",
            remedy=f"run: farfunc db {'upgrade' if is_later else 'downgrade'} {options.version}",
        )
