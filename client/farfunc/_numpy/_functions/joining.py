"""Joining, splitting, repeating and padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .._emit import add
from .._operands import as_array, ensure_sequence, lower
from .._refusals import unsupported
from .._registry import implements
from .._shaping import axis_of, ravel, reshape
from .._shaping import copy as copied
from .._tracer import Tracer
from .._ufunc_calls import store


def _joined(op: str, arrays: Sequence[Any], axis: int, dtype: Any, casting: str = "same_kind") -> Tracer:
    kind = np.result_type(*(array.dtype for array in arrays)) if dtype is None else np.dtype(dtype)
    for array in arrays:
        if not np.can_cast(array.dtype, kind, casting):  # type: ignore[arg-type]
            raise TypeError(
                f"Cannot cast array data from {array.dtype!r} to {kind!r} according to the rule {casting!r}"
            )
    return Tracer.of(add(op, tuple(lower(array, kind) for array in arrays), dim=axis))


@implements(np.concatenate)
def concatenate(
    arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """Arrays one after another along an axis."""
    parts = [as_array(array) for array in ensure_sequence(arrays)]
    if axis is None:
        parts, axis = [ravel(part) for part in parts], 0
    if any(not part.ndim for part in parts):
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    if len({part.ndim for part in parts}) > 1:
        raise ValueError("all the input array dimensions except for the concatenation axis must match exactly")
    axis = axis_of(axis, parts[0].ndim)
    if any(p.shape[:axis] + p.shape[axis + 1 :] != parts[0].shape[:axis] + parts[0].shape[axis + 1 :] for p in parts):
        raise ValueError(
            "all the input array dimensions except for the concatenation axis must match exactly, "
            f"but the shapes are {[part.shape for part in parts]}"
        )
    return store(_joined("cat", parts, axis, dtype if out is None else out.dtype, casting), out)


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays of one shape along a new axis."""
    parts = [as_array(array) for array in ensure_sequence(arrays)]
    if len({tuple(part.shape) for part in parts}) > 1:
        raise ValueError("all input arrays must have the same shape")
    axis = axis_of(axis, parts[0].ndim + 1)
    return store(_joined("stack", parts, axis, dtype if out is None else out.dtype, casting), out)


@implements(np.hstack)
def _hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [np.atleast_1d(as_array(array)) for array in ensure_sequence(tup)]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1, dtype=dtype, casting=casting)


@implements(np.vstack, getattr(np, "row_stack", None) if np.lib.NumpyVersion(np.__version__) < "2.0.0" else None)
def _vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return concatenate([np.atleast_2d(as_array(a)) for a in ensure_sequence(tup)], 0, dtype=dtype, casting=casting)


@implements(np.dstack)
def _dstack(tup: Any) -> Any:
    return concatenate([np.atleast_3d(as_array(array)) for array in ensure_sequence(tup)], 2)


@implements(np.column_stack)
def _column_stack(tup: Any) -> Any:
    parts = [as_array(array) for array in ensure_sequence(tup)]
    return concatenate([part if part.ndim >= 2 else np.transpose(np.atleast_2d(part)) for part in parts], 1)


@implements(np.block)
def _block(arrays: Any) -> Any:
    def depth(nested: Any) -> int:
        return 1 + max(map(depth, nested)) if isinstance(nested, list) else 0

    def rank(nested: Any) -> int:
        return max(map(rank, nested)) if isinstance(nested, list) else np.ndim(nested)

    def build(nested: Any, level: int) -> Any:
        if isinstance(nested, list):
            return concatenate([build(item, level - 1) for item in nested], -level)
        array = as_array(nested)
        return reshape(array, (1,) * (wanted - array.ndim) + tuple(array.shape))

    levels = depth(arrays)
    wanted = max(levels, rank(arrays))
    return build(arrays, levels) if levels else copied(arrays)


@implements(np.append)
def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    return concatenate([arr, values], axis) if axis is not None else concatenate([ravel(arr), ravel(values)])


def _splits(array: Any, indices_or_sections: Any, axis: int, equal: bool) -> list[Any]:
    array = as_array(array)
    axis = axis_of(axis, array.ndim)
    length = array.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        sections = int(indices_or_sections)
        if sections <= 0:
            raise ValueError("number sections must be larger than 0.")
        if equal and length % sections:
            raise ValueError("array split does not result in an equal division")
        each, extra = divmod(length, sections)
        bounds = np.cumsum([0] + extra * [each + 1] + (sections - extra) * [each]).tolist()
    else:
        bounds = [0, *(int(index) for index in indices_or_sections), length]
    before = (slice(None),) * axis
    array = array if isinstance(array, Tracer) else Tracer.of_array(np.array(array))
    return [array[(*before, slice(start, stop))] for start, stop in pairwise(bounds)]


@implements(np.split, view=True)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    return _splits(ary, indices_or_sections, axis, True)


@implements(np.array_split, view=True)
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    return _splits(ary, indices_or_sections, axis, False)


@implements(np.hsplit, view=True)
def _hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _splits(ary, indices_or_sections, 1 if np.ndim(ary) > 1 else 0, True)


@implements(np.vsplit, view=True)
def _vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _splits(ary, indices_or_sections, 0, True)


@implements(np.dsplit, view=True)
def _dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _splits(ary, indices_or_sections, 2, True)


@implements(getattr(np, "unstack", None), view=True)
def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.moveaxis(x, axis, 0))


@implements(np.tile)
def _tile(A: Any, reps: Any) -> Any:
    counts = tuple(int(count) for count in (reps if np.iterable(reps) else (reps,)))
    array = as_array(A)
    counts = (1,) * (array.ndim - len(counts)) + counts
    return Tracer.of(add("repeat", lower(array), repeats=counts))


@implements(np.repeat)
def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    a = as_array(a)
    if axis is None:
        a, axis = ravel(a), 0
    axis = axis_of(axis, a.ndim)
    places = np.repeat(np.arange(a.shape[axis]), np.asarray(repeats))
    return np.take(a, places, axis)


@implements(np.resize)
def _resize(a: Any, new_shape: Any) -> Any:
    a = ravel(a)
    shape: Any = new_shape if np.iterable(new_shape) else (new_shape,)
    return reshape(np.take(a, np.arange(int(np.prod(shape))) % a.size), shape)


@implements(np.delete)
def _delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    arr = ravel(arr) if axis is None else as_array(arr)
    axis = axis_of(0 if axis is None else axis, arr.ndim)
    return np.take(arr, np.delete(np.arange(arr.shape[axis]), obj), axis)


@implements(np.insert)
def _insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    arr = ravel(arr) if axis is None else as_array(arr)
    axis = axis_of(0 if axis is None else axis, arr.ndim)
    length = arr.shape[axis]
    values = as_array(values).astype(arr.dtype)
    is_single = np.ndim(obj) == 0 and not isinstance(obj, slice)
    if is_single and values.ndim:
        # NumPy puts the axis of the values where the inserted one is.
        values = reshape(values, (1,) * (arr.ndim - values.ndim) + tuple(values.shape))
        values = np.moveaxis(values, 0, axis)
    spread = np.insert(
        np.arange(length), obj, -1 if not is_single else [-1] * (values.shape[axis] if values.ndim else 1)
    )
    inserted = int(np.sum(spread == -1))
    order = np.where(spread == -1, length + np.cumsum(spread == -1) - 1, spread)
    shape = list(arr.shape)
    shape[axis] = inserted
    return np.take(concatenate([arr, np.broadcast_to(values, shape)], axis), order, axis)


@implements(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    array = as_array(array)
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(axis, pad_width.get(axis - array.ndim, (0, 0))) for axis in range(array.ndim)]
        pad_width = [(width, width) if np.ndim(width) == 0 else width for width in pad_width]
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    if mode in ("constant", "empty"):
        return _pad_constant(array, widths, kwargs.get("constant_values", 0))
    if mode not in ("edge", "reflect", "symmetric", "wrap") or kwargs.get("reflect_type", "even") != "even":
        modes = "'constant', 'edge', 'reflect', 'symmetric' or 'wrap'"
        unsupported(f"np.pad with mode={mode!r} cannot be traced", remedy=f"use mode {modes}, or np.concatenate")
    for axis, width in enumerate(widths):
        if any(width):
            array = np.take(array, np.pad(np.arange(array.shape[axis]), width, mode=mode), axis)
    return array


def _pad_constant(array: Any, widths: list[list[int]], values: Any) -> Any:
    if np.ndim(values) == 0 and not isinstance(values, Tracer):
        flat = [width for pair in reversed(widths) for width in pair]
        number = np.asarray(values).astype(array.dtype).item()
        return Tracer.of(add("constant_pad_nd", lower(array), pad=flat, value=number))
    sides = np.broadcast_to(values, (array.ndim, 2))
    for axis, (before, after) in enumerate(widths):
        parts = [array]
        for width, place, index in ((before, 0, 0), (after, 1, len(parts))):
            if width:
                shape = list(array.shape)
                shape[axis] = width
                side = np.broadcast_to(sides[axis, place], shape).astype(array.dtype)
                parts.insert(index if place == 0 else len(parts), side)
        array = concatenate(parts, axis)
    return array


@implements(np.meshgrid)
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    rank = len(xi)
    grids = [reshape(x, (1,) * place + (-1,) + (1,) * (rank - place - 1)) for place, x in enumerate(map(as_array, xi))]
    if indexing == "xy" and rank > 1:
        grids = [np.swapaxes(grid, 0, 1) for grid in grids]
    if not sparse:
        grids = list(np.broadcast_arrays(*grids))
    return tuple(copied(grid) for grid in grids) if copy else tuple(grids)


@implements(np.ix_)
def _ix(*args: Any) -> tuple[Any, ...]:
    rank = len(args)
    return tuple(
        reshape(x, (1,) * place + (-1,) + (1,) * (rank - place - 1)) for place, x in enumerate(map(as_array, args))
    )
