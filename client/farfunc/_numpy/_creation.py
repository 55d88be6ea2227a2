"""Creating arrays inside a trace: ``np.array([[c, -s], [s, c]])``, ``y = np.zeros(6)``.

Each result is a Tracer, so that it can be written to: a concrete one, until something traced is.
The functions stand for NumPy's of the same name, see :mod:`._patches` and :mod:`farfunc.numpy`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ._operands import array_of, as_array, holds_traced, lower, plain, traced_among
from ._refusals import unsupported
from ._registry import implements
from ._shaping import astype, copy, in_order
from ._tracer import Tracer

__all__ = ["CREATED", "ConcatenatorByIndex", "array", "asarray"]

CREATED: dict[Callable[..., Any], Callable[..., Any]] = {}
"""From a function of NumPy to ours."""

_FROM_NUMBERS = (
    np.zeros,
    np.ones,
    np.empty,
    np.full,
    np.eye,
    np.identity,
    np.tri,
    np.arange,
    np.linspace,
    np.logspace,
    np.geomspace,
    np.indices,
)
"""Functions of numbers alone."""

# The names on the module are replaced while a trace runs; here the originals are meant.
_array, _asarray, _asanyarray, _ascontiguousarray = np.array, np.asarray, np.asanyarray, np.ascontiguousarray
_zeros, _ones, _full_of = np.zeros, np.ones, np.full


def _stands_for(original: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        CREATED[original] = function
        return function

    return register


_COPY_MODES: dict[Any, bool | None] = {
    np._CopyMode.ALWAYS: True,
    np._CopyMode.IF_NEEDED: None,
    np._CopyMode.NEVER: False,
}
"""Another way to say ``copy=True``, ``None`` and ``False``."""


@_stands_for(np.array)
def array(
    object: Any, dtype: Any = None, *, copy: bool | None = True, order: str = "K", ndmin: int = 0, **rest: Any
) -> Any:
    """``np.array``, where the nested lists may hold traced arrays.

    The result is an array of its own, unless ``copy`` says otherwise.
    """
    copy = _COPY_MODES.get(copy, copy)
    if isinstance(object, Tracer):
        if not copy and (dtype is None or np.dtype(dtype) == object.dtype):
            result: Any = object
        else:
            result = in_order(object, order or "K") if dtype is None else _converted(object, dtype)
    elif holds_traced(object):
        result = array_of(object, dtype)
    else:
        result = _own(_array(plain(object), dtype, copy=copy, order=order, **rest), object)  # type: ignore[call-overload]
    if np.ndim(result) < ndmin:
        result = np.reshape(result, (1,) * (ndmin - np.ndim(result)) + np.shape(result))
    if isinstance(result, Tracer) and result is not object:
        result._is_scalar = False
    return result


def _own(made: Any, given: Any) -> Any:
    """A new array as one that can hold traced values; what shares memory with the caller's stays what it is."""
    if type(made) is not np.ndarray or made.dtype.kind not in "biufcV":
        return made
    return made if _is_ndarray(given) and np.may_share_memory(made, given) else Tracer.of_array(made)


def _is_ndarray(given: Any) -> bool:
    """Whether it is NumPy's own array: a Tracer passes for one under ``isinstance``."""
    return isinstance(given, np.ndarray) and not isinstance(given, Tracer)


class ConcatenatorByIndex:
    """``np.r_`` and ``np.c_``, which put together what stands in their brackets.

    Attributes
    ----------
    original:
        NumPy's own.
    columns:
        Whether arrays of one axis become columns.
    """

    def __init__(self, original: Any, *, columns: bool) -> None:
        self.original = original
        self.columns = columns

    def __getitem__(self, key: Any) -> Any:
        items = key if isinstance(key, tuple) else (key,)
        if not holds_traced(items):
            return self.original[key]
        parts = [self.original[item] if isinstance(item, slice) else as_array(item) for item in items]
        if any(part.dtype.kind not in "biufcV" for part in parts):
            unsupported("directions to np.r_ cannot be traced", remedy="use np.concatenate with axis=")
        if not self.columns:
            return np.concatenate([np.atleast_1d(part) for part in parts])
        return np.concatenate([part if part.ndim > 1 else np.reshape(part, (-1, 1)) for part in parts], axis=-1)


def _converted(given: Tracer, dtype: Any) -> Tracer:
    return copy(given) if given.dtype == np.dtype(dtype) else astype(given, dtype)


@_stands_for(np.asarray)
def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, **rest: Any) -> Any:
    """``np.asarray``: the array itself where it is one already."""
    if _is_ndarray(a) and not copy:
        return _own(_asarray(a, dtype, order), a)
    return array(a, dtype, copy=copy, order=order)


@_stands_for(np.asanyarray)
def asanyarray(a: Any, dtype: Any = None, order: Any = None, **rest: Any) -> Any:
    """``np.asanyarray``."""
    return _own(_asanyarray(a, dtype, order), a) if _is_ndarray(a) else array(a, dtype, copy=None)


@_stands_for(np.ascontiguousarray)
def ascontiguousarray(a: Any, dtype: Any = None, **rest: Any) -> Any:
    """``np.ascontiguousarray``: at least one axis, in C order."""
    if _is_ndarray(a):
        return _own(_ascontiguousarray(a, dtype), a)
    made: Any = np.atleast_1d(array(a, dtype, copy=None))
    return made if made.strides_in_elements() is None else copy(made)


@_stands_for(np.asfortranarray)
def asfortranarray(a: Any, dtype: Any = None, **rest: Any) -> Any:
    """``np.asfortranarray``."""
    return np.transpose(ascontiguousarray(np.transpose(asarray(a, dtype))))


def _from_numbers(original: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, **kwargs: Any) -> Any:
        traced = traced_among((args, kwargs))
        if traced:
            if original in _FROM_TRACED:
                return _FROM_TRACED[original](*args, **kwargs)
            operator.index(traced[0])  # a length cannot be traced: this raises, and names the user's line
        result = original(*plain(args), **plain(kwargs))
        if original.__name__ == "empty" and result.dtype != object:
            result[...] = 0  # what lies in memory by chance is no part of a function
        is_numeric = isinstance(result, np.ndarray) and result.dtype.kind in "biufcV"
        return Tracer.of_array(result) if is_numeric else result

    create.__name__ = original.__name__
    create.__doc__ = f"``np.{original.__name__}``, giving an array that can hold traced values."
    return create


for _original in _FROM_NUMBERS:
    CREATED[_original] = _from_numbers(_original)


def _full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", **rest: Any) -> Tracer:
    fill = as_array(fill_value) if dtype is None else lower(fill_value, np.dtype(dtype))
    fill = fill if isinstance(fill, Tracer) else Tracer.of(fill)
    return copy(np.broadcast_to(fill, shape))


@implements(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """Evenly spaced numbers between traced bounds."""
    div = num - 1 if endpoint else num
    start, stop = start * 1.0, stop * 1.0
    delta = np.subtract(stop, start)
    result_dtype = np.result_type(start, stop, float(num)) if dtype is None else np.dtype(dtype)
    places = np.reshape(np.arange(num, dtype=float), (-1,) + (1,) * np.ndim(delta))
    step = delta / div if div > 0 else delta * np.nan
    result = places * step + start if div > 0 else places * delta + start
    if endpoint and num > 1:
        ends = np.broadcast_to(stop, np.shape(result)[1:])
        result = np.concatenate([result[:-1], ends[None]])
    if axis != 0:
        result = np.moveaxis(result, 0, axis)
    result = np.floor(result) if result_dtype.kind in "iu" else result
    result = astype(result, result_dtype, copy=False)
    return (result, step) if retstep else result


@implements(np.logspace)
def _logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    result = np.power(base, exponents)
    return result if dtype is None else astype(result, dtype)


@implements(np.geomspace)
def _geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    # The sign of traced bounds is not known: both are positive, or the result is NaN.
    result = _logspace(np.log10(start), np.log10(stop), num, endpoint, axis=axis)
    return result if dtype is None else astype(result, dtype)


@_stands_for(np.fromfunction)
def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """``np.fromfunction``, whose function may close over traced arrays."""
    return function(
        *np.indices(shape, dtype=dtype), **{name: value for name, value in kwargs.items() if name != "like"}
    )


_FROM_TRACED: dict[Callable[..., Any], Callable[..., Any]] = {
    np.full: _full,
    np.linspace: linspace,
    np.logspace: _logspace,
    np.geomspace: _geomspace,
}


def _like(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def create(
        a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *, device: Any = None
    ) -> Tracer:
        a = as_array(a)
        made = original(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)
        return Tracer.of_array(made)

    create.__name__ = name
    create.__doc__ = f"``np.{name}``, giving an array that can hold traced values."
    return create


for _original, _maker in ((np.zeros_like, _zeros), (np.ones_like, _ones), (np.empty_like, _zeros)):
    _function = _stands_for(_original)(_like(_original.__name__, _maker))
    implements(_original, view=True)(_function)


@_stands_for(np.full_like)
@implements(np.full_like, view=True)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tracer:
    """``np.full_like``, giving an array that can hold traced values."""
    a = as_array(a)
    wanted, kind = a.shape if shape is None else shape, a.dtype if dtype is None else np.dtype(dtype)
    if holds_traced(fill_value):
        return _full(wanted, fill_value, kind)
    return Tracer.of_array(_full_of(wanted, plain(fill_value), kind))


@_stands_for(np.copy)
def _copied(a: Any, order: str = "K", subok: bool = False) -> Any:
    """``np.copy``, giving an array that can hold traced values."""
    return array(a, order=order)
