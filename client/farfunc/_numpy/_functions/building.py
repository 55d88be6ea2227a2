"""Matrices built of arrays: diagonals, triangles, powers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._operands import as_array, emit, to_tracer
from .._registry import implements
from .._shaping import ravel


@implements(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    v = as_array(v)
    if v.ndim == 1:
        return emit("diag_embed", v, offset=k)
    if v.ndim != 2:
        raise ValueError("Input must be 1- or 2-d.")
    return np.copy(np.diagonal(v, k))


@implements(np.diagflat)
def _diagflat(v: Any, k: int = 0) -> Any:
    return emit("diag_embed", ravel(v), offset=k)


def _triangle(op: str) -> Any:
    def triangle(m: Any, k: int = 0) -> Any:
        m = to_tracer(m)
        return emit(op, m if m.ndim > 1 else np.broadcast_to(m, (m.shape[0], m.shape[0])), diagonal=k)

    return triangle


implements(np.tril)(_triangle("tril"))
implements(np.triu)(_triangle("triu"))


@implements(np.vander)
def _vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    x = as_array(x)
    count = len(x) if N is None else int(N)
    # By products, as NumPy does it: powers of zero and of negative numbers are then right, derivatives included.
    columns = [np.ones_like(x)]
    for _ in range(count - 1):
        columns.append(columns[-1] * x)
    columns = columns[:count] if increasing else columns[:count][::-1]
    return np.stack(columns, -1)


@implements(np.kron)
def _kron(a: Any, b: Any) -> Any:
    a, b = to_tracer(a), to_tracer(b)
    rank = max(a.ndim, b.ndim)
    left = (1,) * (rank - a.ndim) + a.shape
    right = (1,) * (rank - b.ndim) + b.shape
    wide = np.reshape(a, [n for length in left for n in (length, 1)])
    narrow = np.reshape(b, [n for length in right for n in (1, length)])
    return np.reshape(wide * narrow, [n * m for n, m in zip(left, right, strict=True)])
