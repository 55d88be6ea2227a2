"""Products of vectors, matrices and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._operands import as_array, dtype_of, emit, lower, to_tracer
from .._registry import implements
from .._shaping import axes_of, moveaxis, ravel, reshape
from .._tracer import Tracer
from .._ufunc_calls import store


def contract(a: Any, b: Any, axes_a: tuple[int, ...], axes_b: tuple[int, ...]) -> Tracer:
    """The sum over pairs of axes."""
    kind = dtype_of(a, b)
    return emit("tensordot", Tracer.of(lower(a, kind)), Tracer.of(lower(b, kind)), dims_self=axes_a, dims_other=axes_b)


@implements(np.dot, methods=("dot",))
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return store(np.multiply(a, b), out)
    if a.ndim <= 2 and b.ndim <= 2:
        return store(np.matmul(a, b), out)
    return store(contract(a, b, (a.ndim - 1,), (max(b.ndim - 2, 0),)), out)


@implements(np.inner)
def _inner(a: Any, b: Any, /) -> Any:
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    return contract(a, b, (a.ndim - 1,), (b.ndim - 1,))


@implements(np.vdot)
def _vdot(a: Any, b: Any, /) -> Any:
    return np.matmul(np.conjugate(ravel(a)), ravel(b))


@implements(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return store(np.multiply(reshape(a, (-1, 1)), reshape(b, (1, -1))), out)


@implements(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a, b = as_array(a), as_array(b)
    if np.iterable(axes):
        left, right = axes
    else:
        left, right = range(-axes, 0), range(axes)
    left, right = ((part,) if not np.iterable(part) else tuple(part) for part in (left, right))
    left, right = axes_of(left, a.ndim), axes_of(right, b.ndim)
    if len(left) != len(right) or any(a.shape[p] != b.shape[q] for p, q in zip(left, right, strict=True)):
        raise ValueError("shape-mismatch for sum")
    if not left:  # nothing to sum: tensordot's own rule wants at least one pair
        return reshape(np.multiply(reshape(a, (-1, 1)), reshape(b, (1, -1))), a.shape + b.shape)
    return contract(a, b, left, right)


@implements(np.cross)
def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = moveaxis(to_tracer(a), axisa, -1), moveaxis(to_tracer(b), axisb, -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ValueError("incompatible dimensions for cross product\n(dimension must be 2 or 3)")
    if a.shape[-1] == b.shape[-1] == 2:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    kind = dtype_of(a, b)
    parts = []
    for array in (a, b):
        array = Tracer.of(lower(array, kind))
        parts.append(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, 1)]) if array.shape[-1] == 2 else array)
    return moveaxis(emit("linalg_cross", *np.broadcast_arrays(*parts), dim=-1), -1, axisc)
