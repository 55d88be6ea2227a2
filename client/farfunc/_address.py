"""What names a server: its URL, and the token that lets us in."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from farfunc_protocol.errors import ConnectionFailed, Unauthorized

__all__ = ["Address"]

_UNIX = "unix://"
_LONGEST_SOCKET_PATH = 107
"""``sun_path`` of Linux has 108 bytes, one of them the end."""

_UNPRINTABLE = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and what lets us in.

    Attributes
    ----------
    url:
        ``http://host:port``, perhaps with a path, without a slash at the end; or ``unix:///path/of/a/socket``.
    token:
        What is sent as a bearer token; None for a server that asks for none.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, token: str | None = None) -> Address:
        """Check what a user has given.

        Raises
        ------
        ConnectionFailed
            ``url`` is no URL of a server.
        Unauthorized
            ``token`` is nothing that a header can carry.

        >>> Address.parse("HTTP://gpu:8017/")
        Address(url='http://gpu:8017')
        """
        if not isinstance(url, str):
            raise _no_url(url)
        url = url.strip()  # of a variable that was read from a file
        if url.startswith(_UNIX):
            _check_socket_path(url.removeprefix(_UNIX))
            return cls(url, _checked_token(token))
        try:
            parts = urlsplit(url)
            has_host = bool(parts.hostname) and parts.port != 0  # a port beyond 65535 raises ValueError
            _ = (parts.hostname or "").encode("idna").decode("idna")  # and so does a name that is none
        except ValueError:
            raise _no_url(url) from None
        if "@" in parts.netloc:  # not quoted in the message: it may hold a password
            raise ConnectionFailed(
                f"the URL of {parts.hostname!r} holds a user or password",
                remedy="give the token apart: farfunc.connect(url, token=...) or FARFUNC_TOKEN",
            )
        if parts.scheme not in ("http", "https") or not has_host or parts.query or parts.fragment:
            raise _no_url(url)
        if _UNPRINTABLE.search(url):
            raise _no_url(url)
        # The scheme in small letters: whether there is TLS, and so whether certificates are checked, is read from it.
        return cls(f"{parts.scheme}{url[len(parts.scheme) :]}".rstrip("/"), _checked_token(token))

    @property
    def socket_path(self) -> str | None:
        """The path of a Unix domain socket; None for an address of the network.

        >>> Address.parse("unix:///run/farfunc.sock").socket_path
        '/run/farfunc.sock'
        """
        return self.url.removeprefix(_UNIX) if self.url.startswith(_UNIX) else None

    @property
    def hostname(self) -> str:
        """The host, without its port."""
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        """The port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def host(self) -> str:
        """What the header ``Host`` says: the host, and the port where it is not the scheme's own."""
        return "localhost" if self.socket_path is not None else urlsplit(self.url).netloc

    @property
    def path(self) -> str:
        """What stands before every route."""
        return "" if self.socket_path is not None else urlsplit(self.url).path

    @property
    def is_this_machine(self) -> bool:
        """Whether it is a loopback address, which no proxy can stand before.

        >>> Address("http://127.0.0.1:8017").is_this_machine, Address("http://gpu:8017").is_this_machine
        (True, False)
        """
        if self.socket_path is not None:
            return True
        host = urlsplit(self.url).hostname or ""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3
        return address.is_loopback or address.is_unspecified


def _checked_token(token: object) -> str | None:
    if not isinstance(token, str | None):
        raise Unauthorized(f"the token is no text but {type(token).__name__}", remedy="give token='...'")
    token = (token or "").strip()
    if _UNPRINTABLE.search(token):
        raise Unauthorized("the token holds a space or a character that is not ASCII", remedy="check FARFUNC_TOKEN")
    return token or None


def _check_socket_path(path: str) -> None:
    if not hasattr(socket, "AF_UNIX"):
        raise ConnectionFailed("this system has no Unix domain sockets", remedy="give http://host:port")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ConnectionFailed(
            f"{_UNIX + path!r} names no Unix domain socket", remedy=f"give its whole path: {_UNIX}/run/farfunc.sock"
        )
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConnectionFailed(
            f"the path {path!r} is longer than the {_LONGEST_SOCKET_PATH} bytes that a Unix domain socket's may have",
            remedy="serve on a socket with a shorter path: farfunc serve --uds /run/farfunc.sock",
        )


def _no_url(url: object) -> ConnectionFailed:
    bare = isinstance(url, str) and re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", url)
    return ConnectionFailed(
        f"{url!r} is not the URL of a server", remedy=f"give http://{url}" if bare else "give http://host:port"
    )
