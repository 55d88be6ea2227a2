"""Secrets in files, as container engines hand them out: ``FARFUNC_TOKEN_FILE`` in place of ``FARFUNC_TOKEN``."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from farfunc_protocol.errors import ServerError

__all__ = ["adopt_secret_files"]

_SUFFIX = "_FILE"
_OTHERS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables of the object store that may be given so, too."""


def adopt_secret_files(environment: MutableMapping[str, str]) -> None:
    """Set the variable ``NAME`` to what the file holds that ``NAME_FILE`` names, without the line's end.

    Raises
    ------
    ServerError
        The file cannot be read, or both are given.
    """
    for variable, path in list(environment.items()):
        name = variable.removesuffix(_SUFFIX)
        if name == variable or not path or not (name.startswith("FARFUNC_") or name in _OTHERS):
            continue
        if environment.get(name):
            raise ServerError(f"{name} and {variable} are both given", remedy=f"leave {name} out")
        try:
            environment[name] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ServerError(
                f"{variable} names {path}, which cannot be read: {error}",
                remedy="name a file of text that the server's user may read",
            ) from None
        del environment[variable]
