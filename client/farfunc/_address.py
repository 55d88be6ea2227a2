"""What names a server: its URL, and the token that lets us in."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from farfunc_protocol.errors import ConnectionFailed, Unauthorized

__all__ = ["Address"]

_UNPRINTABLE = re.compile(r"[^!-~]")


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and what lets us in.

    Attributes
    ----------
    url:
        ``http://host:port``, perhaps with a path, without a slash at the end.
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

        >>> Address.parse("http://gpu:8017/")
        Address(url='http://gpu:8017')
        """
        if not isinstance(url, str):
            raise _no_url(url)
        url = url.strip()  # of a variable that was read from a file
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
        if not isinstance(token, str | None):
            raise Unauthorized(f"the token is no text but {type(token).__name__}", remedy="give token='...'")
        token = (token or "").strip()
        if _UNPRINTABLE.search(token):
            raise Unauthorized("the token holds a space or a character that is not ASCII", remedy="check FARFUNC_TOKEN")
        return cls(url.rstrip("/"), token or None)

    @property
    def is_this_machine(self) -> bool:
        """Whether it is a loopback address, which no proxy can stand before.

        >>> Address("http://127.0.0.1:8017").is_this_machine, Address("http://gpu:8017").is_this_machine
        (True, False)
        """
        host = urlsplit(self.url).hostname or ""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3
        return address.is_loopback or address.is_unspecified


def _no_url(url: object) -> ConnectionFailed:
    bare = isinstance(url, str) and re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", url)
    return ConnectionFailed(
        f"{url!r} is not the URL of a server", remedy=f"give http://{url}" if bare else "give http://host:port"
    )
