"""``x[mask]`` and ``y[mask] = value`` for a traced mask, and for what ``np.where(mask)`` gives.

The mask stands for all the axes that it covers: the index without it gives the whole, in which those axes lie side
by side. Every other index goes on to :mod:`._indexing`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._indexing import add_at as add_at_known_places
from ._indexing import get_item as get_known_places
from ._indexing import parse
from ._indexing import set_item as set_known_places
from ._masked_selection import (
    MaskedSelection,
    align,
    flat_mask,
    is_same_value,
    is_selection,
    is_traced_mask,
    refuse_selection,
    selections_among,
)
from ._operands import array_of, as_array, holds_tracer, lower, to_tracer
from ._refusals import data_dependent
from ._registry import method, selection_method
from ._tracer import Tracer

__all__ = ["add_at", "get_item", "places_of", "set_item"]


@method("__getitem__")
def get_item(array: Tracer, index: Any) -> Any:
    """``array[index]``."""
    items = _items(index)
    place = _place_of_mask(items)
    if place is not None:
        view, axis, mask = _whole(array, items, place)
        whole = lower(np.reshape(view, _flat(view.shape, axis, mask.ndim)))
        return MaskedSelection(Tracer.of(whole), flat_mask(mask), axis - view.ndim + mask.ndim - 1)
    selections = selections_among(list(items))
    return _gathered(array, items, selections) if selections else get_known_places(array, index)


@method("__setitem__")
def set_item(array: Tracer, index: Any, value: Any) -> None:
    """``array[index] = value``."""
    items = _items(index)
    place = _place_of_mask(items)
    if place is None:
        if selections_among(list(items)):
            refuse_selection("of integers is an index that is written to", "general")
        if is_selection(value):
            refuse_selection("is written to places that are not selected by its mask", "mixed")
        set_known_places(array, index, value)
        return
    view, axis, mask = _whole(array, items, place)
    flat = _flat(view.shape, axis, mask.ndim)
    target = MaskedSelection(to_tracer(np.zeros(flat, array.dtype)), flat_mask(mask), axis - len(flat))
    value = _aligned(value, target)
    wide = np.reshape(mask, (*mask.shape, *(1,) * (view.ndim - axis - mask.ndim)))
    if value.ndim >= len(flat) - axis and mask.ndim != 1:  # the axis that is one in a selection
        value = np.reshape(value, (*value.shape[: target._axis], *_axes(value, target, mask), *_after(value, target)))
    value = value.astype(array.dtype)
    view[...] = np.where(wide, value, view)


def add_at(array: Tracer, index: Any, value: Any) -> None:
    """``np.add.at(array, index, value)``."""
    items = _items(index)
    place = _place_of_mask(items)
    if place is not None:
        array[index] = array[index] + value  # the places of a mask are all different
        return
    selections = selections_among(list(items))
    if not selections:
        if is_selection(value):
            refuse_selection("is added to places that are not selected by its mask", "mixed")
        add_at_known_places(array, index, value)
        return
    selection, wholes = align(list(items), what="is an index")
    if selection.ndim != 1 or len(items) != array.ndim:
        refuse_selection("is an index into some of the axes only, and added to")
    _, (_, added) = align([selection, as_array(value)], what="is added to")
    # Nothing is added, to the first place, where nothing is selected.
    wholes = [_at_zero(whole, selection) for whole in wholes]
    added = np.where(
        selection.mask_of(), added, np.zeros((), array.dtype if added.dtype.kind in "biu" else added.dtype)
    )
    add_at_known_places(array, tuple(wholes), added)


def places_of(condition: Any) -> tuple[MaskedSelection, ...]:
    """``np.nonzero(condition)``: for each axis, where along it the condition holds."""
    mask = as_array(condition)
    if mask.dtype != bool:
        mask = np.not_equal(mask, 0)
    if not mask.ndim:
        data_dependent("the places of a traced truth value are looked for", "bool")
    flat = flat_mask(mask)
    return tuple(
        MaskedSelection(to_tracer(np.ravel(places)), flat, -1, places=(mask.shape, axis))
        for axis, places in enumerate(np.indices(mask.shape))
    )


# Taking an index apart.


def _items(index: Any) -> tuple[Any, ...]:
    """The items of an index; a list that holds traced truth values is a mask, and so are the places of one."""
    items: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    items = tuple(array_of(item) if isinstance(item, list) and holds_tracer(item) else item for item in items)
    found: list[Any] = []
    number = 0
    while number < len(items):
        item: Any = items[number]
        if is_selection(item) and item.dtype == bool:
            refuse_selection("is a mask of the whole array")
        count = _complete(items[number:])
        if count:
            shape, _ = item._places
            found.append(np.reshape(Tracer.of(item._mask), shape))
            number += count
        else:
            found.append(item)
            number += 1
    return tuple(found)


def _complete(items: tuple[Any, ...]) -> int:
    """How many of the items are the places of one mask, along all its axes."""
    first = items[0]
    if not is_selection(first) or first._places is None:
        return 0
    shape, _ = first._places
    own = items[: len(shape)]
    fits = len(own) == len(shape) and all(
        is_selection(item) and item._places == (shape, axis) and is_same_value(item._mask, first._mask)
        for axis, item in enumerate(own)
    )
    return len(shape) if fits else 0


def _place_of_mask(items: tuple[Any, ...]) -> int | None:
    places = [number for number, item in enumerate(items) if is_traced_mask(item)]
    if len(places) > 1 or (places and selections_among(list(items))):
        refuse_selection("is made by two masks in one index", "mixed")
    return places[0] if places else None


def _whole(array: Tracer, items: tuple[Any, ...], place: int) -> tuple[Tracer, int, Tracer]:
    """The view in which the axes of the mask lie side by side, the first of them, and the mask."""
    mask: Any = items[place]
    between = (slice(None),) * mask.ndim if mask.ndim else (None,)
    rest = (*items[:place], *items[place + 1 :])
    if any(isinstance(item, list | np.ndarray) and np.ndim(item) for item in rest):
        refuse_selection("is made by a mask beside an array of integers", "mixed")
    known = tuple(int(item) if isinstance(item, np.integer) else item for item in items)
    known = (*known[:place], *between, *known[place + 1 :])
    dots = next((number for number, item in enumerate(known) if item is ...), None)
    used = sum(item is not None and item is not ... for item in known)
    if used > array.ndim:
        raise IndexError(f"too many indices for array: array is {array.ndim}-dimensional, but {used} were indexed")
    # Written out, each axis has an item of its own.
    missing = (slice(None),) * (array.ndim - used)
    start = place
    if dots is None:
        known = (*known, *missing)
    else:
        known = (*known[:dots], *missing, *known[dots + 1 :])
        start = place if dots > place else place + len(missing) - 1
    axis_in_array = sum(item is not None for item in known[:start])
    given = array.shape[axis_in_array : axis_in_array + mask.ndim]
    for own, (length, wanted) in enumerate(zip(mask.shape, given, strict=True)):
        if length != wanted:
            raise IndexError(
                f"boolean index did not match indexed array along axis {axis_in_array + own}; size of axis is {wanted} "
                f"but size of corresponding boolean axis is {length}"
            )
    view: Any = (
        array.through(*parse(known, array.shape).steps) if not _traced_items(known) else get_known_places(array, known)
    )
    axis = sum(not _is_integer(item) for item in known[:start])
    if not mask.ndim:
        mask = np.reshape(mask, (1,))
    if _is_apart(items):
        view = np.moveaxis(view, tuple(range(axis, axis + mask.ndim)), tuple(range(mask.ndim)))
        axis = 0
    return view, axis, mask


def _is_integer(item: Any) -> bool:
    return item is not None and item is not ... and not isinstance(item, slice)


def _traced_items(items: tuple[Any, ...]) -> bool:
    return any(isinstance(item, Tracer) for item in items)


def _is_apart(items: tuple[Any, ...]) -> bool:
    """Whether integers and the mask are separated by slices: NumPy then puts the selected axis first."""
    places = [number for number, item in enumerate(items) if _is_integer(item)]
    return places[-1] - places[0] + 1 != len(places)


def _flat(shape: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
    """A shape with ``count`` axes as one."""
    return (*shape[:axis], int(np.prod(shape[axis : axis + count], dtype=np.int64)), *shape[axis + count :])


# Values and general places.


def _aligned(value: Any, target: MaskedSelection) -> Any:
    """The whole of a value that fits the selected elements of a target."""
    value = value if is_selection(value) else as_array(value)
    rank = target.ndim
    while not is_selection(value) and value.ndim > rank and value.shape[0] == 1:
        value = value[0]
    _, (_, whole) = align([target, value], what="is written")
    if whole.ndim > rank:
        raise ValueError(f"could not broadcast input array of {whole.ndim} axes into {rank}")
    return as_array(whole)


def _axes(value: Any, target: MaskedSelection, mask: Tracer) -> tuple[int, ...]:
    """The axes of the mask in a value: all of length one where the value has one element for all of them."""
    return mask.shape if value.shape[target._axis] != 1 or mask.size == 1 else (1,) * mask.ndim


def _after(value: Any, target: MaskedSelection) -> tuple[int, ...]:
    return value.shape[target._axis + 1 :] if target._axis != -1 else ()


def _at_zero(whole: Any, selection: MaskedSelection) -> Any:
    return np.where(selection.mask_of(), whole, np.zeros((), np.int64))


def _gathered(array: Tracer, items: tuple[Any, ...], selections: list[MaskedSelection]) -> MaskedSelection:
    """``x[np.where(mask)[0] + 1]``: an element for each selected place."""
    selection, wholes = align([item for item in items if _is_integer(item)], what="is an index")
    if any(item.ndim != 1 for item in selections):
        refuse_selection("of several axes is an index")
    if selection.dtype.kind not in "iu":
        raise IndexError("arrays used as indices must be of integer (or boolean) type")
    given = iter(wholes)
    index = tuple(
        _at_zero(next(given), selection) if is_selection(item) else (next(given) if _is_integer(item) else item)
        for item in items
    )
    advanced = parse(index, array.shape).advanced
    assert advanced is not None
    axis = advanced.dims[0] if advanced.in_place else 0
    whole = to_tracer(get_known_places(array, index))
    return selection.like(whole, axis - whole.ndim)


# Indexing a selection.


@selection_method("__getitem__")
def get_of_selection(selection: MaskedSelection, index: Any) -> MaskedSelection:
    """``x[mask][:, 0]``, and ``x[mask][condition]`` for a condition on the same selection."""
    if is_selection(index) and index.dtype == bool:
        mask = _narrowed(selection, index)
        return MaskedSelection(to_tracer(np.copy(selection._block)), mask, selection._axis)
    known, axis = _beside(selection, index)
    return selection.like(np.copy(to_tracer(selection._block[known])), axis, is_finite=selection._is_finite)


@selection_method("__setitem__")
def set_in_selection(selection: MaskedSelection, index: Any, value: Any) -> None:
    """``s[:] = value``, ``s[:, 0] = value`` and ``s[condition] = value``."""
    if is_selection(index) and index.dtype == bool:
        mask = _narrowed(selection, index)
        _set_narrowed(selection, mask, value)
        return
    known, axis = _beside(selection, index)
    view = selection._block[known]
    target = selection.like(np.copy(to_tracer(view)), axis)
    view[...] = _aligned(value, target)
    selection.overwrite(selection._block)


def _narrowed(selection: MaskedSelection, condition: MaskedSelection) -> Any:
    align([selection, condition], what="is selected from")
    if condition.ndim != 1 or selection._axis != -selection.ndim:
        refuse_selection("of several axes is a mask")
    return flat_mask(np.logical_and(Tracer.of(selection._mask), condition._block))


def _set_narrowed(selection: MaskedSelection, mask: Any, value: Any) -> None:
    target = MaskedSelection(Tracer.of(lower(selection._block)), mask, selection._axis)
    whole = _aligned(value, target).astype(selection.dtype)
    selection.overwrite(np.where(target.mask_of(), whole, selection._block))


def _beside(selection: MaskedSelection, index: Any) -> tuple[tuple[Any, ...], int]:
    """An index that leaves the selected axis as it is, written out, and where that axis then lies."""
    items = index if isinstance(index, tuple) else (index,)
    if any(not (item is None or item is ... or isinstance(item, slice | int | np.integer)) for item in items):
        refuse_selection("is indexed by an array", "place")
    used = sum(item is not None and item is not ... for item in items)
    if used > selection.ndim:
        raise IndexError(f"too many indices for array: array is {selection.ndim}-dimensional, but {used} were indexed")
    missing = (slice(None),) * (selection.ndim - used)
    dots = next((number for number, item in enumerate(items) if item is ...), len(items))
    items = (*items[:dots], *missing, *items[dots + 1 :])
    own = [number for number, item in enumerate(items) if item is not None][selection._axis]
    if items[own] != slice(None):
        refuse_selection("is indexed by position", "place")
    return items, -sum(not _is_integer(item) for item in items[own:])
