"""Functions of NumPy that write into their argument."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._emit import add
from .._operands import as_array, holds_traced, lower
from .._refusals import data_dependent
from .._registry import implements, method
from .._shaping import axis_of
from .._steps import Diagonal, Reshape
from .._tracer import Tracer, is_traced
from .._ufunc_calls import store
from .selecting import along_axis


def _target(array: Any) -> Tracer:
    """A Tracer to write to; an ndarray cannot hold a traced value."""
    return array if isinstance(array, Tracer) else store(as_array(array), array)


@implements(np.copyto, view=True)
def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    dst, src = _target(dst), as_array(src)
    if not np.can_cast(src.dtype, dst.dtype, casting):  # type: ignore[arg-type]
        raise TypeError(f"Cannot cast array data from {src.dtype!r} to {dst.dtype!r} according to the rule {casting!r}")
    dst[...] = src if where is True else np.where(where, src, dst)


@implements(np.fill_diagonal, view=True)
def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    a, val = _target(a), np.ravel(as_array(val))
    if a.ndim == 2 and not (wrap and a.shape[0] > a.shape[1]):
        diagonal = a.through(Diagonal(0, 0, 1))
    else:
        if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) != 1):
            raise ValueError("array must be at least 2-d, and all dimensions of input must be of equal length")
        step = a.shape[1] + 1 if a.ndim == 2 else 1 + int(np.sum(np.cumprod(a.shape[:-1])))
        diagonal = a.through(Reshape((a.size,)))[::step]
    count = diagonal.shape[0]
    diagonal[...] = np.take(val, np.arange(count) % val.shape[0]) if val.shape[0] != 1 else val


@method("fill")
def _fill(a: Tracer, value: Any) -> None:
    a[...] = value


@implements(np.put, view=True, methods=("put",))
def _put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    a, places = _target(a), np.ravel(as_array(ind))
    if mode == "wrap":
        places = np.remainder(places, a.size)
    elif mode == "clip":
        places = np.clip(places, 0, a.size - 1)
    values = np.ravel(as_array(v))
    a.flat[places] = np.take(values, np.arange(places.shape[0]) % values.shape[0])


@implements(np.place, np.putmask, view=True)
def _putmask(a: Any, mask: Any, values: Any) -> None:
    a, values = _target(a), np.ravel(as_array(values))
    if is_traced(mask) and values.shape[0] != 1:
        data_dependent("a boolean mask that depends on traced values takes a number of elements", "bool")
    if values.shape[0] == 1:
        a[...] = np.where(mask, values[0], a)
    else:
        a[...] = np.where(mask, np.reshape(np.take(values, np.arange(a.size) % values.shape[0]), a.shape), a)


@implements(np.put_along_axis, view=True)
def _put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    arr, indices = _target(arr), as_array(indices)
    target = arr.flat if axis is None else arr
    if not holds_traced([arr, indices, values]):
        np.put_along_axis(target.content(), np.asarray(indices), np.asarray(values), 0 if axis is None else axis)
        return
    axis = axis_of(0 if axis is None else axis, target.ndim)
    _, wide, axis = along_axis(target, indices, axis)
    source = np.broadcast_to(as_array(values), wide.shape)
    target.overwrite(add("scatter.src", lower(target), lower(wide), lower(source, target.dtype), dim=axis))
