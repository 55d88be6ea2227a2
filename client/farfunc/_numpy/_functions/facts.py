"""What NumPy asks of an array that needs no value: dtypes and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._operands import as_array
from .._registry import implements
from .._tracer import Tracer


def _without_tracers(items: Any) -> list[Any]:
    return [item.dtype if isinstance(item, Tracer) else item for item in items]


@implements(np.result_type, view=True)
def _result_type(*arrays_and_dtypes: Any) -> np.dtype:
    return np.result_type(*_without_tracers(arrays_and_dtypes))


@implements(np.can_cast, view=True)
def _can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    return np.can_cast(*_without_tracers((from_, to)), casting)  # type: ignore[call-overload]


@implements(np.min_scalar_type, view=True)
def _min_scalar_type(a: Any) -> np.dtype:
    return a.dtype


@implements(np.common_type, view=True)
def _common_type(*arrays: Any) -> Any:
    return np.common_type(*(np.empty(0, as_array(array).dtype) for array in arrays))


@implements(np.iscomplexobj, view=True)
def _iscomplexobj(x: Any) -> bool:
    return x.dtype.kind == "c"


@implements(np.isrealobj, view=True)
def _isrealobj(x: Any) -> bool:
    return x.dtype.kind != "c"


@implements(np.array_repr, np.array_str, view=True)
def _array_repr(arr: Any, max_line_width: Any = None, precision: Any = None, suppress_small: Any = None) -> str:
    return repr(arr)


@implements(np.real_if_close)
def _real_if_close(a: Any, tol: float = 100) -> Any:
    # Whether the imaginary parts vanish is not known: complex stays complex.
    return as_array(a)


@implements(np.tril_indices_from, view=True)
def _tril_indices_from(arr: Any, k: int = 0) -> Any:
    return np.tril_indices(arr.shape[-2], k=k, m=arr.shape[-1])


@implements(np.triu_indices_from, view=True)
def _triu_indices_from(arr: Any, k: int = 0) -> Any:
    return np.triu_indices(arr.shape[-2], k=k, m=arr.shape[-1])


@implements(np.diag_indices_from, view=True)
def _diag_indices_from(arr: Any) -> Any:
    return np.diag_indices(arr.shape[0], arr.ndim)


@implements(np.may_share_memory, np.shares_memory, view=True)
def _may_share_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    return isinstance(a, Tracer) and isinstance(b, Tracer) and a._place.storage is b._place.storage
