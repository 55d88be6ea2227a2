"""Functions that only change the shape: their results are views, as in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._layout import can_reshape, is_contiguous
from ._operands import as_array, emit, lower, plain
from ._refusals import unsupported
from ._registry import implements, method
from ._steps import Component, Diagonal, Expand, Flip, NewAxis, Permute, Reshape, Squeeze, Step
from ._tracer import Tracer, is_traced

__all__ = ["as_strided", "axes_of", "axis_of", "computable", "copy", "reduced_axes", "view_of"]


def axis_of(axis: Any, rank: int) -> int:
    """A non-negative axis; raises ``numpy.exceptions.AxisError``."""
    return np.lib.array_utils.normalize_axis_index(axis, rank)


def axes_of(axis: Any, rank: int) -> tuple[int, ...]:
    """Non-negative axes, all of them for None."""
    return tuple(range(rank)) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, rank)


def reduced_axes(axis: Any, rank: int) -> tuple[int, ...]:
    """The axes of a reduction: NumPy lets an array without axes be reduced along axis 0."""
    if rank == 0 and axis in (0, -1, (0,), (-1,)):
        return ()
    return axes_of(axis, rank)


def computable(a: Any, what: str) -> Any:
    """The array in a dtype that torch orders and reverses: not uint16, uint32 and uint64."""
    if a.dtype == np.uint64:
        unsupported(f"{what} of uint64 cannot be traced", remedy="convert to int64 or float64 first")
    return astype(a, np.int64) if a.dtype in (np.uint16, np.uint32) else a


def view_of(array: Any, *steps: Step, is_writable: bool = True) -> Tracer:
    """A view of an array; one that is no Tracer becomes a constant."""
    array = as_array(array)
    if not isinstance(array, Tracer):
        array = Tracer.of_array(np.array(array))
    return array.through(*steps, is_writable=is_writable)


def copy(array: Any, strides: Any = None) -> Tracer:
    """A base of its own with the same content."""
    array = as_array(array)
    if is_traced(array):
        result = Tracer.of(array.content(), strides=strides)
        result._is_scalar = False
        return result
    return Tracer.of_array(np.array(plain(array), order="C" if strides is None else "K"))


@implements(np.copy, view=True)
def in_order(a: Any, order: str = "K", subok: bool = False) -> Tracer:
    """A copy in the memory layout that is asked for."""
    return copy(a, a.strides_in_elements() if order in ("K", "A") and isinstance(a, Tracer) else None)


@method("copy")
def _method_copy(a: Tracer, order: str = "C") -> Tracer:
    return in_order(a, order)


@implements(np.reshape, view=True)
def reshape(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> Tracer:
    """A view wherever NumPy makes one."""
    a = as_array(a)
    wanted = _resolve(a.size, shape if newshape is None else newshape)
    if order == "F" and len(a.shape) + len(wanted) > 1:
        return transpose(reshape(transpose(a), wanted[::-1], copy=copy))
    if wanted == a.shape and not copy:
        return view_of(a)
    strides = a.strides_in_elements() if isinstance(a, Tracer) else None
    is_view = can_reshape(a.shape, strides, wanted)
    if copy is False and not is_view:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    reshaped = view_of(a, Reshape(wanted))
    return reshaped if is_view and not copy else _detached(reshaped)


def _detached(view: Tracer) -> Tracer:
    return copy(view)


def _resolve(size: int, shape: Any) -> tuple[int, ...]:
    lengths = [int(length) for length in (shape if isinstance(shape, tuple | list | np.ndarray) else (shape,))]
    if -1 in lengths:
        place = lengths.index(-1)
        rest = int(np.prod([length for position, length in enumerate(lengths) if position != place], dtype=np.int64))
        if lengths.count(-1) > 1:
            raise ValueError("can only specify one unknown dimension")
        lengths[place] = size // rest if rest else 0
    if int(np.prod(lengths, dtype=np.int64)) != size:
        raise ValueError(f"cannot reshape array of size {size} into shape {tuple(lengths)}")
    return tuple(lengths)


@implements(np.ravel, view=True)
def ravel(a: Any, order: str = "C") -> Tracer:
    """A view wherever NumPy makes one."""
    a = as_array(a)
    strides = a.strides_in_elements() if isinstance(a, Tracer) else None
    if order == "K" and strides is not None:
        # In the order of memory: the axis of the longest stride first.
        a = transpose(a, sorted(range(a.ndim), key=lambda axis, lengths=strides: -abs(lengths[axis])))
    elif order == "F" or (order == "A" and strides is not None and is_contiguous(a.shape[::-1], strides[::-1])):
        a = transpose(a)
    strides = a.strides_in_elements() if isinstance(a, Tracer) else None
    flat = view_of(a, Reshape((a.size,)))
    return flat if is_contiguous(a.shape, strides) else copy(flat)


@method("flatten")
def _flatten(a: Tracer, *args: Any, order: str = "C", **kwargs: Any) -> Tracer:
    if args and isinstance(args[0], str):
        order, args = args[0], ()
    if not args and not kwargs:
        return copy(ravel(a, order))
    start = kwargs.get("start_dim", args[0] if args else 0) % max(a.ndim, 1)
    end = kwargs.get("end_dim", args[1] if len(args) > 1 else -1) % max(a.ndim, 1)
    return reshape(a, (*a.shape[:start], -1, *a.shape[end + 1 :]))


@implements(np.transpose, view=True)
def transpose(a: Any, axes: Any = None) -> Tracer:
    """The axes in another order, reversed by default."""
    a = as_array(a)
    order = tuple(range(a.ndim))[::-1] if axes is None else axes_of(tuple(axes), a.ndim)
    if len(order) != a.ndim:
        raise ValueError("axes don't match array")
    return view_of(a) if order == tuple(range(a.ndim)) else view_of(a, Permute(order))


@implements(np.matrix_transpose, getattr(np.linalg, "matrix_transpose", None), view=True)
def matrix_transpose(x: Any, /) -> Tracer:
    """The last two axes exchanged."""
    if np.ndim(x) < 2:
        raise ValueError(f"Input array must be at least 2-dimensional, but it is {np.ndim(x)}")
    return swapaxes(x, -1, -2)


@implements(np.swapaxes, view=True)
def swapaxes(a: Any, axis1: int, axis2: int) -> Tracer:
    """Two axes exchanged."""
    a = as_array(a)
    order = list(range(a.ndim))
    first, second = axis_of(axis1, a.ndim), axis_of(axis2, a.ndim)
    order[first], order[second] = second, first
    return transpose(a, order)


@implements(np.moveaxis, view=True)
def moveaxis(a: Any, source: Any, destination: Any) -> Tracer:
    """Axes moved to other places."""
    a = as_array(a)
    sources, places = axes_of(source, a.ndim), axes_of(destination, a.ndim)
    if len(sources) != len(places):
        raise ValueError("`source` and `destination` arguments must have the same number of elements")
    order = [axis for axis in range(a.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return transpose(a, order)


@implements(np.rollaxis, view=True)
def rollaxis(a: Any, axis: int, start: int = 0) -> Tracer:
    """An axis rolled backwards until it stands before ``start``."""
    a = as_array(a)
    axis, start = axis_of(axis, a.ndim), start + a.ndim if start < 0 else start
    order = [place for place in range(a.ndim) if place != axis]
    order.insert(start - (axis < start), axis)
    return transpose(a, order)


@implements(np.expand_dims, view=True)
def expand_dims(a: Any, axis: Any) -> Tracer:
    """New axes of length one."""
    a = as_array(a)
    axes = (axis,) if not isinstance(axis, tuple | list) else tuple(axis)
    return view_of(a, *(NewAxis(place) for place in sorted(axes_of(axes, a.ndim + len(axes)))))


@implements(np.squeeze, view=True)
def squeeze(a: Any, axis: Any = None) -> Tracer:
    """Axes of length one taken away."""
    a = as_array(a)
    if axis is None:
        axes = tuple(place for place, length in enumerate(a.shape) if length == 1)
    else:
        axes = reduced_axes(axis, a.ndim)
        if any(a.shape[place] != 1 for place in axes):
            raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return view_of(a, *(Squeeze(place) for place in sorted(axes, reverse=True)))


@implements(np.broadcast_to, view=True)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Tracer:
    """A read-only view of the wider shape."""
    array = as_array(array)
    wanted = tuple(int(length) for length in (shape if np.iterable(shape) else (shape,)))
    if np.broadcast_shapes(array.shape, wanted) != wanted:
        raise ValueError(f"operands could not be broadcast together with remapped shapes {array.shape} -> {wanted}")
    return (
        view_of(array, Expand(wanted), is_writable=False)
        if wanted != array.shape
        else view_of(array, is_writable=False)
    )


@implements(np.broadcast_arrays, view=True)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Tracer, ...]:
    """All arrays at their common shape."""
    arrays = [as_array(array) for array in args]
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    return tuple(broadcast_to(array, shape) for array in arrays)


@implements(np.atleast_1d, view=True)
def atleast_1d(*arys: Any) -> Any:
    """At least one axis."""
    results = [view_of(a) if np.ndim(a) else reshape(a, (1,)) for a in map(as_array, arys)]
    return results[0] if len(results) == 1 else tuple(results)


@implements(np.atleast_2d, view=True)
def atleast_2d(*arys: Any) -> Any:
    """At least two axes."""
    results = [view_of(a) if a.ndim >= 2 else np.expand_dims(atleast_1d(a), 0) for a in map(as_array, arys)]
    return results[0] if len(results) == 1 else tuple(results)


@implements(np.atleast_3d, view=True)
def atleast_3d(*arys: Any) -> Any:
    """At least three axes; one and two stand in the middle and in front."""
    results = [view_of(a) if a.ndim >= 3 else expand_dims(atleast_2d(a), -1) for a in map(as_array, arys)]
    return results[0] if len(results) == 1 else tuple(results)


@implements(np.flip, view=True)
def flip(m: Any, axis: Any = None) -> Tracer:
    """Reversed along axes."""
    m = as_array(m)
    axes = axes_of(axis, m.ndim)
    return view_of(m, Flip(axes)) if axes else view_of(m)


@implements(np.fliplr, view=True)
def fliplr(m: Any) -> Tracer:
    """Reversed along the second axis."""
    return flip(m, 1)


@implements(np.flipud, view=True)
def flipud(m: Any) -> Tracer:
    """Reversed along the first axis."""
    return flip(m, 0)


@implements(np.rot90, view=True)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Tracer:
    """Turned by right angles in the plane of two axes."""
    m = as_array(m)
    first, second = axes_of(tuple(axes), m.ndim)
    k %= 4
    if k == 0:
        return view_of(m)
    if k == 2:
        return flip(m, (first, second))
    return swapaxes(flip(m, second), first, second) if k == 1 else flip(swapaxes(m, first, second), second)


@implements(np.diagonal, view=True, methods=("diagonal",))
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tracer:
    """A read-only view of a diagonal, as the last axis."""
    a = as_array(a)
    return view_of(a, Diagonal(offset, axis_of(axis1, a.ndim), axis_of(axis2, a.ndim)), is_writable=False)


if hasattr(np.linalg, "diagonal"):

    @implements(np.linalg.diagonal, view=True)
    def _linalg_diagonal(x: Any, /, *, offset: int = 0) -> Tracer:
        return diagonal(x, offset, -2, -1)


@implements(np.real, view=True)
def real(val: Any) -> Tracer:
    """The real part: a view."""
    val = as_array(val)
    return view_of(val, Component("real")) if val.dtype.kind == "c" else view_of(val)


@implements(np.imag, view=True)
def imag(val: Any) -> Tracer:
    """The imaginary part: of a complex array a view, of a real one zeros."""
    val = as_array(val)
    if val.dtype.kind == "c":
        return view_of(val, Component("imag"))
    return view_of(np.zeros(val.shape, val.dtype), is_writable=False)


@implements(np.astype, view=True, methods=("astype",))
def astype(x: Any, dtype: Any, *args: Any, copy: bool = True, **kwargs: Any) -> Tracer:
    """Another dtype; always an array of its own, unless ``copy=False``."""
    x, dtype = as_array(x), np.dtype(dtype)
    if not copy and x.dtype == dtype and isinstance(x, Tracer):
        return x
    if not is_traced(x):
        return Tracer.of_array(plain(x).astype(dtype))
    casting = kwargs.get("casting", args[1] if len(args) > 1 else "unsafe")
    if not np.can_cast(x.dtype, dtype, casting):
        raise TypeError(f"Cannot cast array data from {x.dtype!r} to {dtype!r} according to the rule {casting!r}")
    result = Tracer.of(lower(x, dtype), strides=x.strides_in_elements())
    result._is_scalar = x._is_scalar
    return result


@implements(np.shape, view=True)
def _shape(a: Any) -> tuple[int, ...]:
    return as_array(a).shape


@implements(np.ndim, view=True)
def _ndim(a: Any) -> int:
    return as_array(a).ndim


@implements(np.size, view=True)
def _size(a: Any, axis: Any = None) -> int:
    a = as_array(a)
    return a.size if axis is None else int(np.prod([a.shape[place] for place in axes_of(axis, a.ndim)], dtype=np.int64))


def as_strided(x: Any, shape: Any = None, strides: Any = None, subok: bool = False, writeable: bool = True) -> Any:
    """``np.lib.stride_tricks.as_strided`` of an array in C order, as a copy."""
    x = as_array(x)
    shape = x.shape if shape is None else tuple(shape)
    places = np.zeros(shape, np.int64)
    for axis, stride in enumerate(x.strides if strides is None else strides):
        step, rest = divmod(int(stride), x.itemsize)
        steps = np.arange(shape[axis]) * step
        places = places + steps.reshape((-1,) + (1,) * (len(shape) - axis - 1))
        if rest:
            unsupported("np.lib.stride_tricks.as_strided reads between elements, and cannot be traced")
    if (
        (isinstance(x, Tracer) and x.strides_in_elements() is not None)
        or places.min(initial=0) < 0
        or (places.max(initial=-1) >= x.size)
    ):
        unsupported(
            "np.lib.stride_tricks.as_strided of an array that is no C order, or beyond its ends, cannot be traced",
            remedy="use np.lib.stride_tricks.sliding_window_view, or np.ascontiguousarray first",
        )
    return np.take(ravel(x), places)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Tracer:
    """Shifted around."""
    if axis is None:
        return reshape(roll(ravel(a), shift, 0), as_array(a).shape)
    axes = axes_of(axis, a.ndim) if isinstance(axis, tuple) else (axis_of(axis, a.ndim),)
    shifts, places = np.broadcast_arrays(shift, axes)
    return emit("roll", a, shifts=shifts.ravel().tolist(), dims=places.ravel().tolist())
