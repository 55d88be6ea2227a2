"""Sums, products, extrema and truth along axes; running sums and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._dtypes import is_inexact, result_of
from .._operands import as_array, emit, to_tracer
from .._refusals import unsupported
from .._registry import implements
from .._shaping import astype, axis_of, computable, expand_dims, ravel, reduced_axes, reshape
from .._tracer import Tracer
from .._ufunc_calls import store

__all__ = ["accumulator", "as_inexact", "over_all"]

_NoValue = np._NoValue


def accumulator(function: Callable[..., Any], a: Any, dtype: Any, out: Any = None) -> np.dtype:
    """The dtype in which NumPy adds up: int64 for small integers and truth values."""
    if dtype is not None:
        return np.dtype(dtype)
    return out.dtype if isinstance(out, Tracer) else result_of(function, a.dtype)


def as_inexact(a: Any) -> Tracer:
    """Integers and truth values as float64, as NumPy's means and norms take them."""
    a = as_array(a)
    return a if is_inexact(a.dtype) else astype(a, np.float64)


def _signed(dtype: np.dtype) -> np.dtype:
    """torch adds no unsigned integers up; the same bits come out of signed ones."""
    return np.dtype(np.int64) if dtype.kind == "u" and dtype.itemsize > 1 else dtype


def over_all(function: Callable[[Tracer, int], Any], a: Any, axis: Any, keepdims: bool) -> Any:
    """Apply a reduction of one axis to one axis, or to all elements as NumPy does for ``axis=None``."""
    a = as_array(a)
    if axis is None or reduced_axes(axis, a.ndim) == ():
        result = function(ravel(a), 0)
        return reshape(result, (1,) * a.ndim) if keepdims else result
    axis = axis_of(axis, a.ndim)
    result = function(a, axis)
    return expand_dims(result, axis) if keepdims else result


def _flag(keepdims: Any) -> bool:
    return keepdims is not _NoValue and bool(keepdims)


def _given(value: Any) -> bool:
    return value is not _NoValue and value is not None


@implements(np.sum, methods=("sum",))
def _sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    a = as_array(a)
    kind = accumulator(np.sum, a, dtype, out)
    if where is not True:
        a = np.where(where, a, np.zeros((), a.dtype))
    axes = reduced_axes(axis, a.ndim)
    result = astype(a, _signed(kind), copy=False)
    if axes or not a.ndim:
        result = emit("sum.dim_IntList", result, dim=axes, keepdim=_flag(keepdims))
    result = astype(result, kind, copy=False)
    if _given(initial):
        result = astype(result + initial, kind, copy=False)
    return store(result, out)


@implements(np.prod, methods=("prod",))
def _prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    a = as_array(a)
    kind = accumulator(np.prod, a, dtype, out)
    if where is not True:
        a = np.where(where, a, np.ones((), a.dtype))
    axes = reduced_axes(axis, a.ndim)
    result = astype(a, _signed(kind), copy=False)
    for place in sorted(axes, reverse=True):
        result = emit("prod.dim_int", result, dim=place, keepdim=_flag(keepdims))
    result = astype(result, kind, copy=False)
    if _given(initial):
        result = astype(result * initial, kind, copy=False)
    return store(result, out)


def _extremum(name: str, op: str, choose: np.ufunc) -> Callable[..., Any]:
    def reduce(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = _NoValue, where: Any = True
    ) -> Any:
        given = as_array(a)
        a = computable(given, f"np.{name}")
        if a.dtype.kind == "c":
            if where is not True or _given(initial):
                unsupported(f"np.{name} of complex numbers with where= or initial= cannot be traced")
            return store(_complex_extremum(op, a, reduced_axes(axis, a.ndim), _flag(keepdims)), out)
        if where is not True:
            if not _given(initial):
                raise ValueError(
                    f"reduction operation '{choose.__name__}' does not have an identity, "
                    "so to use a where mask one has to specify 'initial'"
                )
            a = np.where(where, a, np.asarray(initial, a.dtype))
        axes = reduced_axes(axis, a.ndim)
        if any(a.shape[place] == 0 for place in axes) and not _given(initial):
            raise ValueError(f"zero-size array to reduction operation {choose.__name__} which has no identity")
        if a.size == 0 and axes:
            kept = tuple(1 if p in axes else n for p, n in enumerate(a.shape) if p not in axes or _flag(keepdims))
            return store(to_tracer(np.full(kept, initial if _given(initial) else 0, given.dtype)), out)
        result = emit(op, a, dim=axes, keepdim=_flag(keepdims)) if axes or not a.ndim else a
        if _given(initial):
            result = choose(result, np.asarray(initial, a.dtype) if np.isscalar(initial) else initial)
        return store(astype(result, given.dtype, copy=False), out)

    reduce.__name__ = name
    return reduce


implements(np.max, np.amax)(_extremum("max", "amax", np.maximum))
implements(np.min, np.amin)(_extremum("min", "amin", np.minimum))


def _complex_extremum(op: str, a: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """NumPy orders complex numbers by their real parts, then by the imaginary ones."""
    worst = -np.inf if op == "amax" else np.inf
    real, imag = np.real(a), np.imag(a)
    best = emit(op, real, dim=axes, keepdim=True) if axes or not a.ndim else real
    candidates = np.where(real == best, imag, np.asarray(worst, imag.dtype))
    second = emit(op, candidates, dim=axes, keepdim=True) if axes or not a.ndim else imag
    result = emit("complex", best, second)
    return result if keepdims else np.squeeze(result, axes)


def _truth(op: str, neutral: bool) -> Callable[..., Any]:
    def reduce(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Any:
        a = as_array(a)
        if where is not True:
            a = np.where(where, astype(a, bool), neutral)
        axes = reduced_axes(axis, a.ndim)
        a = astype(a, bool, copy=False)
        return store(emit(f"{op}.dims", a, dim=axes, keepdim=_flag(keepdims)) if axes or not a.ndim else a, out)

    return reduce


implements(np.all, methods=("all",))(_truth("all", True))
implements(np.any, methods=("any",))(_truth("any", False))


@implements(np.mean, methods=("mean",))
def _mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    a = as_array(a)
    kind = accumulator(np.mean, a, dtype, out)
    axes = reduced_axes(axis, a.ndim)
    if where is not True:
        mask = np.broadcast_to(where, a.shape)
        total = np.sum(np.where(mask, a, np.zeros((), a.dtype)), axes, kind, keepdims=_flag(keepdims))
        return store(total / np.sum(mask, axes, keepdims=_flag(keepdims), dtype=kind), out)
    a = astype(a, kind, copy=False)
    if not axes and a.ndim:
        return store(a, out)
    return store(emit("mean.dim", a, dim=axes, keepdim=_flag(keepdims)), out)


def _spread(function: Callable[..., Any], op: str) -> Callable[..., Any]:
    def reduce(
        a: Any,
        axis: Any = None,
        dtype: Any = None,
        out: Any = None,
        ddof: float = 0,
        keepdims: Any = False,
        *,
        where: Any = True,
        mean: Any = _NoValue,
        correction: Any = _NoValue,
    ) -> Any:
        a = as_array(a)
        ddof = correction if _given(correction) else ddof
        kind = accumulator(function, a, dtype, out)
        inner = a.dtype if is_inexact(a.dtype) else np.dtype(np.float64)
        inner = np.promote_types(inner, kind) if dtype is not None else inner
        axes = reduced_axes(axis, a.ndim)
        keep = _flag(keepdims)
        a = astype(a, inner, copy=False)
        if where is True and not _given(mean) and axes:
            result = emit(op, a, dim=axes, correction=ddof, keepdim=keep)
        else:
            mask = np.broadcast_to(where, a.shape)
            center = mean if _given(mean) else np.mean(a, axes, keepdims=True, where=where)
            square = np.square(np.abs(a - center))
            count = np.maximum(np.sum(mask, axes, keepdims=keep, dtype=square.dtype) - ddof, 0)
            result = np.sum(np.where(mask, square, np.zeros((), square.dtype)), axes, keepdims=keep) / count
            result = np.sqrt(result) if op.startswith("std") else result
        return store(astype(result, kind, copy=False), out)

    return reduce


implements(np.var)(_spread(np.var, "var.correction"))
implements(np.std)(_spread(np.std, "std.correction"))


def _position(op: str) -> Callable[..., Any]:
    def reduce(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
        a = computable(as_array(a), f"np.{op}")
        a = astype(a, np.uint8) if a.dtype == bool else a
        found = over_all(lambda x, dim: emit(op, x, dim=dim), a, axis, _flag(keepdims))
        return store(found, out)

    return reduce


implements(np.argmax)(_position("argmax"))
implements(np.argmin)(_position("argmin"))


@implements(np.ptp, methods=("ptp",))
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    return store(np.max(a, axis, keepdims=_flag(keepdims)) - np.min(a, axis, keepdims=_flag(keepdims)), out)


@implements(np.count_nonzero)
def _count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(astype(as_array(a), bool), axis, keepdims=keepdims)


@implements(np.trace, methods=("trace",))
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return np.sum(np.diagonal(a, offset, axis1, axis2), -1, dtype, out)


def _scan(op: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def scan(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        a = as_array(a)
        kind = accumulator(function, a, dtype, out)
        if axis is None or reduced_axes(axis, a.ndim) == ():
            a, axis = ravel(a), 0
        axis = axis_of(axis, a.ndim)
        result = emit(op, astype(a, _signed(kind), copy=False), dim=axis)
        return store(astype(result, kind, copy=False), out)

    return scan


_cumsum, _cumprod = _scan("cumsum", np.cumsum), _scan("cumprod", np.cumprod)
implements(np.cumsum)(_cumsum)
implements(np.cumprod)(_cumprod)


def _cumulative(scan: Callable[..., Any], start: int) -> Callable[..., Any]:
    def cumulative(
        x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False
    ) -> Any:
        x = as_array(x)
        if axis is None and x.ndim > 1:
            raise ValueError("For arrays which have more than one dimension ``axis`` argument is required.")
        axis = 0 if axis is None else axis
        result = scan(x, axis, dtype)
        if include_initial:
            shape = list(result.shape)
            shape[axis] = 1
            result = np.concatenate([np.full(shape, start, result.dtype), result], axis)
        return store(result, out)

    return cumulative


implements(getattr(np, "cumulative_sum", None))(_cumulative(_cumsum, 0))
implements(getattr(np, "cumulative_prod", None))(_cumulative(_cumprod, 1))


# Without NaN: they count as the neutral element.


def _without_nan(function: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    def reduce(a: Any, *args: Any, **kwargs: Any) -> Any:
        a = as_array(a)
        if not is_inexact(a.dtype):
            return function(a, *args, **kwargs)
        return function(np.where(np.isnan(a), np.asarray(neutral, a.dtype), a), *args, **kwargs)

    return reduce


implements(np.nansum)(_without_nan(np.sum, 0.0))
implements(np.nanprod)(_without_nan(np.prod, 1.0))
implements(np.nancumsum)(_without_nan(np.cumsum, 0.0))
implements(np.nancumprod)(_without_nan(np.cumprod, 1.0))
implements(np.nanargmax)(_without_nan(np.argmax, -np.inf))
implements(np.nanargmin)(_without_nan(np.argmin, np.inf))


def _nan_extremum(function: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    def reduce(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, **kwargs: Any) -> Any:
        a = as_array(a)
        if not is_inexact(a.dtype):
            return function(a, axis, out, keepdims=_flag(keepdims), **kwargs)
        missing = np.isnan(a)
        if a.size == 0:
            return function(a, axis, out, keepdims=_flag(keepdims), **kwargs)
        found = function(np.where(missing, np.asarray(neutral, a.dtype), a), axis, keepdims=_flag(keepdims), **kwargs)
        empty = np.all(missing, axis, keepdims=_flag(keepdims))
        return store(np.where(empty, np.asarray(np.nan, a.dtype), found), out)

    return reduce


implements(np.nanmax)(_nan_extremum(np.max, -np.inf))
implements(np.nanmin)(_nan_extremum(np.min, np.inf))


def _where_known(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(a: Any, *args: Any, **kwargs: Any) -> Any:
        a = as_array(a)
        if not is_inexact(a.dtype):
            return function(a, *args, **kwargs)
        known = np.logical_and(np.logical_not(np.isnan(a)), kwargs.pop("where", True))
        # Masked, not only left out of the sum: the derivative of NaN times zero is NaN.
        return function(np.where(known, a, np.zeros((), a.dtype)), *args, where=known, **kwargs)

    return reduce


implements(np.nanmean)(_where_known(np.mean))
implements(np.nanvar)(_where_known(np.var))
implements(np.nanstd)(_where_known(np.std))
