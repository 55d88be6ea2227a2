"""``farfunc serve`` and ``python -m farfunc_server``; ``farfunc top``."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

_NEEDED = (
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
_USAGE = """\
usage: farfunc serve [options]      start a server
       farfunc top [url]            watch one
Each lists its options with --help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["top"]:
        from .commands.top import main as top  # needs no more than the thin client has

        return top(words[1:])
    if words[:1] == ["serve"]:
        words = words[1:]
    elif words and not words[0].startswith("-"):
        print(f"farfunc: there is no command {words[0]!r}\n{_USAGE}", file=sys.stderr)
        return 2
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"farfunc: a server needs {', '.join(missing)}, which this environment has not: "
            "run pip install 'farfunc[server]'",
            file=sys.stderr,
        )
        return 1

    from farfunc_protocol.errors import FarfuncError

    from .secret_files import adopt_secret_files
    from .serving import serve
    from .settings import read_settings

    try:
        adopt_secret_files(os.environ)
    except FarfuncError as error:
        print(f"farfunc: {error}", file=sys.stderr)
        return 1
    return serve(read_settings(words))


if __name__ == "__main__":
    sys.exit(main())
