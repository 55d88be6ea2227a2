"""Frames: how the web process and a worker speak over their socket pair.

::

    4 bytes    length of the header, unsigned, little-endian
    8 bytes    length of the payload
    header     what kind of message, and its fields: see :mod:`.messages`
    payload    a function file, a request or a response, as the protocol encodes it

Lengths are checked before anything is allocated. Nothing here can be executed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import numpy as np

__all__ = [
    "LENGTHS_SIZE",
    "SMALL",
    "Buffer",
    "FrameError",
    "FrameSocket",
    "NoRoom",
    "memory_of",
    "pack",
    "unpack_lengths",
]

Buffer = bytes | bytearray | memoryview

SMALL = 1 << 16
"""Bytes of a payload that are worth a copy, if that saves a system call."""

_LENGTHS = struct.Struct("<IQ")
LENGTHS_SIZE = _LENGTHS.size
_MAX_HEADER = 1 << 26
"""More than any message has: one that tells of each of 100,000 results, as many as there may be, takes 12 MB."""

_MAX_PAYLOAD = 1 << 40


class FrameError(Exception):
    """What came is no frame: the other end is broken, and is not to be spoken to again."""


class NoRoom(Exception):
    """There is no memory for a frame's payload, which was let go by: the next frame can be received."""

    def __init__(self, header: bytes, size: int) -> None:
        super().__init__(f"no memory for a payload of {size} bytes")
        self.header = header
        self.size = size


def pack(header: bytes, payload: Sequence[Buffer]) -> list[Buffer]:
    """A frame, as buffers to be sent one after another; a single one if it is small."""
    size = 0
    for part in payload:
        size += part.nbytes if isinstance(part, memoryview) else len(part)
    first = _LENGTHS.pack(len(header), size) + header
    if size <= SMALL:  # one system call for what is small
        return [b"".join([first, *payload])] if size else [first]
    return [first, *payload]


def unpack_lengths(data: Buffer) -> tuple[int, int]:
    """The lengths of header and payload."""
    header, payload = _LENGTHS.unpack_from(data)
    if header > _MAX_HEADER or payload > _MAX_PAYLOAD:
        raise FrameError(f"a frame of {header} + {payload} bytes")
    return header, payload


def memory_of(size: int) -> memoryview:
    """Writable memory that is not zeroed first."""
    return np.empty(size, np.uint8).data


class FrameSocket:
    """A worker's end of the socket pair: frames, one after another.

    What is small comes in one system call; a large payload is received where it stays.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._scratch = memoryview(bytearray(2 * SMALL))
        self._start = self._end = 0

    def is_waiting(self) -> bool:
        """Whether there is something to receive: a message, or part of one, or that the other end has gone."""
        if self._start < self._end:
            return True
        try:
            self._read_scratch(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except EOFError:
            pass  # receive will meet it again
        return True

    def receive(self) -> tuple[bytes, memoryview]:
        """Wait for one frame; raises EOFError when the other end has gone, and NoRoom."""
        self._fill(LENGTHS_SIZE)
        header_size, payload_size = unpack_lengths(self._scratch[self._start : self._end])
        self._start += LENGTHS_SIZE
        self._fill(header_size)
        header = bytes(self._scratch[self._start : self._start + header_size])
        self._start += header_size
        position = min(payload_size, self._end - self._start)
        try:
            payload = memory_of(payload_size)
        except MemoryError:
            self._start += position
            self._skip(payload_size - position)
            raise NoRoom(header, payload_size) from None
        payload[:position] = self._scratch[self._start : self._start + position]
        self._start += position
        while position < payload_size:
            count = self._socket.recv_into(payload[position:])
            if count == 0:
                raise EOFError
            position += count
        return header, payload

    def send(self, header: bytes, payload: Sequence[Buffer] = ()) -> None:
        """Send one frame."""
        for part in pack(header, payload):
            self._socket.sendall(part)

    def _fill(self, size: int) -> None:
        """Have so many bytes in the scratch memory."""
        while self._end - self._start < size:
            left = self._end - self._start
            if self._start + size > len(self._scratch):
                scratch = self._scratch if size <= len(self._scratch) else memoryview(bytearray(size))
                scratch[:left] = bytes(self._scratch[self._start : self._end])
                self._scratch, self._start, self._end = scratch, 0, left
            self._read_scratch()

    def _skip(self, size: int) -> None:
        """Let so many bytes go by, of which none is in the scratch memory."""
        while size:
            count = self._socket.recv_into(self._scratch[:size])
            if count == 0:
                raise EOFError
            size -= count

    def _read_scratch(self, flags: int = 0) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        count = self._socket.recv_into(self._scratch[self._end :], 0, flags)
        if count == 0:
            raise EOFError
        self._end += count
