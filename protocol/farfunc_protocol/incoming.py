"""A safetensors file that comes in parts, received into the memory in which its tensors stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from .arrays import Array
from .errors import FarfuncError, LimitExceeded
from .limits import DEFAULT_LIMITS, Limits
from .safetensors_layout import Entry, check_end, check_header_is_whole, header_length, read_header

__all__ = ["Incoming"]

_SHARED_BYTES = 1 << 16
"""A larger tensor has memory of its own: who keeps a small result does not keep the large one beside it."""


class Incoming:
    """The parts are written to :meth:`room`, in their order: those of a tensor to the tensor's own memory.

    What is wrong with the file is told by :meth:`tensors`, so that the rest of it can be received, and the
    connection be used again.

    Parameters
    ----------
    length:
        Of the whole file; None where it is not known beforehand.
    limits:
        As for :func:`farfunc_protocol.safetensors.decode`.

    >>> from farfunc_protocol.safetensors import encode_bytes
    >>> file = encode_bytes({"x": Array.from_numpy([1, 2])}, {"by": "me"})
    >>> incoming = Incoming(len(file))
    >>> incoming.write(file)
    >>> tensors, metadata = incoming.tensors()
    >>> tensors["x"].data, metadata
    (array([1, 2]), {'by': 'me'})
    """

    def __init__(self, length: int | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        self._length, self._limits = length, limits
        self._header: bytearray | None = None
        self._pieces: list[np.ndarray] = []
        self._entries: Sequence[Entry] = ()
        self._metadata: dict[str, str] = {}
        self._parts: list[np.ndarray] = []
        """Of the header and the pieces, what is still to be filled, the next one last."""
        self._is_read = False
        self._received = 0
        self._fault: FarfuncError | None = None
        self._room = memoryview(bytearray(8))
        self._prefix = self._room

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._room

    def filled(self, count: int) -> None:
        """So many bytes have been written to :meth:`room`."""
        self._received += count
        self._room = self._room[count:]
        if not self._room:
            self._next()

    def write(self, data: bytes | memoryview) -> None:
        """Copy bytes to where they belong."""
        view = memoryview(data)
        while len(view):
            room = self._room
            count = min(len(room), len(view))
            room[:count] = view[:count]
            self.filled(count)
            view = view[count:]

    @property
    def is_over(self) -> bool:
        """Whether there is a fault, or more has come than the file should have: nothing that follows is kept."""
        if self._fault is not None:
            return True
        if not self._is_read or self._header is None:
            return False
        return self._received > 8 + len(self._header) + (self._entries[-1].end if self._entries else 0)

    def tensors(self) -> tuple[dict[str, Array], dict[str, str]]:
        """What :func:`farfunc_protocol.safetensors.decode` returns of the whole file.

        Raises
        ------
        ProtocolError, InvalidArray, LimitExceeded
            As that function does.
        """
        if self._fault is not None:
            raise self._fault
        if self._header is None:
            header_length(self._prefix[: self._received], self._limits)
        header = b"" if self._header is None else bytes(self._header)
        check_header_is_whole(len(header), self._received - 8)
        check_end(self._entries, self._received - 8 - len(header))
        found: dict[str, Array] = {}
        for start, end, piece in self._placed():
            for entry in self._entries[start:end]:
                found[entry.name] = _array(entry, piece, self._entries[start].start)
        return found, dict(self._metadata)

    def _placed(self) -> list[tuple[int, int, np.ndarray]]:
        return [(start, end, piece) for (start, end), piece in zip(_groups(self._entries), self._pieces, strict=True)]

    def _next(self) -> None:
        """The part before is complete."""
        try:
            if self._header is None:
                self._begin_header()
            elif not self._is_read:
                self._begin_data()
        except FarfuncError as error:
            self._fault = error
        if self._parts and self._fault is None:
            self._room = self._parts.pop().data
        elif not self._room:  # more than there should be, or what nobody can read: counted, and dropped
            self._room = memoryview(bytearray(_SHARED_BYTES))

    def _begin_header(self) -> None:
        length = header_length(self._prefix, self._limits)
        if self._length is not None:
            check_header_is_whole(length, self._length - 8)
        self._header = bytearray(length)
        self._room = memoryview(self._header)
        if not length:
            read_header(b"", None, self._limits)

    def _begin_data(self) -> None:
        assert self._header is not None
        self._is_read = True
        known = None if self._length is None else self._length - 8 - len(self._header)
        self._entries, metadata = read_header(bytes(self._header), known, self._limits)
        self._metadata = dict(metadata)
        try:
            self._pieces = [_memory(self._entries[start:end]) for start, end in _groups(self._entries)]
        except (MemoryError, ValueError):
            raise LimitExceeded(
                f"its arrays take {self._entries[-1].end:,} bytes, more than there is memory here",
                remedy="ask for less at once, or call from a machine with more memory",
            ) from None
        self._parts = [piece.reshape(-1).view(np.uint8) for piece in reversed(self._pieces) if piece.nbytes]


def _groups(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Ranges of entries: a large one alone, small neighbours together."""
    bounds = [0]
    for number in range(1, len(entries)):
        if entries[number].end - entries[bounds[-1]].start > _SHARED_BYTES:
            bounds.append(number)
    return list(pairwise([*bounds, len(entries)])) if entries else []


def _memory(entries: Sequence[Entry]) -> np.ndarray:
    if len(entries) == 1:
        return np.empty(entries[0].shape, entries[0].dtype.storage)
    return np.empty(entries[-1].end - entries[0].start, np.uint8)


def _array(entry: Entry, piece: np.ndarray, start: int) -> Array:
    if piece.dtype == entry.dtype.storage and piece.shape == entry.shape and entry.dtype.name != "bool":
        return Array(entry.dtype.name, entry.shape, piece)
    part = piece.reshape(-1).view(np.uint8)[entry.start - start : entry.end - start]
    return Array.from_buffer(part.data, entry.dtype, entry.shape, where=entry.where)
