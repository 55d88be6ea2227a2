"""Where the bytes of an answer go as they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from farfunc_protocol.incoming import Incoming
from farfunc_protocol.messages import BINARY_MEDIA_TYPE

from ._failures import Broken

__all__ = ["NO_BODY", "Body", "Plain", "body_for", "file_or_plain", "media_type_of"]

_SMALL_BYTES = 1 << 16
"""A smaller answer is received into one buffer, of which its arrays are views."""

_BLOCK_BYTES = 1 << 18
_MOST_BYTES = 1 << 27
"""Of an answer that is no result: a list, a description, an error."""


class Body(Protocol):
    """Memory that is filled from its beginning."""

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        ...

    def filled(self, count: int) -> None:
        """So many bytes have been written to :meth:`room`."""
        ...

    def write(self, data: memoryview) -> None:
        """Copy bytes from elsewhere."""
        ...


class Plain:
    """The bytes as they come.

    Parameters
    ----------
    length:
        How many there will be; None where nobody knows. More than a block is allocated as it comes, so that a
        length that is no more than a number takes no memory.
    is_bounded:
        Whether there is to be an end: of text, which a server that is none of ours may send for ever.
    """

    def __init__(self, length: int | None, *, is_bounded: bool = False) -> None:
        self._left = _MOST_BYTES if is_bounded else None
        self._blocks: list[bytearray] = []
        self._room = memoryview(b"")
        self._block_bytes = _BLOCK_BYTES if length is None else min(length, _BLOCK_BYTES)

    def room(self) -> memoryview:
        if not self._room:
            self._blocks.append(bytearray(max(self._block_bytes, 1)))
            self._room = memoryview(self._blocks[-1])
        return self._room

    def filled(self, count: int) -> None:
        self._room = self._room[count:]
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise Broken(f"the answer has more than {_MOST_BYTES:,} bytes and is no result")

    def write(self, data: memoryview) -> None:
        while data:
            count = min(len(self.room()), len(data))
            self._room[:count] = data[:count]
            self.filled(count)
            data = data[count:]

    def content(self) -> bytearray:
        """What has come."""
        unused, self._room = len(self._room), memoryview(b"")
        if unused:
            del self._blocks[-1][-unused:]
        return self._blocks[0] if len(self._blocks) == 1 else bytearray().join(self._blocks)


NO_BODY = Plain(0)
"""Stands where an answer's body will be."""


def media_type_of(headers: Mapping[str, str]) -> str:
    """The content type without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def body_for(status: int, headers: Mapping[str, str], length: int | None) -> Body:
    """Memory for the body of an answer: that of its tensors where it is a large file of such."""
    if "content-encoding" in headers or (length is not None and length <= _SMALL_BYTES):
        return Plain(length)
    return Incoming(length) if _is_file(status, headers) else Plain(length, is_bounded=True)


def file_or_plain(status: int, headers: Mapping[str, str]) -> Incoming | Plain:
    """The same for what was decoded, whose length nobody knows."""
    return Incoming() if _is_file(status, headers) else Plain(None)


def _is_file(status: int, headers: Mapping[str, str]) -> bool:
    return 200 <= status < 300 and media_type_of(headers) == BINARY_MEDIA_TYPE
