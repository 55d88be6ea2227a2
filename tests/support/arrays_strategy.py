"""Arrays of every dtype for property tests: any bits, any small shape."""

import math

import numpy as np
from hypothesis import strategies as st

from farfunc_protocol.arrays import Array
from farfunc_protocol.dtypes import DTYPES, DType

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw: st.DrawFn, rows: tuple[DType, ...] = tuple(DTYPES.values())) -> Array:
    """An array with arbitrary bits: every NaN payload, subnormals, negative zeros."""
    row, shape = draw(st.sampled_from(rows)), draw(SHAPES)
    size = math.prod(shape)
    if row.name == "bool":
        content = bytes(draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    else:
        content = draw(st.binary(min_size=size * row.itemsize, max_size=size * row.itemsize))
        extremes = draw(st.sampled_from((b"", b"\xff", b"\x00", b"\x7f\xff")))  # shrinks to arbitrary bytes
        if extremes:
            content = (extremes * len(content))[: len(content)]
    return Array.from_buffer(content, row, shape)


def without_nan_payloads(array: Array) -> Array:
    """The same array with each NaN replaced by NumPy's own."""
    if array.dtype == "bfloat16":
        is_nan = (array.data & 0x7FFF) > 0x7F80
        return Array(array.dtype, array.shape, np.where(is_nan, np.uint16(0x7FC0), array.data).astype("<u2"))
    row = DTYPES[array.dtype]
    if not row.is_differentiable:
        return array
    part = row.itemsize // 2 if row.category == "complex" else row.itemsize
    parts = array.data.reshape(-1).view(f"<f{part}").copy()
    parts[np.isnan(parts)] = np.nan
    return Array(array.dtype, array.shape, parts.view(row.storage).reshape(array.shape))
