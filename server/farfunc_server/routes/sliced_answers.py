"""A response that is made while the rest of it is still computed.

Blocks that come in the order of the bytes are sent as they come. Others are put together first: in memory, or in
a file without a name where the result is large, so that this process never holds what the device could not.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farfunc_protocol.dtypes import DTYPES
from farfunc_protocol.errors import FarfuncError, LimitExceeded
from farfunc_protocol.graph import TensorType
from farfunc_protocol.graph_json import tensor_type_from_text
from farfunc_protocol.messages import BINARY_MEDIA_TYPE, response_header

from ..scheduling.slices import Slices
from ..workers.messages import BlockPlace
from .connected import while_connected

__all__ = ["GatheredResponse", "Layout", "SlicedResponse", "whole"]

_IN_MEMORY = 16 << 20
_SENT_AT_ONCE = 1 << 20
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


async def _memory(size: int, folder: Path) -> np.ndarray:
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
    memory = await _memory(layout.size, folder)
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


class GatheredResponse(Response):
    """A response that is there, sent in parts, so that no more than one of them is copied at a time."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(media_type=BINARY_MEDIA_TYPE)
        self._data = data
        self.headers["content-length"] = str(data.nbytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for start in range(0, self._data.nbytes, _SENT_AT_ONCE):
            part = self._data[start : start + _SENT_AT_ONCE]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class SlicedResponse(Response):
    """A response of slices that come in order, sent as they come.

    What goes wrong once it has begun cannot be told in it: the connection is closed before it is complete, and
    ``on_failure`` is told.
    """

    def __init__(
        self, slices: Slices, on_failure: Callable[[FarfuncError], None], on_success: Callable[[], None]
    ) -> None:
        super().__init__(media_type=BINARY_MEDIA_TYPE)
        self._slices = slices
        self._on_failure = on_failure
        self._on_success = on_success
        self._layout = Layout(slices.outputs)
        self.headers["content-length"] = str(self._layout.size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._slices as slices:
            await while_connected(receive, self._send(slices, send))

    async def _send(self, slices: Slices, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._layout.header, "more_body": True})
        try:
            async for _, data in slices:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except FarfuncError as error:
            self._on_failure(error)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self._on_success()
