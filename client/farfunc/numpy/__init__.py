"""NumPy's namespace, for functions that are differentiated.

``import numpy as np`` works as it stands inside a function that is traced. This module is the same
namespace, for what NumPy cannot dispatch on its own where the names were bound before
(``from numpy import zeros``): ``from farfunc.numpy import zeros, array`` creates arrays that can
hold traced values. It is the namespace of the array API standard for traced arrays, too. Outside
of a trace every function is NumPy's own.

>>> import numpy, farfunc.numpy as fnp
>>> fnp.array([[1.0, 2.0]]).sum(), fnp.sin is numpy.sin
(np.float64(3.0), True)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as _np
from numpy import *  # noqa: F403 # pyright: ignore[reportWildcardImportFromLibrary]
from numpy import __all__ as __all__
from numpy import __array_api_version__ as __array_api_version__

from .._numpy._creation import CREATED
from .._numpy._current import is_tracing
from .._numpy._registry import method
from . import fft as fft
from . import linalg as linalg


def _either(original: Callable[..., Any]) -> Callable[..., Any]:
    ours = CREATED[original]

    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs) if is_tracing() else original(*args, **kwargs)

    return create


array = _either(_np.array)
asarray = _either(_np.asarray)
asanyarray = _either(_np.asanyarray)
ascontiguousarray = _either(_np.ascontiguousarray)
asfortranarray = _either(_np.asfortranarray)
copy = _either(_np.copy)
zeros = _either(_np.zeros)  # type: ignore[misc]
ones = _either(_np.ones)  # type: ignore[misc]
empty = _either(_np.empty)  # type: ignore[misc]
full = _either(_np.full)
eye = _either(_np.eye)
identity = _either(_np.identity)
tri = _either(_np.tri)
arange = _either(_np.arange)
linspace = _either(_np.linspace)
logspace = _either(_np.logspace)
geomspace = _either(_np.geomspace)
indices = _either(_np.indices)
fromfunction = _either(_np.fromfunction)
zeros_like = _either(_np.zeros_like)
ones_like = _either(_np.ones_like)
empty_like = _either(_np.empty_like)
full_like = _either(_np.full_like)


@method("__array_namespace__")
def _namespace(tracer: Any) -> Any:
    import farfunc.numpy  # this very module

    return farfunc.numpy
