"""``np.emath``: functions that leave the real numbers where they must.

Whether they must depends on values, so that the results are always complex.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._operands import as_array
from .._registry import implements
from .._shaping import astype


def _complex(x: Any) -> Any:
    x = as_array(x)
    return x if x.dtype.kind == "c" else astype(x, np.result_type(x.dtype, np.complex64))


def _register(function: Callable[..., Any], ufunc: np.ufunc) -> None:
    implements(function)(lambda x: ufunc(_complex(x)))


for _function, _ufunc in (
    (np.emath.sqrt, np.sqrt),
    (np.emath.log, np.log),
    (np.emath.log2, np.log2),
    (np.emath.log10, np.log10),
    (np.emath.arccos, np.arccos),
    (np.emath.arcsin, np.arcsin),
    (np.emath.arctanh, np.arctanh),
):
    _register(_function, _ufunc)


@implements(np.emath.power)
def _power(x: Any, p: Any) -> Any:
    return np.power(_complex(x), p)


@implements(np.emath.logn)
def _logn(n: Any, x: Any) -> Any:
    return np.log(_complex(x)) / np.log(_complex(n))
