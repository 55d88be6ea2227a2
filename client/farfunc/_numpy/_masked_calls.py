"""NumPy's ufuncs and functions on selections by a traced mask: element by element, reductions, and products.

The rules of :mod:`._masked_selection` are kept here: what is singular is applied to shielded operands, and what
reduces the selected axis has the neutral element where the mask is false.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, NoReturn

import numpy as np

from ._masked_selection import (
    MaskedSelection,
    align,
    holds_selection,
    is_same_value,
    is_selection,
    refuse_selection,
    selections_among,
    shield,
)
from ._operands import as_array, to_tracer
from ._registry import METHODS, UFUNCS, name_of, selection_method
from ._tracer import is_traced

__all__ = ["FUNCTIONS_OF_SELECTIONS"]

FUNCTIONS_OF_SELECTIONS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""From a function of NumPy to one of the same parameters, of which some are selections."""


def _of_selections(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS_OF_SELECTIONS.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


# Ufuncs.

_REGULAR = frozenset(
    {
        *(np.add, np.subtract, np.negative, np.positive, np.conjugate),
        *(np.maximum, np.minimum, np.fmax, np.fmin),
        *(np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal),
        *(np.logical_and, np.logical_or, np.logical_xor, np.logical_not),
        *(np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert),
        *(np.isnan, np.isinf, np.isfinite, np.signbit, np.floor, np.ceil, np.trunc, np.rint),
    }
)
"""Ufuncs whose derivatives are finite numbers wherever they are taken; their operands need no shield."""


@selection_method("__array_ufunc__")
def call_ufunc(_: MaskedSelection, ufunc: np.ufunc, how: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply a ufunc where a selection is among the operands."""
    if how == "at":
        from ._masked_indexing import add_at

        if ufunc not in (np.add, np.subtract):
            refuse_selection(f"is given to np.{ufunc.__name__}.at")
        array, index, values = inputs
        return add_at(array, index, values if ufunc is np.add else np.negative(values))
    if how == "reduce" and ufunc in _REDUCTIONS_OF:
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        return _REDUCTIONS_OF[ufunc](*inputs, **{"axis": 0, **kwargs})
    if how != "__call__":
        refuse_selection(f"is given to np.{ufunc.__name__}.{how}")
    out = kwargs.pop("out", None)
    if ufunc is np.matmul and not kwargs:
        return _store((_matmul(*inputs),), out)
    if ufunc.signature is not None or "where" in kwargs:
        refuse_selection(f"is given to np.{ufunc.__name__}" + (" with where=" if "where" in kwargs else ""))
    inputs = [item if type(item) in (int, float, complex) else as_array(item) for item in inputs]
    selection, wholes = align(inputs) if holds_selection(inputs) else (None, [])
    if selection is None:
        refuse_selection("is given as out= for another number of elements")
    wholes = [
        _shielded(ufunc, whole, selection, _other(wholes, place), given, place)
        for place, (whole, given) in enumerate(zip(wholes, inputs, strict=True))
    ]
    results = ufunc(*wholes, **kwargs)
    is_finite = _stays_finite(ufunc, inputs, wholes)
    selections = tuple(
        selection.like(result, is_finite=is_finite) for result in (results if ufunc.nout > 1 else (results,))
    )
    return _store(selections, out)


def _other(wholes: Sequence[Any], place: int) -> Any:
    return wholes[1 - place] if len(wholes) == 2 else None


def _shielded(ufunc: np.ufunc, whole: Any, selection: MaskedSelection, other: Any, given: Any, place: int) -> Any:
    """An operand, with harmless numbers where a derivative could not be finite."""
    if ufunc in _REGULAR or (is_selection(given) and ufunc is np.multiply and given._is_finite):
        return whole
    # A product with a number has the number as its derivative, and so has a quotient its inverse.
    if (
        ufunc is np.multiply
        and other is not None
        and (_is_tame(other) or (_is_tame(whole) and not is_selection(given)))
    ):
        return whole
    if ufunc is np.divide and place == 0 and _is_tame(other):
        return whole
    if not is_selection(given) and _is_tame(whole):
        return whole
    if not is_selection(given) and ufunc in (np.power, np.float_power) and place == 1 and _is_small(whole):
        return whole
    if type(whole) in (int, float, complex):
        whole = np.asarray(whole, np.result_type(selection.dtype, whole))
    return shield(whole, selection, 2.0 if ufunc is np.arccosh else 0.5)


def _is_tame(operand: Any) -> bool:
    """Whether it is known, finite and not near zero, so that no quotient by it and no power of it is out of range."""
    if operand is None or is_traced(operand):
        return False
    size = np.abs(np.asarray(operand))
    return bool(np.all((size > 1e-30) & (size < 1e30)))


def _is_small(operand: Any) -> bool:
    return not is_traced(operand) and bool(np.all(np.abs(np.asarray(operand)) < 64))


def _stays_finite(ufunc: np.ufunc, inputs: Sequence[Any], wholes: Sequence[Any]) -> bool:
    """Whether the elements that are left out are finite numbers after the ufunc."""
    if ufunc in _REGULAR or ufunc in (np.multiply, np.divide):
        known = [
            item._is_finite if is_selection(item) else not is_traced(item) and bool(np.all(np.isfinite(item)))
            for item in inputs
        ]
        # A factor that was not finite has been shielded, unless the other was a number.
        shielded = [
            whole is not (given._block if is_selection(given) else given)
            for given, whole in zip(inputs, wholes, strict=True)
        ]
        return all(fine or was for fine, was in zip(known, shielded, strict=True))
    # Integers are shielded by 1, of which np.log is zero and np.arctanh infinite.
    return all(as_array(whole).dtype.kind in "fc" for whole in wholes)


def _store(results: Any, out: Any) -> Any:
    """What ``out=`` asks for."""
    outs = out if isinstance(out, tuple) else (out,) * len(results)
    stored: Any = tuple(
        result if target is None else _store_one(result, target) for result, target in zip(results, outs, strict=True)
    )
    return stored[0] if len(stored) == 1 else stored


def _store_one(result: Any, target: Any) -> Any:
    if not is_selection(target) or not is_selection(result):
        refuse_selection("is written to an array of another number of elements", "wide")
    _, (whole, _) = align([result, target], what="is written to")
    np.positive.resolve_dtypes((np.result_type(result.dtype, np.int8), target.dtype))  # raises as NumPy does
    target.overwrite(whole)
    target._is_finite = target._is_finite or result._is_finite
    return target


# Element by element.

_ALL_ARE_ELEMENTS: dict[Callable[..., Any], bool] = {
    **dict.fromkeys((np.where, np.clip, np.isclose, np.select, np.real, np.imag, np.copy, np.nan_to_num), False),
    **dict.fromkeys((np.isreal, np.iscomplex, np.isposinf, np.isneginf, np.fix, np.round, np.around), False),
    **dict.fromkeys((np.astype, np.zeros_like, np.ones_like, np.empty_like, np.full_like), False),
    **dict.fromkeys((np.angle, np.sinc, np.i0, np.real_if_close), True),
}
"""Functions all of whose arrays are taken element by element, and whether they need a shield."""

_ELEMENTS_AT = {np.interp: 0, np.digitize: 0, np.isin: 0, np.searchsorted: 1, np.polyval: 1}
"""Functions of which one argument is taken element by element, the others as they are."""


def _elementwise(function: Callable[..., Any], needs_shield: bool) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        _no_out(function, kwargs)
        if function is _where and len(args) == 1:
            refuse_selection("is searched for places")
        leaves = _leaves((args, kwargs))
        selection, _ = align(leaves)

        def whole(given: Any) -> Any:
            if is_selection(given):
                return shield(given._block, selection) if needs_shield else given._block
            if isinstance(given, list | tuple):
                return [whole(item) for item in given]
            return given

        if needs_shield and any(given._axis != selection._axis for given in selections_among(leaves)):
            refuse_selection(f"is given to {name_of(function)}")
        result = function(*map(whole, args), **{name: whole(value) for name, value in kwargs.items()})
        return selection.like(to_tracer(result))

    return call


def _leaves(nested: Any) -> list[Any]:
    """What in the arguments takes part in broadcasting."""
    if isinstance(nested, dict):
        nested = list(nested.values())
    if isinstance(nested, list | tuple):
        return [leaf for item in nested for leaf in _leaves(item)]
    return [nested] if isinstance(nested, np.ndarray) else []


def _of_one_argument(function: Callable[..., Any], position: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        _no_out(function, kwargs)
        others = (args[:position], args[position + 1 :], kwargs)
        if len(args) <= position or not is_selection(args[position]) or holds_selection(list(others)):
            refuse_selection(f"is given to {name_of(function)}")
        selection = args[position]
        wholes = [*args]
        wholes[position] = shield(selection._block, selection)
        return selection.like(to_tracer(function(*wholes, **kwargs)))

    return call


for _function, _needs_shield in _ALL_ARE_ELEMENTS.items():
    FUNCTIONS_OF_SELECTIONS[_function] = _elementwise(_function, _needs_shield)
for _function, _position in _ELEMENTS_AT.items():
    FUNCTIONS_OF_SELECTIONS[_function] = _of_one_argument(_function, _position)


def _no_out(function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    if kwargs.get("out") is not None:
        refuse_selection(f"is given to {name_of(function)} with out=")


# Reductions.

_NEUTRAL = {np.nansum: 0, np.nanprod: 1, np.nanmax: np.nan, np.nanmin: np.nan, np.count_nonzero: 0, np.linalg.norm: 0}
"""For those that have no ``where=`` of their own: what stands where the mask is false."""

# The names on the module are replaced while a trace runs; here the originals are meant.
_EXTREMA = {np.max: -np.inf, np.min: np.inf}
_norm, _where = np.linalg.norm, np.where

_PLAIN = frozenset({np.sum, np.any, np.all, np.max, np.min, np.count_nonzero})
"""Reductions along an axis of which each element's derivative is finite."""


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        names = iter(bound.arguments.items())
        _, selection = next(names)
        rest = {name: value for name, value in names if value is not np._NoValue}
        _no_out(function, rest)
        rest.pop("out", None)
        if not is_selection(selection) or holds_selection(rest) or rest.get("where", True) is not True:
            refuse_selection(f"is given to {name_of(function)} together with another, or with where=")
        rest.pop("where", None)
        axis = rest.pop("axis", None)
        rank = selection.ndim
        axes = tuple(range(rank)) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, rank)
        keepdims = bool(rest.get("keepdims", False))
        if rank + selection._axis not in axes:
            whole = selection._block if function in _PLAIN else shield(selection._block, selection)
            gone = 0 if keepdims else sum(place > rank + selection._axis for place in axes)
            return selection.like(function(whole, axis=axis, **rest), selection._axis + gone)
        if function in _EXTREMA:
            return _extremum(function, selection, axis, rest)
        if function is _norm and isinstance(rest.get("ord"), int | float) and rest["ord"] <= 0:
            refuse_selection("is given to np.linalg.norm of an order that is not positive")
        if function in _NEUTRAL:
            return function(selection.filled(_NEUTRAL[function]), axis=axis, **rest)
        whole = shield(selection._block, selection)
        return function(whole, axis=axis, where=np.broadcast_to(selection.mask_of(), whole.shape), **rest)

    return call


def _extremum(function: Callable[..., Any], selection: MaskedSelection, axis: Any, rest: dict[str, Any]) -> Any:
    """The greatest or least; without elements NumPy raises, which cannot be known here: it is NaN."""
    whole, mask = selection._block, np.broadcast_to(selection.mask_of(), selection._block.shape)
    if rest.get("initial") is not None:
        return function(whole, axis=axis, where=mask, **rest)
    if selection.dtype.kind != "f":
        refuse_selection(
            f"has no {function.__name__} where it is empty, and {selection.dtype} no NaN to say so (give initial=)"
        )
    worst = _EXTREMA[function]
    found = function(whole, axis=axis, where=mask, **{**rest, "initial": worst})
    some = np.any(mask, axis=axis, keepdims=bool(rest.get("keepdims", False)))
    return np.where(some, found, np.asarray(np.nan, selection.dtype))


for _function in (
    *(np.sum, np.prod, np.mean, np.std, np.var, np.any, np.all, np.max, np.min, np.count_nonzero, np.linalg.norm),
    *(np.nansum, np.nanprod, np.nanmean, np.nanstd, np.nanvar, np.nanmax, np.nanmin),
):
    FUNCTIONS_OF_SELECTIONS[_function] = _reduction(_function)

_REDUCTIONS_OF: dict[np.ufunc, Callable[..., Any]] = {
    np.add: FUNCTIONS_OF_SELECTIONS[np.sum],
    np.multiply: FUNCTIONS_OF_SELECTIONS[np.prod],
    np.maximum: FUNCTIONS_OF_SELECTIONS[np.max],
    np.minimum: FUNCTIONS_OF_SELECTIONS[np.min],
    np.logical_and: FUNCTIONS_OF_SELECTIONS[np.all],
    np.logical_or: FUNCTIONS_OF_SELECTIONS[np.any],
}


@_of_selections(np.ptp)
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    _no_out(np.ptp, {"out": out})
    keepdims = keepdims is not np._NoValue and bool(keepdims)
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


@_of_selections(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    keepdims = keepdims is not np._NoValue and bool(keepdims)
    if weights is None:
        average, total = np.mean(a, axis, keepdims=keepdims), np.sum(np.ones_like(a), axis, keepdims=keepdims)
    else:
        if np.ndim(weights) != np.ndim(a):
            refuse_selection("is averaged with weights of another rank")
        total = np.sum(weights, axis, keepdims=keepdims)
        average = np.sum(a * weights, axis, keepdims=keepdims) / total
    return (average, total) if returned else average


# Products.


def _matmul(a: Any, b: Any) -> Any:
    """``a @ b``: along the selected axis of both, or for each selected row of one."""
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        raise ValueError("matmul: Input operand does not have enough dimensions")
    summed_of_b = -1 if b.ndim == 1 else -2
    along = [is_selection(a) and a._axis == -1, is_selection(b) and b._axis == summed_of_b]
    if any(along):
        if not all(along):
            refuse_selection("is multiplied along its selected axis with an array that is not selected", "wide")
        if not is_same_value(a._mask, b._mask):
            refuse_selection("is multiplied with one by another mask", "mixed")
        return np.matmul(a.filled(0), b.filled(0))
    if is_selection(a) and is_selection(b):
        if a._axis > -3 or b._axis > -3:
            refuse_selection("is multiplied with another so that pairs of their elements arise")
        align([a, b])
    selection = a if is_selection(a) else b
    other = b if is_selection(a) else a
    axis = selection._axis
    if axis <= -3 and not is_selection(other):
        align([selection, other])
    if b.ndim == 1 or (a.ndim == 1 and axis <= -3):
        axis += 1
    wholes = [item.filled(0) if is_selection(item) else item for item in (a, b)]
    return selection.like(np.matmul(*wholes), axis)


@_of_selections(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    _no_out(np.dot, {"out": out})
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        return a * b
    if a.ndim > 2 or b.ndim > 2:
        refuse_selection("of more than two axes is given to np.dot")
    return _matmul(a, b)


@_of_selections(np.inner)
def _inner(a: Any, b: Any, /) -> Any:
    a, b = as_array(a), as_array(b)
    if a.ndim != 1 or b.ndim != 1:
        refuse_selection("of more than one axis is given to np.inner")
    return _matmul(a, b)


@_of_selections(np.vdot)
def _vdot(a: Any, b: Any, /) -> Any:
    a, b = as_array(a), as_array(b)
    if a.ndim != 1 or b.ndim != 1:
        refuse_selection("of more than one axis is given to np.vdot")
    return _matmul(np.conjugate(a), b)


# Facts.


@_of_selections(np.shape)
def _shape(a: Any) -> tuple[Any, ...]:
    return a.shape


@_of_selections(np.ndim)
def _ndim(a: Any) -> int:
    return a.ndim


@_of_selections(np.size)
def _size(a: Any, axis: Any = None) -> Any:
    return a.size if axis is None else a.shape[axis]


@_of_selections(np.iscomplexobj)
def _iscomplexobj(x: Any) -> bool:
    return x.dtype.kind == "c"


@_of_selections(np.isrealobj)
def _isrealobj(x: Any) -> bool:
    return x.dtype.kind != "c"


@_of_selections(np.result_type)
def _result_type(*items: Any) -> np.dtype:
    return np.result_type(*(item._block if is_selection(item) else item for item in items))


@_of_selections(np.ravel)
def _ravel(a: Any, order: str = "C") -> Any:
    if a.ndim != 1:
        refuse_selection("of several axes is given another shape")
    return a


@_of_selections(np.atleast_1d)
def _atleast_1d(*arrays: Any) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays


@selection_method("__array_function__")
def call_function(_: MaskedSelection, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply a function of NumPy where a selection is among the arguments."""
    implementation = FUNCTIONS_OF_SELECTIONS.get(function)
    if implementation is None:
        refuse_selection(f"is given to {name_of(function)}")
    return implementation(*args, **kwargs)


# Methods.

_BY_NAME: dict[str, Callable[..., Any]] = {
    **{ufunc.__name__: ufunc for ufunc in UFUNCS},
    **{function.__name__: function for function in FUNCTIONS_OF_SELECTIONS},
    **{"max": np.max, "min": np.min, "abs": np.absolute, "conj": np.conjugate, "flatten": np.copy, "round": np.round},
    **{"amax": np.max, "amin": np.min, "clamp": np.clip, "clone": np.copy},
}


@selection_method("__getattr__")
def get_attribute(selection: MaskedSelection, name: str) -> Any:
    """``x[mask].sum``: the methods and attributes of arrays, by the functions of the same name."""
    if name in ("real", "imag"):
        return (np.real if name == "real" else np.imag)(selection)
    if name == "T":
        return selection if selection.ndim == 1 else _refused("is given another shape")
    if name == "flatten" and selection.ndim != 1:
        return lambda *args, **kwargs: _refused("of several axes is given another shape")
    function = _BY_NAME.get(name)
    if function is not None:
        return MethodType(function, selection) if not isinstance(function, np.ufunc) else _Bound(function, selection)
    if name in METHODS:
        return lambda *args, **kwargs: _refused(f"is asked for .{name}()")
    if hasattr(np.ndarray, name):
        return lambda *args, **kwargs: _refused(f"is asked for .{name}")
    selection.unknown_attribute(name)


class _Bound:
    """A ufunc as a method."""

    def __init__(self, function: Callable[..., Any], selection: MaskedSelection) -> None:
        self.function = function
        self.selection = selection

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self.selection, *args, **kwargs)


def _refused(what: str) -> NoReturn:
    refuse_selection(what)
