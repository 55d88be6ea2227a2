"""Choosing between arrays, and taking elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._emit import add
from .._masked_indexing import places_of
from .._operands import as_array, dtype_of, emit, holds_traced, lower, shape_of, to_tracer
from .._registry import implements
from .._shaping import astype, axis_of, ravel
from .._tracer import Tracer, is_traced
from .._ufunc_calls import store


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """``x`` where the condition holds, else ``y``; without them the places where it holds."""
    if x is None and y is None:
        return places_of(condition)
    kind = dtype_of(x, y)
    condition = astype(as_array(condition), bool, copy=False)
    if not is_traced(condition) and condition.ndim == 0:
        shape = np.broadcast_shapes(shape_of(x), shape_of(y))
        return Tracer.of(lower(np.broadcast_to(as_array(x if condition.content() else y), shape), kind))
    return Tracer.of(add("where.self", lower(condition), lower(x, kind), lower(y, kind)))


@implements(np.select)
def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    kind = dtype_of(*choicelist, default)
    shape = np.broadcast_shapes(*(np.shape(array) for array in (*condlist, *choicelist, default)))
    result = np.broadcast_to(to_tracer(default), shape)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = where(condition, choice, result)
    return astype(result, kind)


@implements(np.piecewise)
def _piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
    x = to_tracer(x)
    is_single = isinstance(condlist, Tracer | np.ndarray) and condlist.ndim == x.ndim
    conditions = [condlist] if is_single or isinstance(condlist, bool) else list(condlist)
    if len(funclist) == len(conditions) + 1:
        functions: list[Any] = list(funclist[:-1])
        otherwise = funclist[-1]
    else:
        functions, otherwise = list(funclist), 0

    def value(function: Any) -> Any:
        return function(x, *args, **kwargs) if callable(function) else function

    result = np.broadcast_to(astype(as_array(value(otherwise)), x.dtype), x.shape)
    for condition, function in zip(conditions, functions, strict=True):
        result = where(condition, astype(as_array(value(function)), x.dtype), result)
    return result


@implements(np.clip)
def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None, **kwargs: Any
) -> Any:
    low = min if a_min is None or a_min is np._NoValue else a_min
    high = max if a_max is None or a_max is np._NoValue else a_max
    low = None if low is np._NoValue else low
    high = None if high is np._NoValue else high
    given = [bound for bound in (low, high) if bound is not None]
    kind = dtype_of(a, *given) if kwargs.get("dtype") is None else np.dtype(kwargs["dtype"])
    array = Tracer.of(lower(a, kind))
    if not given:
        return store(array, out)
    if holds_traced(given) or any(np.ndim(bound) for bound in given):
        bounds = [None if bound is None else Tracer.of(lower(bound, kind)) for bound in (low, high)]
        shape = np.broadcast_shapes(array.shape, *(bound.shape for bound in bounds if bound is not None))
        return store(emit("clamp.Tensor", np.broadcast_to(array, shape), *bounds), out)
    # clamp and not maximum: at the bound itself its derivative is 1.
    numbers = [None if bound is None else np.asarray(bound).astype(kind).item() for bound in (low, high)]
    return store(emit("clamp", array, min=numbers[0], max=numbers[1]), out)


@implements(np.choose)
def _choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    options = [as_array(choice) for choice in choices]
    if mode == "wrap":
        a = np.remainder(a, len(options))
    elif mode == "clip":
        a = np.clip(a, 0, len(options) - 1)
    result: Any = options[-1]
    for place in range(len(options) - 2, -1, -1):
        result = where(np.equal(a, place), options[place], result)
    return store(np.broadcast_to(result, np.broadcast_shapes(result.shape, np.shape(a))), out)


@implements(np.take, methods=("take",))
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    a, indices = as_array(a), as_array(indices)
    if axis is None:
        a, axis = ravel(a), 0
    axis = axis_of(axis, a.ndim)
    length = a.shape[axis]
    if mode == "wrap":
        indices = np.remainder(indices, length)
    elif mode == "clip":
        indices = np.clip(indices, 0, length - 1)
    if not is_traced(indices) and not np.ndim(indices):
        taken = to_tracer(a)[(slice(None),) * axis + (int(indices), ...)]
        return store(taken.snapshot() if isinstance(taken, Tracer) else taken, out)
    return store(to_tracer(a)[(slice(None),) * axis + (indices,)], out)


@implements(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    arr, indices = as_array(arr), as_array(indices)
    if axis is None:
        arr, axis = ravel(arr), 0
    arr, indices, axis = along_axis(arr, indices, axis)
    return emit("gather", arr, indices, dim=axis)


def along_axis(arr: Any, indices: Any, axis: int) -> tuple[Any, Any, int]:
    """The operands of gather and scatter: non-negative int64, broadcast against each other."""
    if arr.ndim != indices.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    axis = axis_of(axis, arr.ndim)
    length = arr.shape[axis]
    rest = [n for place, n in enumerate(np.broadcast_shapes(_one(arr.shape, axis), _one(indices.shape, axis)))]
    wide = np.broadcast_to(arr, [length if place == axis else n for place, n in enumerate(rest)])
    indices = np.broadcast_to(indices, [indices.shape[axis] if place == axis else n for place, n in enumerate(rest)])
    indices = astype(indices, np.int64, copy=False) if isinstance(indices, Tracer) else indices.astype(np.int64)
    return wide, where(np.less(indices, 0), np.add(indices, length), indices), axis


def _one(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(1 if place == axis else length for place, length in enumerate(shape))


@implements(np.nonzero)
def _nonzero(a: Any) -> Any:
    return places_of(a)


@implements(np.flatnonzero)
def _flatnonzero(a: Any) -> Any:
    return places_of(ravel(a))[0]


@implements(np.compress)
def _compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    a = to_tracer(a)
    if is_traced(condition):
        a = ravel(a) if axis is None else a
        axis = axis_of(0 if axis is None else axis, a.ndim)
        return store(a[(slice(None),) * axis + (astype(as_array(condition), bool, copy=False),)], out)
    return store(np.take(a, np.flatnonzero(condition), axis), out)


@implements(np.extract)
def _extract(condition: Any, arr: Any) -> Any:
    if is_traced(condition):
        return ravel(to_tracer(arr))[astype(ravel(condition), bool, copy=False)]
    return np.take(ravel(arr), np.flatnonzero(condition))


@implements(np.nan_to_num)
def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    x = as_array(x)
    if x.dtype.kind not in "fc":
        return x if not copy else np.copy(x)
    if x.dtype.kind == "c":
        parts = [_nan_to_num(part, True, nan, posinf, neginf) for part in (np.real(x), np.imag(x))]
        result = emit("complex", *parts)
    else:
        limits = np.finfo(x.dtype)
        high = float(limits.max) if posinf is None else float(posinf)
        low = float(limits.min) if neginf is None else float(neginf)
        result = emit("nan_to_num", x, nan=float(nan), posinf=high, neginf=low)
    return result if copy else store(result, x)


@implements(np.isclose)
def _isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    a, b = as_array(a), as_array(b)
    b = b if b.dtype.kind in "fc" else astype(b, np.float64)
    close = np.logical_and(np.less_equal(np.abs(a - b), atol + rtol * np.abs(b)), np.isfinite(b))
    close = np.logical_or(close, np.equal(a, b))
    return np.logical_or(close, np.logical_and(np.isnan(a), np.isnan(b))) if equal_nan else close


def _infinite(choose: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def test(x: Any, out: Any = None) -> Any:
        return store(np.logical_and(np.isinf(x), choose(x, 0)), out)

    return test


implements(np.isposinf)(_infinite(np.greater))
implements(np.isneginf)(_infinite(np.less))


@implements(np.isreal)
def _isreal(x: Any) -> Any:
    return np.equal(np.imag(x), 0)


@implements(np.iscomplex)
def _iscomplex(x: Any) -> Any:
    return np.not_equal(np.imag(x), 0)


@implements(np.isin)
def _isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Any:
    found = np.any(np.equal(np.expand_dims(as_array(element), -1), np.ravel(as_array(test_elements))), -1)
    return np.logical_not(found) if invert else found


@implements(np.unravel_index)
def _unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    places = []
    for length in reversed(shape) if order == "C" else shape:
        indices, place = np.divmod(indices, length)
        places.append(place)
    return tuple(reversed(places)) if order == "C" else tuple(places)
