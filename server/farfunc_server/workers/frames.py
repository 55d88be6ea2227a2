"""Frames: how the web process and a worker speak over their socket pair.

::

    4 bytes    length of the header, unsigned, little-endian
    8 bytes    length of the payload
    header     JSON: what kind of message, and its fields
    payload    a function file, a request or a response, as the protocol encodes it

Lengths are checked before anything is allocated. Nothing here can be executed.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "LENGTHS_SIZE",
    "Buffer",
    "FrameError",
    "memory_of",
    "pack",
    "receive",
    "send",
    "unpack_header",
    "unpack_lengths",
]

Buffer = bytes | bytearray | memoryview

_LENGTHS = struct.Struct("<IQ")
LENGTHS_SIZE = _LENGTHS.size
_MAX_HEADER = 1 << 20
_MAX_PAYLOAD = 1 << 40


class FrameError(Exception):
    """What came is no frame: the other end is broken, and is not to be spoken to again."""


def pack(header: dict[str, Any], payload: Sequence[Buffer]) -> list[Buffer]:
    """A frame, as buffers to be sent one after another; a single one if it is small."""
    text = json.dumps(header, separators=(",", ":")).encode()
    size = sum(memoryview(part).nbytes for part in payload)
    first = _LENGTHS.pack(len(text), size) + text
    if size <= 1 << 16:  # one system call for what is small
        return [b"".join([first, *payload])]
    return [first, *payload]


def unpack_lengths(data: Buffer) -> tuple[int, int]:
    """The lengths of header and payload."""
    header, payload = _LENGTHS.unpack(data)
    if header > _MAX_HEADER or payload > _MAX_PAYLOAD:
        raise FrameError(f"a frame of {header} + {payload} bytes")
    return header, payload


def unpack_header(data: Buffer) -> dict[str, Any]:
    """The header as a document."""
    try:
        header = json.loads(bytes(data))
    except ValueError as error:
        raise FrameError(str(error)) from error
    if not isinstance(header, dict):
        raise FrameError("the header is no object")
    return header


def memory_of(size: int) -> memoryview:
    """Writable memory that is not zeroed first."""
    return np.empty(size, np.uint8).data


def send(connection: socket.socket, header: dict[str, Any], payload: Sequence[Buffer] = ()) -> None:
    """Send one frame from a worker."""
    for part in pack(header, payload):
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[dict[str, Any], memoryview]:
    """Wait for one frame in a worker; raises EOFError when the other end has gone."""
    header, payload = unpack_lengths(_read(connection, _LENGTHS.size))
    return unpack_header(_read(connection, header)), _read(connection, payload)


def _read(connection: socket.socket, size: int) -> memoryview:
    memory = memory_of(size)
    position = 0
    while position < size:
        count = connection.recv_into(memory[position:])
        if count == 0:
            raise EOFError
        position += count
    return memory
