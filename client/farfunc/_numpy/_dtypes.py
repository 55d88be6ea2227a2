"""dtypes: from NumPy's to the graph's and back, and the dtype that NumPy gives a result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.dtypes import dtype as look_up_dtype
from farfunc_protocol.dtypes import from_numpy_dtype
from farfunc_protocol.errors import InvalidArray, UnsupportedOperator

from ._source import user_line

__all__ = ["graph_dtype", "is_inexact", "numpy_dtype", "result_of"]


@functools.lru_cache(maxsize=256)
def _graph_dtype(given: np.dtype) -> str | None:
    try:
        return from_numpy_dtype(given).name
    except InvalidArray:
        return None


def graph_dtype(given: Any) -> str:
    """The graph's name of a NumPy dtype; raises UnsupportedOperator for strings, objects and the like.

    >>> graph_dtype(np.float32), graph_dtype(float)
    ('float32', 'float64')
    """
    dtype = np.dtype(given)
    name = _graph_dtype(dtype)
    if name is None:
        raise UnsupportedOperator(
            f"arrays of dtype {dtype} cannot be traced",
            where=user_line(),
            remedy="use booleans, integers, float16/32/64 or complex64/128",
        )
    return name


@functools.lru_cache(maxsize=32)
def numpy_dtype(name: str) -> np.dtype:
    """The NumPy dtype of a graph's; bfloat16 only where ``ml_dtypes`` provides it.

    >>> numpy_dtype("complex64")
    dtype('complex64')
    """
    if name == "bfloat16":
        try:
            return Array(name, (0,), np.empty(0, "<u2")).to_numpy().dtype
        except InvalidArray as error:
            raise UnsupportedOperator(
                error.detail, where=user_line(), remedy="use float32, or install ml_dtypes"
            ) from None
    return look_up_dtype(name).storage.newbyteorder("=")


def is_inexact(dtype: np.dtype) -> bool:
    """Whether it is floating or complex; ml_dtypes' bfloat16 has a kind of its own."""
    return dtype.kind in "fcV"


@functools.lru_cache(maxsize=1024)
def result_of(function: Callable[..., Any], *dtypes: np.dtype) -> np.dtype:
    """The dtype that a NumPy function gives for arrays of these: found by calling it on tiny ones.

    >>> result_of(np.mean, np.dtype("int8")), result_of(np.sum, np.dtype(bool))
    (dtype('float64'), dtype('int64'))
    """
    with np.errstate(all="ignore"):
        return np.asarray(function(*(np.ones(1, dtype) for dtype in dtypes))).dtype
