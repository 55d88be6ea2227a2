"""NumPy's loops in Python over the elements of an array: ``np.vectorize``, ``np.ndenumerate``, ``np.nditer``,
``np.fromiter``. They do not dispatch; :mod:`._patches` brings them here while a function is traced.

Such a loop is unrolled: the graph holds the function once for each element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ._operands import array_of, as_array
from ._refusals import unsupported
from ._shaping import astype, ravel, reshape

__all__ = ["fromiter", "ndenumerate", "nditer", "vectorized"]


def vectorized(self: np.vectorize, func: Callable[..., Any], args: Any) -> Any:
    """``np.vectorize(f)(x)``: f of each element; with a signature, of each part."""
    arrays = [as_array(arg) for arg in args]
    signature: Any = getattr(self, "_in_and_out_core_dims", None)
    cores = [len(core) for core in signature[0]] if signature else [0] * len(arrays)
    outer = np.broadcast_shapes(*(a.shape[: a.ndim - core] for a, core in zip(arrays, cores, strict=True)))
    wide = [np.broadcast_to(a, (*outer, *a.shape[a.ndim - core :])) for a, core in zip(arrays, cores, strict=True)]
    calls = [func(*(array[index] for array in wide)) for index in np.ndindex(*outer)]
    if not calls:
        raise ValueError("cannot call `vectorize` on size 0 inputs unless `otypes` is set")
    is_many = isinstance(calls[0], tuple)
    outputs = [
        _collected([call[place] if is_many else call for call in calls], outer, self.otypes, place)
        for place in range(len(calls[0]) if is_many else 1)
    ]
    return tuple(outputs) if is_many else outputs[0]


def _collected(results: list[Any], outer: tuple[int, ...], otypes: Any, place: int) -> Any:
    # Without otypes the first result decides, as in NumPy.
    kind = np.dtype(otypes[place]) if otypes else as_array(results[0]).dtype
    stacked = np.stack([astype(as_array(result), kind, copy=False) for result in results])
    return reshape(stacked, (*outer, *stacked.shape[1:]))


def ndenumerate(arr: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """``np.ndenumerate``: places and elements."""
    arr = as_array(arr)
    return ((index, arr[index]) for index in np.ndindex(*arr.shape))


def nditer(op: Any, flags: Any = None, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """``np.nditer`` over the elements of one array, in C order."""
    if flags or args or kwargs or isinstance(op, list | tuple):
        unsupported(
            "np.nditer with flags, or over several arrays, cannot be traced",
            remedy="loop over the elements: for v in x.flat, for i, v in np.ndenumerate(x)",
        )
    return iter(ravel(as_array(op)))


def fromiter(iter: Iterable[Any], dtype: Any, count: int = -1, **rest: Any) -> Any:
    """``np.fromiter``, of traced numbers as well."""
    items = [item for _, item in zip(range(count), iter, strict=False)] if count >= 0 else list(iter)
    return array_of(items, dtype) if items else np.zeros(0, dtype)
