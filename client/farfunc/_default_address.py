"""The server of a call that names none."""

from __future__ import annotations

import os
from typing import Protocol

from ._address import Address

__all__ = ["Connected", "default_address", "set_connected"]


class Connected(Protocol):
    """What :func:`farfunc.connect` returned, as far as an address goes."""

    @property
    def address(self) -> Address: ...

    @property
    def is_closed(self) -> bool: ...


_connected: Connected | None = None


def set_connected(client: Connected) -> None:
    """Make a client's server that of every call that names none, until the client is closed."""
    global _connected
    _connected = client


def default_address() -> Address:
    """The server of a call that names none.

    In this order: that of :func:`farfunc.connect`; the one that ``FARFUNC_URL`` names, with
    ``FARFUNC_TOKEN``; a private server, which is started if there is none.

    Raises
    ------
    ConnectionFailed
        There is none of these, or ``FARFUNC_URL`` is no URL.
    """
    if _connected is not None and not _connected.is_closed:
        return _connected.address
    url = os.environ.get("FARFUNC_URL")
    if url:
        return Address.parse(url, os.environ.get("FARFUNC_TOKEN"))
    from ._local_server import private_server  # most programs never need it, and what it imports takes time

    return private_server().address
