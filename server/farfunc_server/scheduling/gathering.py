"""An answer in slices, put together: in memory, or in a file without a name where it is large, so that this process
never holds what the device could not.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import LimitExceeded
from farfunc_protocol.graph import TensorType
from farfunc_protocol.graph_json import tensor_type_from_text
from farfunc_protocol.messages import response_header

from ..workers.messages import BlockPlace
from .slices import Slices

__all__ = ["Layout", "memory_of_size", "whole"]

_IN_MEMORY = 16 << 20
_SMALL = 1 << 18
"""Bytes that are put in their places so fast that no one else has to wait."""

_ELEMENTS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
"""By their sizes: what they mean does not matter here."""


class Layout:
    """Where the leaves of a result lie in a response.

    Parameters
    ----------
    outputs:
        Their types, as text.

    Attributes
    ----------
    header:
        The bytes before the first.
    size:
        The bytes of the whole response.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        self.types: tuple[TensorType, ...] = tuple(map(tensor_type_from_text, outputs))
        self.header, order = response_header(self.types)
        self._spans: dict[int, tuple[int, int]] = {}
        position = len(self.header)
        for leaf in order:
            type = self.types[leaf]
            end = position + int(np.prod([int(n) for n in type.shape], dtype=object)) * DTYPES[type.dtype].itemsize
            self._spans[leaf] = position, end
            position = end
        self.size = position

    def put(self, memory: np.ndarray, block: BlockPlace, data: memoryview) -> None:
        """Put a block in its place in the memory of a response."""
        start, end = self._spans[block.leaf]
        leaf = memory[start:end]
        count = block.stop - block.start
        if not block.is_columns:
            leaf.reshape(block.length, -1)[block.start : block.stop] = np.frombuffer(data, np.uint8).reshape(count, -1)
            return
        element = _ELEMENTS[DTYPES[self.types[block.leaf].dtype].itemsize]
        matrix = leaf.view(element).reshape(-1, block.length)
        matrix[:, block.start : block.stop] = np.frombuffer(data, element).reshape(count, -1).T


async def memory_of_size(size: int, folder: Path) -> np.ndarray:
    """Room for so many bytes; what is large lies in a file of the folder that is gone when it is let go.

    Raises
    ------
    LimitExceeded
        There is no room on the disk.
    """
    if size <= _IN_MEMORY:
        return np.empty(size, np.uint8)
    return await asyncio.to_thread(_memory_in_a_file, size, folder)


def _memory_in_a_file(size: int, folder: Path) -> np.ndarray:
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="answer-") as file:
            # Room for all of it, now: a full disk is an error here, and would end this process at a later write.
            if hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)
    except OSError as error:
        raise LimitExceeded(
            f"the answer has {size:,} bytes, and there is no room in the server's data folder to put them together: "
            f"{error.strerror}",
            remedy="ask for less at once, or by jacrev, whose answer is sent as it comes; or make room there",
        ) from error


async def whole(slices: Slices, folder: Path) -> memoryview:
    """Wait for all slices, and return the response that they make."""
    layout = Layout(slices.outputs)
    memory = await memory_of_size(layout.size, folder)
    position = len(layout.header)
    memory[:position] = np.frombuffer(layout.header, np.uint8)
    async for blocks, data in slices:
        if slices.is_in_order:
            memory[position : position + data.nbytes] = np.frombuffer(data, np.uint8)
            position += data.nbytes
            continue

        def put(blocks: Sequence[BlockPlace] = blocks, data: memoryview = data) -> None:
            start = 0
            for block in blocks:
                layout.put(memory, block, data[start : start + block.nbytes])
                start += block.nbytes

        if data.nbytes <= _SMALL:
            put()
        else:
            await asyncio.to_thread(put)
    return memory.data
