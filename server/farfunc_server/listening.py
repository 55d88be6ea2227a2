"""Where a server listens: an address of the network, or a Unix domain socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from farfunc_protocol.errors import FarfuncError

__all__ = ["Listener"]

_BACKLOG = 1024


class Listener:
    """A listening socket, and for a Unix domain socket its file.

    Attributes
    ----------
    socket:
        The socket.
    address:
        As the server announces it: ``http://127.0.0.1:8017``, ``unix:///run/farfunc.sock``.
    """

    def __init__(self, listening: socket.socket, address: str, file: Path | None = None) -> None:
        self.socket = listening
        self.address = address
        self._file = file
        self._identity = None if file is None else _identity(file)

    @classmethod
    def on_network(cls, host: str, port: int) -> Listener:
        """Listen on an address; port 0 takes a free one."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named, since asyncio turns Nagle's algorithm off only where it is: 40 ms a request.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise FarfuncError(
                f"cannot listen on {host}:{port}: {error.strerror or error}", remedy="give another --host or --port"
            ) from None
        host, port = listening.getsockname()[:2]
        return cls(listening, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    @classmethod
    def on_file(cls, file: Path) -> Listener:
        """Listen on a Unix domain socket, which only this user can open.

        The file that a server has left that is gone is replaced; that of one that lives is not.
        """
        file = file.absolute()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_if_dead(file)
            mask = os.umask(0o177)  # the file has its rights from the first moment on
            try:
                listening.bind(os.fspath(file))
            finally:
                os.umask(mask)
            listening.listen(_BACKLOG)
            return cls(listening, f"unix://{file}", file)
        except OSError as error:
            listening.close()
            raise FarfuncError(
                f"cannot listen on {file}: {error.strerror or error}", remedy="give another path to --uds"
            ) from None

    def remove(self) -> None:
        """Remove the file, if it is still this server's."""
        if self._file is not None and _identity(self._file) == self._identity:
            with contextlib.suppress(OSError):
                self._file.unlink()


def _identity(file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = file.lstat()
        return found.st_dev, found.st_ino
    return None


def _remove_if_dead(file: Path) -> None:
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(5.0)
        try:
            trial.connect(os.fspath(file))
        except ConnectionRefusedError:
            file.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another server listens there")
