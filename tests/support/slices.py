"""Calls in slices, put together without a server."""

from __future__ import annotations

import numpy as np

from farfunc_protocol.messages import decode_response
from farfunc_server.evaluation.slices import Block, Cursor, DeliveredCall, SlicedCall
from farfunc_server.scheduling.gathering import Layout
from farfunc_server.workers.messages import BlockPlace

__all__ = ["assembled"]


def assembled(
    call: SlicedCall | DeliveredCall, cursor: Cursor = (0, 0), is_alone: bool = False
) -> tuple[list[np.ndarray], int]:
    """The response that a call's slices make, as the web process puts it together; and how many there were."""
    layout = Layout([str(type) for type in call.outputs])
    memory = np.zeros(layout.size, np.uint8)
    memory[: len(layout.header)] = np.frombuffer(layout.header, np.uint8)
    stream = bytearray(layout.header)
    count = 0
    while True:
        count += 1
        blocks, following = call.next(cursor, is_alone=is_alone)
        for block in blocks:
            if isinstance(block, Block):
                place = BlockPlace(block.leaf, block.is_columns, block.start, block.stop, block.length, 0)
                layout.put(memory, place, block.array.buffer)
                stream += block.array.buffer
            else:
                stream += block
        if following is None:
            break
        cursor = following
    if call.is_in_order:
        assert isinstance(call, DeliveredCall) or bytes(stream) == memory.tobytes()
        memory = np.frombuffer(stream, np.uint8)
    return [leaf.data for leaf in decode_response(memory.tobytes()).arrays], count
