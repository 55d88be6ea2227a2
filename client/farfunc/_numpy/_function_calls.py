"""What ``__array_function__`` is asked for: a function of NumPy with a Tracer among its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._current import is_tracing
from ._operands import holds_traced, plain
from ._refusals import data_dependent, unsupported
from ._registry import FUNCTIONS, VIEWS, method, name_of
from ._tracer import Tracer
from ._ufunc_calls import wrap

__all__ = ["call_function"]

_SHAPES = "its result would have a shape that depends on traced values"
_TRUTH = "it returns a Python truth value, which depends on traced values"
_DATA_DEPENDENT: dict[Callable[..., Any], tuple[str, str]] = {
    **dict.fromkeys(
        (
            *(np.nonzero, np.flatnonzero, np.argwhere, np.trim_zeros),
            *(np.unique, np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values),
            *(np.union1d, np.intersect1d, np.setdiff1d, np.setxor1d),
        ),
        (_SHAPES, "shape"),
    ),
    **dict.fromkeys((np.allclose, np.array_equal, np.array_equiv), (_TRUTH, "bool")),
    **dict.fromkeys((np.array2string, np.savetxt, np.save, np.savez), ("it writes the values down", "text")),
}


@method("__array_function__")
def call_function(_: Tracer, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Apply a function of NumPy."""
    traced = holds_traced(args) or holds_traced(kwargs)
    if not traced and (function not in VIEWS or not is_tracing()):
        return _concrete(function, args, kwargs)
    implementation = FUNCTIONS.get(function)
    if implementation is not None:
        return implementation(*args, **kwargs)
    name = name_of(function)
    if function in _DATA_DEPENDENT:
        why, kind = _DATA_DEPENDENT[function]
        data_dependent(f"{name} cannot be traced: {why}", kind)
    unsupported(f"{name} cannot be traced", map(name_of, FUNCTIONS), name=name)


def _concrete(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Let NumPy compute what is known."""
    out = kwargs.get("out")
    known_args, known_kwargs = plain(tuple(args)), plain(kwargs)
    result = function(*known_args, **known_kwargs)
    if isinstance(out, Tracer):
        return out
    inputs = _arrays((known_args, known_kwargs))
    if isinstance(result, np.ndarray) and any(np.may_share_memory(result, array) for array in inputs):
        result = result.copy()  # a view of it would not be known as one
    return wrap(result)


def _arrays(nested: Any) -> list[np.ndarray]:
    if isinstance(nested, np.ndarray):
        return [nested]
    if isinstance(nested, dict):
        nested = list(nested.values())
    if isinstance(nested, tuple | list):
        return [array for item in nested for array in _arrays(item)]
    return []
