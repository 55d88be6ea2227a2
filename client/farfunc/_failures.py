"""How a request can fail on its way, whatever carries it; :mod:`farfunc._retry` says what follows."""

from __future__ import annotations

import os
import socket

__all__ = ["AllTaken", "Broken", "CannotConnect", "CutOff", "Silent", "TransportFailure", "reason_of"]


class TransportFailure(Exception):
    """No answer came back. The text tells why, in the words of whoever found out."""


class CannotConnect(TransportFailure):
    """No connection could be made."""


class Broken(TransportFailure):
    """The connection was there, and ended before the answer did, or what came over it is no HTTP."""


class CutOff(Broken):
    """The answer's head was there, and the body ended before its end.

    Attributes
    ----------
    request_id:
        By which the server may tell why; empty where it has not named the request.
    """

    def __init__(self, reason: str, request_id: str) -> None:
        super().__init__(reason)
        self.request_id = request_id


class Silent(TransportFailure):
    """The server took longer than the request allows without a word."""


class AllTaken(TransportFailure):
    """All connections were in use for that long."""


def reason_of(error: OSError) -> str:
    """Why a call of the system failed, in the system's words: asyncio has others for the same.

    >>> reason_of(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 8017)"))
    '[Errno 111] Connection refused'
    """
    if error.errno is None or isinstance(error, socket.gaierror):
        return str(error) or type(error).__name__
    return f"[Errno {error.errno}] {os.strerror(error.errno)}"
