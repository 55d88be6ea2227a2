"""``farfunc serve`` and ``python -m farfunc_server``; ``farfunc top``, ``tenants``, ``tokens`` and ``db``."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

from farfunc_protocol.errors import FarfuncError

__all__ = ["main"]

_NEEDED_BY_SERVE = (
    "torch",
    "fastapi",
    "uvicorn",
    "httptools",
    "uvloop",
    "pydantic",
    "prometheus_client",
    "sqlalchemy",
    "alembic",
)
_NEEDED_BY_COMMANDS = ("sqlalchemy", "alembic")
_COMMANDS = ("tenants", "tokens", "db")
_USAGE = """\
usage: farfunc serve [options]      start a server
       farfunc top [url]            watch one
       farfunc tenants ...          make, list, rename, weigh and delete the tenants of its storage
       farfunc tokens ...           make, list, rotate and revoke their tokens
       farfunc db ...               the version of the storage's schema
Each lists its options with --help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words and not words[0].startswith("-") else "serve"
    if command == "top":
        from .commands.top import main as top  # needs no more than the thin client has

        return top(words)
    if command not in ("serve", *_COMMANDS):
        print(f"farfunc: there is no command {command!r}\n{_USAGE}", file=sys.stderr)
        return 2
    needed = _NEEDED_BY_SERVE if command == "serve" else _NEEDED_BY_COMMANDS
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"farfunc: a server needs {', '.join(missing)}, which this environment has not: "
            "run pip install 'farfunc[server]'",
            file=sys.stderr,
        )
        return 1
    from .secret_files import adopt_secret_files

    try:
        adopt_secret_files(os.environ)
        return _run(command, words)
    except FarfuncError as error:
        print(f"farfunc: {error}", file=sys.stderr)
        return 1


def _run(command: str, words: Sequence[str]) -> int:
    if command == "tenants":
        from .commands.tenants import main as run
    elif command == "tokens":
        from .commands.tokens import main as run
    elif command == "db":
        from .commands.db import main as run
    else:
        from .serving import serve
        from .settings import read_settings

        return serve(read_settings(words))
    return run(words)


if __name__ == "__main__":
    sys.exit(main())
