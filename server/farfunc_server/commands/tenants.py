"""``farfunc tenants``: make, list, rename, weigh and delete them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from ..storage.credentials import Credentials
from .beside import add_storage_options, as_table, credentials_beside, shown_time, storage_settings

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="farfunc tenants", description="The tenants (teams) of a server.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|rename|weigh|delete")
    create = commands.add_parser("create", help="make a tenant")
    create.add_argument("name")
    create.add_argument("--weight", type=float, default=1.0, help="its share of the devices, beside others' [1]")
    rename = commands.add_parser("rename", help="give a tenant another name; its id stays")
    weigh = commands.add_parser("weigh", help="give a tenant another weight")
    delete = commands.add_parser("delete", help="delete a tenant that has no functions, members and good tokens")
    for command in (rename, weigh, delete):
        command.add_argument("tenant", help="its id or its name")
    rename.add_argument("name")
    weigh.add_argument("weight", type=float)
    for command in (create, commands.add_parser("list", help="list the tenants"), rename, weigh, delete):
        add_storage_options(command)
    options = parser.parse_args(arguments)
    with credentials_beside(storage_settings(parser, options)) as credentials:
        print(_done(credentials, options))
    return 0


def _done(credentials: Credentials, options: argparse.Namespace) -> str:
    tenants = credentials.tenants
    if options.command == "delete":
        tenants.delete(options.tenant)
        return f"deleted {options.tenant}"
    if options.command == "list":
        found = tenants.list()
    elif options.command == "create":
        found = [tenants.create(options.name, options.weight)]
    elif options.command == "rename":
        found = [tenants.change(options.tenant, name=options.name)]
    else:
        found = [tenants.change(options.tenant, weight=options.weight)]
    rows = [asdict(tenant) for tenant in found]
    if not options.json:
        rows = [{**row, "created": shown_time(row["created"])} for row in rows]
    return as_table(rows, is_json=options.json)
