"""``x[index]`` and ``x[index] = value``, with all that NumPy's indexing has.

An index is split into *basic* steps (integers, slices, new axes), which give a view, and one
*advanced* step (integer arrays, boolean arrays, traced integers), which gives a copy.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from farfunc_protocol.builder import Value

from ._emit import add, cast, constant
from ._operands import array_of, as_array, holds_traced, holds_tracer, lower, plain
from ._refusals import data_dependent
from ._registry import method
from ._steps import Flip, NewAxis, Select, Slice, Step
from ._tracer import Tracer, is_traced

__all__ = ["add_at", "get_item", "set_item"]


@dataclass(frozen=True, slots=True)
class Advanced:
    """Integer arrays, each for one axis of the view that the basic steps give.

    Attributes
    ----------
    dims:
        The axes, ascending.
    arrays:
        For each an ndarray of int64 or a traced array of integers.
    in_place:
        Whether the new axes stand where the first of ``dims`` was; otherwise they come first.
    """

    dims: tuple[int, ...]
    arrays: tuple[Any, ...]
    in_place: bool


@dataclass(frozen=True, slots=True)
class Index:
    """An index, taken apart.

    Attributes
    ----------
    steps:
        The basic part.
    advanced:
        The advanced part.
    is_element:
        Whether it consists of one integer an axis: NumPy then gives a scalar.
    """

    steps: tuple[Step, ...]
    advanced: Advanced | None
    is_element: bool


@method("__getitem__")
def get_item(array: Tracer, index: Any) -> Any:
    """``array[index]``."""
    mask = _traced_mask(index)
    if mask is not None:
        data_dependent("a boolean mask that depends on traced values selects a number of elements", "bool")
    parsed = parse(index, array.shape)
    view = array.through(*parsed.steps)
    if parsed.advanced is not None:
        if is_traced(view) or holds_traced(parsed.advanced.arrays):
            return Tracer.of(_gather(lower(view), parsed.advanced))
        result = plain(array)[plain(index)]
        return Tracer.of_array(result) if isinstance(result, np.ndarray) else result
    return view.snapshot() if parsed.is_element else view


@method("__setitem__")
def set_item(array: Tracer, index: Any, value: Any) -> None:
    """``array[index] = value``."""
    mask = _traced_mask(index)
    if mask is not None:
        _set_where(array, mask, value)
        return
    parsed = parse(index, array.shape)
    view = array.through(*parsed.steps)
    value = as_array(value)
    if parsed.advanced is None:
        _assign(view, value)
        return
    if not holds_traced([array, value, *parsed.advanced.arrays]):
        _check_writable(view)
        content = plain(array)
        if array._place.storage.is_argument:
            array.overwrite(content)  # raises
        content[plain(index)] = plain(value)
        return
    if is_traced(value) and not isinstance(view.content(), Value):
        _check_writable(view)
    view.overwrite(_scatter(lower(view), parsed.advanced, lower(value, view.dtype), accumulate=False))


def add_at(array: Tracer, index: Any, value: Any) -> None:
    """``np.add.at(array, index, value)``."""
    mask = _traced_mask(index)
    if mask is not None:
        data_dependent("a boolean mask that depends on traced values selects a number of elements", "bool")
    parsed = parse(index, array.shape)
    view = array.through(*parsed.steps)
    if parsed.advanced is None:
        view += value
        return
    view.overwrite(_scatter(lower(view), parsed.advanced, lower(value, view.dtype), accumulate=True))


def _check_writable(view: Tracer) -> None:
    if not view._is_writable:
        raise ValueError("assignment destination is read-only")


def _assign(view: Tracer, value: Any) -> None:
    """Write to a whole view; the value is broadcast and converted, as NumPy does."""
    _check_writable(view)
    if isinstance(value, Tracer) and value._place.is_same(view._place):
        return  # y[1:] += z writes in place first, and then assigns the view to itself
    shape = tuple(value.shape)
    while len(shape) > view.ndim and shape[0] == 1:
        value, shape = value[0], shape[1:]
    if np.broadcast_shapes(shape, view.shape) != view.shape:
        raise ValueError(f"could not broadcast input array from shape {shape} into shape {view.shape}")
    if not holds_traced([view, value]):
        view.overwrite(np.broadcast_to(plain(value), view.shape))
        return
    content = lower(value, view.dtype)
    if tuple(content.type.shape) != view.shape:
        content = add("expand", content, size=view.shape)
    view.overwrite(content)


# Boolean masks that are traced.


def _traced_mask(index: Any) -> Tracer | None:
    """The traced boolean array in an index, if there is one."""
    items = index if isinstance(index, tuple) else (index,)
    for item in items:
        array: Any = array_of(item) if isinstance(item, list) and holds_tracer(item) else item
        if is_traced(array) and array.dtype == bool:
            return array
    return None


def _set_where(array: Tracer, mask: Tracer, value: Any) -> None:
    """``y[mask] = value``: a choice between old and new, if each place's new value is known without counting."""
    value = as_array(value)
    rest = array.shape[mask.ndim :]
    fits = mask.shape == array.shape[: mask.ndim] and len(value.shape) <= len(rest)
    if not fits:
        data_dependent("a boolean mask that depends on traced values takes a number of elements", "bool")
    wide = np.reshape(mask, mask.shape + (1,) * len(rest))
    _assign(array, np.where(wide, value.astype(array.dtype), array))


# Taking an index apart.


def parse(index: Any, shape: tuple[int, ...]) -> Index:
    """Split an index of an array of this shape; raises IndexError where NumPy would."""
    items = _expand(index if isinstance(index, tuple) else (index,), shape)
    is_advanced = any(isinstance(item, _ARRAYS) for item in items)
    steps: list[Step] = []
    dims: list[int] = []
    arrays: list[Any] = []
    positions: list[int] = []
    axis = 0  # of the original
    dim = 0  # of the view so far
    for position, item in enumerate(items):
        if item is None:
            steps.append(NewAxis(dim))
            dim += 1
        elif isinstance(item, slice):
            steps.extend(_slice_steps(item, dim, shape[axis]))
            axis, dim = axis + 1, dim + 1
        elif isinstance(item, _NoAxis):
            steps.append(NewAxis(dim))
            dims.append(dim)
            arrays.append(np.zeros(int(item.value), np.int64))
            positions.append(position)
            dim += 1
        elif isinstance(item, int):
            place = _in_range(item, axis, shape[axis])
            axis += 1
            if is_advanced:  # beside arrays an integer is an array, too
                dims.append(dim)
                arrays.append(np.asarray(place))
                positions.append(position)
                dim += 1
            else:
                steps.append(Select(dim, place))
        elif item is not ...:
            dims.append(dim)
            arrays.append(_checked(item, axis, shape[axis]))
            positions.append(position)
            axis, dim = axis + 1, dim + 1
        # An Ellipsis is left where it stands for no axis at all: it still separates arrays.
    if not is_advanced:
        is_element = bool(shape) and len(items) == len(shape) and all(isinstance(item, int) for item in items)
        # x[()] of a 0-d array is an element, too.
        return Index(tuple(steps), None, is_element or (not shape and index == ()))
    shapes = [tuple(array.shape) for array in arrays]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(
            "shape mismatch: indexing arrays could not be broadcast together with shapes " + " ".join(map(str, shapes))
        ) from None
    in_place = positions[-1] - positions[0] + 1 == len(positions)
    return Index(tuple(steps), Advanced(tuple(dims), tuple(arrays), in_place), False)


@dataclass(frozen=True, slots=True)
class _NoAxis:
    """A truth value among the indices: it takes no axis, and adds one of length 0 or 1."""

    value: bool


_ARRAYS = (np.ndarray, Tracer, _NoAxis)


def _expand(items: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    """Normalise the items, boolean arrays as integer arrays, and write out the Ellipsis."""
    items = tuple(map(_normalise, items))
    used = sum(_axes_used(item) for item in items)
    if sum(item is ... for item in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if used > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {used} were indexed")
    missing = len(shape) - used
    if not any(item is ... for item in items):
        items = (*items, ...) if missing else items
    found: list[Any] = []
    axis = 0
    for item in items:
        if item is ... and missing:
            found.extend([slice(None)] * missing)
            axis += missing
        elif _is_mask(item) and item.ndim == 0:
            found.append(_NoAxis(bool(item)))
        elif _is_mask(item):
            for own, (length, given) in enumerate(zip(item.shape, shape[axis:], strict=False)):
                if length != given:
                    raise IndexError(
                        f"boolean index did not match indexed array along axis {axis + own}; size of axis is {given} "
                        f"but size of corresponding boolean axis is {length}"
                    )
            found.extend(item.nonzero())
            axis += item.ndim
        else:
            found.append(item)
            axis += _axes_used(item)
    return found


def _is_mask(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype == bool and not isinstance(item, Tracer)


def _axes_used(item: Any) -> int:
    if item is None or item is ... or isinstance(item, _NoAxis):
        return 0
    return item.ndim if _is_mask(item) else 1


def _normalise(item: Any) -> Any:
    if item is None or item is ... or isinstance(item, slice):
        return item
    if isinstance(item, Tracer) and not is_traced(item):
        item = item.content()
    if isinstance(item, bool | np.bool_) and not isinstance(item, Tracer):
        return _NoAxis(bool(item))
    if isinstance(item, int):
        return item
    if isinstance(item, list):
        item = array_of(item) if holds_tracer(item) else np.asarray(item, np.intp if not item else None)
    if not isinstance(item, np.ndarray | Tracer):
        try:
            return operator.index(item)
        except TypeError:
            item = np.asarray(item) if isinstance(item, tuple) else None
    if item is None or item.dtype.kind not in "iub":
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean arrays "
            "are valid indices"
        )
    return item


def _slice_steps(item: slice, dim: int, length: int) -> list[Step]:
    places = range(length)[item]
    if places == range(length):
        return []
    if not len(places):
        return [Slice(dim, 0, 0, 1)]
    low, high = min(places[0], places[-1]), max(places[0], places[-1])
    steps: list[Step] = []
    if (low, high + 1, abs(places.step)) != (0, length, 1):
        steps.append(Slice(dim, low, high + 1, abs(places.step)))
    if places.step < 0:
        steps.append(Flip((dim,)))
    return steps


def _in_range(index: int, axis: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {length}")
    return index % length


def _checked(item: Any, axis: int, length: int) -> Any:
    """An integer array whose concrete values are in range and not negative."""
    if isinstance(item, Tracer):
        return item
    item = item.astype(np.int64)
    for bad in item[(item < -length) | (item >= length)]:
        raise IndexError(f"index {bad} is out of bounds for axis {axis} with size {length}")
    return np.where(item < 0, item + length, item)


# The advanced part.


def _to_front(advanced: Advanced, rank: int) -> tuple[int, ...] | None:
    """The order of axes that brings the indexed ones together; None where they stand together already."""
    dims = advanced.dims
    if advanced.in_place and dims == tuple(range(dims[0], dims[0] + len(dims))):
        return None
    return (*dims, *(dim for dim in range(rank) if dim not in dims))


def _operands(advanced: Advanced, order: tuple[int, ...] | None, arrays: tuple[Any, ...]) -> tuple[Value | None, ...]:
    values = [cast(lower(array), np.dtype(np.int64)) for array in arrays]
    return tuple(values) if order is not None else (None,) * advanced.dims[0] + tuple(values)


def _gather(base: Value, advanced: Advanced) -> Value:
    order = _to_front(advanced, len(base.type.shape))
    if order is not None:
        base = add("permute", base, dims=order)
    return add("index.Tensor", base, _operands(advanced, order, advanced.arrays))


def _scatter(base: Value, advanced: Advanced, value: Value, *, accumulate: bool) -> Value:
    """The base with the value written to the indexed places; where one is named twice, the last value stays."""
    rank = len(base.type.shape)
    order = _to_front(advanced, rank)
    shape = [int(length) for length in base.type.shape]
    block = np.broadcast_shapes(*(tuple(map(int, array.shape)) for array in advanced.arrays))
    rest = [shape[dim] for dim in range(rank) if dim not in advanced.dims]
    start = 0 if order is not None else advanced.dims[0]
    target = (*rest[:start], *block, *rest[start:])
    own = tuple(map(int, value.type.shape))
    while len(own) > len(target) and own[0] == 1:
        value, own = add("squeeze.dim", value, dim=0), own[1:]
    if np.broadcast_shapes(own, target) != target:
        raise ValueError(
            f"shape mismatch: value array of shape {own} could not be broadcast to indexing result of shape {target}"
        )
    arrays = advanced.arrays
    if not accumulate and not any(isinstance(array, Tracer) for array in arrays):
        kept = _last_of_each(arrays, block, tuple(shape[dim] for dim in advanced.dims))
        if kept is not None:
            value = add("expand", value, size=target) if own != target else value
            value = add("reshape", value, shape=(*rest[:start], int(np.prod(block)), *rest[start:]))
            value = add("index_select", value, constant(kept), dim=start)
            arrays = tuple(np.broadcast_to(array, block).ravel()[kept] for array in arrays)
            target = tuple(map(int, value.type.shape))
            own = target
    if own != target:
        value = add("expand", value, size=target)
    if order is not None:
        base = add("permute", base, dims=order)
    result = add("index_put", base, _operands(advanced, order, arrays), value, accumulate=accumulate)
    if order is not None:
        result = add("permute", result, dims=tuple(int(place) for place in np.argsort(order)))
    return result


def _last_of_each(arrays: tuple[Any, ...], block: tuple[int, ...], lengths: tuple[int, ...]) -> np.ndarray | None:
    """Positions of the last mention of each place; None where every place is mentioned once."""
    if not block or 0 in block:
        return None
    places = np.ravel_multi_index(tuple(np.broadcast_to(array, block) for array in arrays), lengths).ravel()
    unique, first = np.unique(places[::-1], return_index=True)
    return None if len(unique) == len(places) else np.sort(len(places) - 1 - first)
