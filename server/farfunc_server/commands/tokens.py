"""``farfunc tokens``: make, list, rotate and revoke them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..access.principal import DEFAULT_TENANT, Role
from ..storage.credentials import Credentials
from ..storage.tokens import Token
from .beside import add_storage_options, as_table, credentials_beside, shown_time, storage_settings

__all__ = ["main"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(text: str) -> float:
    """Seconds.

    >>> _duration("90"), _duration("12h"), _duration("30d")
    (90.0, 43200.0, 2592000.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 12h or 30d")
    return float(found[1]) * _UNITS[found[2]]


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="farfunc tokens", description="The tokens of a server's tenants.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|rotate|revoke")
    create = commands.add_parser("create", help="make a token, and print it: this once")
    create.add_argument("--role", required=True, choices=[role.value for role in Role])
    create.add_argument("--label", default="", help="what it is for")
    create.add_argument("--expires", type=_duration, metavar="TIME", help="when it ends, from now: 12h, 30d [never]")
    rotate = commands.add_parser("rotate", help="give a token another text, and print it: this once")
    rotate.add_argument(
        "--overlap", type=_duration, default=0.0, metavar="TIME", help="how long the old text is good [0]"
    )
    revoke = commands.add_parser("revoke", help="end a token, in every running server")
    for command in (rotate, revoke):
        command.add_argument("token", help="its id, as list shows it")
    for command in (create, commands.add_parser("list", help="list the tokens"), rotate, revoke):
        command.add_argument("--tenant", default=DEFAULT_TENANT, help=f"its id or its name [{DEFAULT_TENANT}]")
        add_storage_options(command)
    options = parser.parse_args(arguments)
    with credentials_beside(storage_settings(parser, options)) as credentials:
        print(_done(credentials, options))
    return 0


def _done(credentials: Credentials, options: argparse.Namespace) -> str:
    tokens, tenant = credentials.tokens, credentials.tenants.find(options.tenant)
    if options.command == "list":
        return as_table([_row(token, options.json) for token in tokens.list(tenant.id)], is_json=options.json)
    if options.command == "revoke":
        tokens.revoke(tenant.id, options.token)
        return f"revoked {options.token}"
    if options.command == "create":
        token, text = tokens.create(tenant.id, Role(options.role), options.label, options.expires)
    else:
        token, text = tokens.rotate(tenant.id, options.token, options.overlap)
    if options.json:
        return json.dumps({**asdict(token), "text": text}, indent=2)
    # The text alone, so that a script can take it: TOKEN=$(farfunc tokens create ...)
    print(f"token {token.id} of {tenant.name}, role {token.role}; it is shown this once:", file=sys.stderr)
    return text


def _row(token: Token, is_json: bool) -> dict[str, Any]:
    row = asdict(token)
    if not is_json:
        del row["tenant"], row["old_expires"]
        for name in ("created", "expires", "revoked", "used"):
            row[name] = shown_time(row[name])
    return row
