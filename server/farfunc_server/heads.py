"""Heads of requests: those of evaluations in the plain form in which clients send them, and what others offer."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["START", "Headers", "read_head", "without_upgrade"]

Headers = list[tuple[bytes, bytes]]

# RFC 9112: no folded lines, no space before the colon, visible ASCII. What is written otherwise is not for this parser.
_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?\r\n"
_HEAD = re.compile(rb"POST /v1/evaluate HTTP/1\.1\r\n((?:" + _LINE + rb"){1,64})\r\n")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*(?=\r\n|\Z)", re.IGNORECASE)
START = b"POST /v1/evaluate HTTP/1.1\r\n"
_NOT_PLAIN = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"connection"))

_MOST_KNOWN_HEADS = 256
_LARGEST_KNOWN_HEAD = 1 << 10


def read_head(text: bytes) -> tuple[Headers, int, int] | None:
    """The headers of a plain request, the head's length and the body's; None for what uvicorn is to judge."""
    head = (_parse_head_again if len(text) <= _LARGEST_KNOWN_HEAD else _parse_head)(text)
    return None if head is None else (list(head[0]), len(text), head[1])


def _parse_head(text: bytes) -> tuple[tuple[tuple[bytes, bytes], ...], int] | None:
    """The headers of a plain request and the length of its body."""
    match = _HEAD.fullmatch(text)
    if match is None:
        return None
    headers = []
    length = None
    for line in match[1][:-2].split(b"\r\n"):
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in _NOT_PLAIN and not (name == b"connection" and value.lower() == b"keep-alive"):
            return None
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 15:
                return None
            length = int(value)
        headers.append((name, value))
    return None if length is None else (tuple(headers), length)


_parse_head_again = lru_cache(_MOST_KNOWN_HEADS)(_parse_head)
"""A client that calls in a loop sends the same head each time."""


def without_upgrade(data: bytes) -> bytes:
    r"""The same without an offer to speak another protocol, which a server may pass over (RFC 9110, 7.8).

    The parser would take the body for that protocol's: ``curl --http2`` makes such an offer with each request. A head
    that is not whole is left as it is.

    >>> without_upgrade(b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHost: x\r\n\r\nupgrade: 1")
    b'GET / HTTP/1.1\r\nHost: x\r\n\r\nupgrade: 1'
    >>> without_upgrade(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2")
    b'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2'
    """
    end = data.find(b"\r\n\r\n")
    if end < 0 or data.find(b"pgrade:", 0, end) < 0:
        return data
    return _UPGRADE.sub(b"", data[:end]) + data[end:]
