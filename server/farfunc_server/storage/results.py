"""What jobs have computed, read by ranges: the bytes of the blocks, one after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from farfunc_protocol.errors import InvalidRequest, ServerError
from farfunc_protocol.graph import TensorType
from farfunc_protocol.limits import DEFAULT_LIMITS
from farfunc_protocol.messages import response_header
from farfunc_protocol.safetensors_layout import Entry, header_length, read_header

from .leases import Block
from .objects import Objects

__all__ = ["ResultFile"]

_PIECE = 4 << 20
"""Bytes that are read at a time."""

Span = tuple[int, int]


class ResultFile:
    """The result of a job that has succeeded: a safetensors file, as an evaluation is answered with.

    Parameters
    ----------
    objects:
        Where the blocks are.
    blocks:
        In their order.

    Attributes
    ----------
    size:
        The bytes of the file.
    """

    def __init__(self, objects: Objects, blocks: Sequence[Block]) -> None:
        self._objects = objects
        self._blocks: list[tuple[int, Block]] = []
        self.size = 0
        for block in blocks:
            self._blocks.append((self.size, block))
            self.size += block.bytes

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` to before ``stop``, some at a time.

        Raises
        ------
        ServerError
            A block is gone: the job has been deleted since.
        """
        for begin, block in self._blocks:
            position, end = max(start - begin, 0), min(stop - begin, block.bytes)
            while position < end:
                piece = self._objects.read(block.key, position, min(position + _PIECE, end))
                if piece is None or len(piece) != min(position + _PIECE, end) - position:
                    raise ServerError("a stored block of the result is gone", remedy="submit the job again")
                yield piece
                position += len(piece)

    def _read(self, start: int, stop: int) -> bytes:
        return b"".join(self.pieces(start, stop))

    def part(self, rows: Span | None, leaf: int | None) -> tuple[bytes, list[Span]]:
        """A file of its own: some rows of the first axis of each leaf, one leaf only, or both.

        Returns
        -------
        tuple[bytes, list[Span]]
            Its header, and the spans of this file that follow it.

        Raises
        ------
        InvalidRequest
            There are no such rows, or no such leaf.
        """
        length = header_length(self._read(0, 8), DEFAULT_LIMITS)
        found, _ = read_header(self._read(8, 8 + length), None, DEFAULT_LIMITS)
        entries = {int(entry.name): entry for entry in found if entry.name.isdigit()}
        if leaf is not None:
            if leaf not in entries:
                raise InvalidRequest(
                    f"the result has no leaf {leaf}",
                    where="query.leaf",
                    remedy=f"it has {len(entries)}, numbered from 0",
                )
            entries = {0: entries[leaf]}
        types, spans = [], []
        for number in range(len(entries)):
            type, span = _rows_of(entries[number], rows)
            types.append(type)
            spans.append((8 + length + span[0], 8 + length + span[1]))
        header, order = response_header(types)
        return header, [spans[number] for number in order]


def _rows_of(entry: Entry, rows: Span | None) -> tuple[TensorType, Span]:
    shape = entry.shape
    if rows is None:
        return TensorType(entry.dtype.name, shape), (entry.start, entry.end)
    start, stop = rows
    if not shape or stop > shape[0]:
        raise InvalidRequest(
            f"rows {start}:{stop} were asked of a leaf of type {TensorType(entry.dtype.name, shape)}",
            where="query.rows",
            remedy="ask for rows that every leaf has, or for one leaf with leaf=",
        )
    each = math.prod(shape[1:]) * entry.dtype.itemsize
    kept = TensorType(entry.dtype.name, (stop - start, *shape[1:]))
    return kept, (entry.start + start * each, entry.start + stop * each)
