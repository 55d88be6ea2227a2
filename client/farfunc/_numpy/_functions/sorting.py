"""Sorting, searching, and the order statistics that rest on a sorted axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._dtypes import is_inexact
from .._operands import as_array, dtype_of, emit, emit_many, ensure_sequence, holds_traced, lower, to_tracer
from .._refusals import unsupported
from .._registry import implements, method
from .._shaping import astype, axis_of, computable, expand_dims, moveaxis, ravel, reduced_axes, reshape
from .._tracer import Tracer
from .._ufunc_calls import store

__all__: list[str] = []


def _refuse_complex(a: Any, what: str) -> None:
    if a.dtype.kind == "c":
        unsupported(f"{what} of complex numbers cannot be traced", remedy="order by np.abs(z), z.real or z.imag")


def _sorted(a: Any, axis: Any) -> Any:
    """Values and the places that they came from."""
    given: Any = as_array(a)
    if axis is None:
        given, axis = ravel(given), 0
    axis = axis_of(axis, given.ndim)
    if given.dtype.kind == "c":  # by their real parts, those that are equal by the imaginary ones
        order = _lexicographic([np.imag(given), np.real(given)], axis)
        return np.take_along_axis(given, order, axis), order
    values, places = emit_many("sort.stable", computable(given, "sorting"), stable=True, dim=axis)
    return astype(values, given.dtype, copy=False), places


def _lexicographic(keys: Sequence[Any], axis: int) -> Any:
    """The order by the last key; where that has equal ones, by the one before it, and so on."""
    order = None
    for key in keys:
        given = key if order is None else np.take_along_axis(key, order, axis)
        _, places = _sorted(given, axis)
        order = places if order is None else np.take_along_axis(order, places, axis)
    return order


@implements(np.lexsort)
def _lexsort(keys: Any, axis: int = -1) -> Any:
    keys = [as_array(key) for key in ensure_sequence(keys)]
    return _lexicographic(keys, axis_of(axis, keys[0].ndim))


@implements(np.sort_complex)
def _sort_complex(a: Any) -> Any:
    a = as_array(a)
    return np.sort(a if a.dtype.kind == "c" else astype(a, np.result_type(a.dtype, np.complex64)))


@implements(np.sort)
def _sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    return _sorted(a, axis)[0]


@implements(np.argsort)
def _argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    return _sorted(a, axis)[1]


@implements(np.partition)
def _partition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Any:
    return _sorted(a, axis)[0]  # a sorted array is a partitioned one


@implements(np.argpartition, methods=("argpartition",))
def _argpartition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Any:
    return _sorted(a, axis)[1]


@method("sort")
def _sort_in_place(a: Tracer, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
    """NumPy's method: sorts in place and returns nothing."""
    a[...] = np.sort(a, axis)


@method("partition")
def _partition_in_place(a: Tracer, kth: Any, axis: int = -1, kind: Any = None, order: Any = None) -> None:
    a[...] = np.sort(a, axis)


@implements(np.searchsorted, methods=("searchsorted",))
def _searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    kind = dtype_of(a, v)
    _refuse_complex(as_array(v), "np.searchsorted")
    a = np.take(a, sorter) if sorter is not None else as_array(a)
    v = as_array(v)
    found = emit(
        "searchsorted.Tensor",
        Tracer.of(lower(a, kind)),
        Tracer.of(lower(reshape(v, (-1,)), kind)),
        None,
        right=side == "right",
    )
    return reshape(found, v.shape) if v.ndim != 1 else found


@implements(np.digitize)
def _digitize(x: Any, bins: Any, right: bool = False) -> Any:
    side = "left" if right else "right"
    bins = as_array(bins)
    if not holds_traced(bins) and bins.ndim == 1 and len(bins) > 1 and np.asarray(bins)[0] > np.asarray(bins)[-1]:
        return len(bins) - np.searchsorted(np.asarray(bins)[::-1], x, "left" if side == "right" else "right")
    return np.searchsorted(bins, x, side)


@implements(np.median)
def _median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    return _quantile(a, 0.5, axis, out, keepdims=keepdims)


@implements(np.percentile)
def _percentile(a: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    return _quantile(a, q / 100 if type(q) in (int, float) else np.true_divide(q, 100.0), *args, **kwargs)


_CONTINUOUS = {
    "linear": (1.0, 1.0),
    "weibull": (0.0, 0.0),
    "hazen": (0.5, 0.5),
    "interpolated_inverted_cdf": (0.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}
"""Hyndman and Fan's alpha and beta: the place of a quantile is n q + alpha + q (1 - alpha - beta) - 1."""


@implements(np.quantile)
def _quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Any:
    if weights is not None:
        unsupported("np.quantile with weights= cannot be traced", remedy="sort and accumulate the weights yourself")
    if holds_traced(q):
        unsupported("np.quantile at a traced q cannot be traced", remedy="give q as a number")
    a = as_array(a)
    a = a if is_inexact(a.dtype) else astype(a, np.float64)
    _refuse_complex(a, "np.quantile")
    flat, axes = _flattened(a, axis)
    if not flat.shape[-1]:
        return store(_missing(a, q, axes, keepdims), out)
    values = np.sort(flat, -1)
    quantiles = np.asarray(q, a.dtype if type(q) in (int, float) else np.float64)
    if np.any((quantiles < 0) | (quantiles > 1)):
        raise ValueError("Quantiles must be in the range [0, 1]")
    places = _places(quantiles.astype(np.float64), flat.shape[-1], method)
    low = np.floor(places)
    weight = (places - low).astype(quantiles.dtype)
    left = np.take(values, low.astype(np.int64), -1)
    right = np.take(values, np.minimum(low + 1, flat.shape[-1] - 1).astype(np.int64), -1)
    # NumPy's own interpolation: from the nearer side, so that both ends are exact.
    step = right - left
    nearer = np.where(weight < 0.5, left + step * weight, right - step * (1 - weight))
    result = nearer if weight.any() else astype(left, nearer.dtype, copy=False)
    if quantiles.ndim:
        result = moveaxis(result, tuple(range(-quantiles.ndim, 0)), tuple(range(quantiles.ndim)))
    missing = np.any(np.isnan(flat), -1)
    result = np.where(missing, np.asarray(np.nan, result.dtype), result)
    if keepdims:
        result = expand_dims(result, tuple(quantiles.ndim + place for place in axes))
    return store(result, out)


def _flattened(a: Any, axis: Any) -> tuple[Any, tuple[int, ...]]:
    """The array with the reduced axes as its last one, and which they were."""
    axes = reduced_axes(axis, a.ndim)
    rest = [a.shape[place] for place in range(a.ndim) if place not in axes]
    count = int(np.prod([a.shape[place] for place in axes], dtype=np.int64))
    return reshape(moveaxis(a, axes, range(a.ndim - len(axes), a.ndim)), (*rest, count)), axes


def _missing(a: Any, q: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Of no numbers at all every quantile is NaN."""
    kept = [1 if place in axes else n for place, n in enumerate(a.shape) if place not in axes or keepdims]
    return to_tracer(np.full((*np.shape(q), *kept), np.nan, a.dtype))


@implements(np.nanmedian)
def _nanmedian(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    # Beside the middle of an odd count may stand an infinity, which has no part in it.
    return _nanquantile(a, 0.5, axis, out, keepdims=keepdims, is_median=True)


@implements(np.nanpercentile)
def _nanpercentile(a: Any, q: Any, *args: Any, **kwargs: Any) -> Any:
    return _nanquantile(a, q / 100 if type(q) in (int, float) else np.true_divide(q, 100.0), *args, **kwargs)


@implements(np.nanquantile)
def _nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
    is_median: bool = False,
) -> Any:
    a = as_array(a)
    if not is_inexact(a.dtype):
        return _quantile(a, q, axis, out, overwrite_input, method, keepdims, weights=weights)
    if weights is not None or method != "linear":
        unsupported("np.nanquantile with weights= or method= cannot be traced", remedy="use the linear method")
    if holds_traced(q):
        unsupported("np.nanquantile at a traced q cannot be traced", remedy="give q as a number")
    keepdims = keepdims is not np._NoValue and bool(keepdims)
    flat, axes = _flattened(a, axis)
    if not flat.shape[-1]:
        return store(_missing(a, q, axes, keepdims), out)
    missing = np.isnan(flat)
    # NaN is put last; how many numbers there are before it is known on the server only, so the places are traced.
    values = np.sort(np.where(missing, np.asarray(np.inf, a.dtype), flat), -1)
    count = np.sum(np.logical_not(missing), -1, keepdims=True)
    quantiles = np.asarray(q, a.dtype if type(q) in (int, float) else np.float64)
    places = np.maximum(count - 1, 0) * quantiles.ravel()
    low: Any = np.floor(places)
    weight: Any = astype(places - low, quantiles.dtype)
    low = astype(low, np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    left, right = np.take_along_axis(values, low, -1), np.take_along_axis(values, high, -1)
    step = right - left
    step = np.where(weight == 0, np.zeros((), step.dtype), step) if is_median else step
    found = np.where(weight < 0.5, left + step * weight, right - step * (1 - weight))
    found = np.where(count == 0, np.asarray(np.nan, found.dtype), found)
    found = moveaxis(found, -1, 0)
    found = reshape(found, quantiles.shape + found.shape[1:])
    if keepdims:
        found = expand_dims(found, tuple(quantiles.ndim + place for place in axes))
    return store(found, out)


def _places(q: np.ndarray, n: int, method: str) -> np.ndarray:
    """Where the quantiles lie among ``n`` sorted values."""
    if method in _CONTINUOUS:
        alpha, beta = _CONTINUOUS[method]
        return np.clip(n * q + alpha + q * (1 - alpha - beta) - 1, 0, n - 1)
    place = q * (n - 1)
    rounding = {
        "lower": np.floor,
        "higher": np.ceil,
        "nearest": np.rint,
        "midpoint": lambda place: (np.floor(place) + np.ceil(place)) / 2,
    }
    if method not in rounding:
        known = ", ".join([*_CONTINUOUS, *rounding])
        unsupported(f"np.quantile with method={method!r} cannot be traced", remedy=f"use one of {known}")
    return rounding[method](place)
