"""The data folder, and the lock that says that a server uses it."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from farfunc_protocol.errors import ServerError

__all__ = ["is_used", "lock", "make_folder"]


def make_folder(folder: Path) -> None:
    """Make the folder, if it is not there.

    Raises
    ------
    ServerError
    """
    with _usable(folder):
        (folder / "functions").mkdir(parents=True, exist_ok=True)


def lock(folder: Path) -> IO[str] | None:
    """Take the folder for this process, until the file that is returned is closed; None if another has it."""
    with _usable(folder):
        file = open(folder / "lock", "w")  # noqa: SIM115 - held by the caller
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def is_used(folder: Path) -> ServerError:
    """What to say where another process has it."""
    return ServerError(
        f"another server uses the data folder {folder}", remedy="stop it, or give another with --data-dir"
    )


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServerError(
            f"the data folder {folder} cannot be used: {error.strerror}", remedy="give another with --data-dir"
        ) from None
