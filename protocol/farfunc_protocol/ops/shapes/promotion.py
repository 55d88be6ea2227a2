"""torch's type promotion: which dtype the result of a mixed operation has.

Operands come in three ranks (torch's documentation, "Type Promotion"): tensors with axes, tensors
without, and Python numbers. A lower rank matters only where its category (bool, integral,
floating, complex) is higher than that of the ranks above it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...dtypes import DTYPES, promote_types
from ...errors import InvalidArray
from ...graph import TensorType
from ..call import Call

__all__ = [
    "DEFAULT_DTYPE",
    "category",
    "complex_of",
    "floating",
    "is_complex",
    "real_of",
    "result_type",
    "scalar_dtype",
]

DEFAULT_DTYPE = "float32"
"""torch's default dtype: part of the meaning of a graph, the same on every server."""

_COMPLEX = {"float32": "complex64", "bfloat16": "complex64", "float64": "complex128"}
_REAL = {"complex64": "float32", "complex128": "float64"}


def category(dtype: str) -> str:
    """``bool``, ``integral``, ``floating`` or ``complex``."""
    return DTYPES[dtype].category


def is_complex(dtype: str) -> bool:
    """Whether the dtype is a complex one."""
    return DTYPES[dtype].category == "complex"


def real_of(dtype: str) -> str:
    """The dtype of the real part.

    >>> real_of("complex64"), real_of("int32")
    ('float32', 'int32')
    """
    return _REAL.get(dtype, dtype)


def complex_of(call: Call, dtype: str) -> str:
    """The complex dtype with components of this floating dtype."""
    if is_complex(dtype):
        return dtype
    if dtype not in _COMPLEX:
        call.refuse(f"there is no complex dtype with components of {dtype}", remedy="convert to float32 or float64")
    return _COMPLEX[dtype]


def floating(dtype: str) -> str:
    """The dtype in which sin, div and mean compute: integers and booleans become the default."""
    return dtype if DTYPES[dtype].is_differentiable else DEFAULT_DTYPE


def scalar_dtype(value: bool | int | float | complex) -> str:
    """The dtype of a Python number.

    >>> scalar_dtype(2), scalar_dtype(2.5)
    ('int64', 'float32')
    """
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    return "complex64" if isinstance(value, complex) else DEFAULT_DTYPE


def result_type(call: Call, operands: Iterable[TensorType | bool | int | float | complex]) -> str:
    """torch.result_type, for any number of operands."""
    with_axes = without_axes = numbers = None
    for operand in operands:
        if not isinstance(operand, TensorType):
            numbers = _promote(call, numbers, scalar_dtype(operand))
        elif operand.shape:
            with_axes = _promote(call, with_axes, operand.dtype)
        else:
            without_axes = _promote(call, without_axes, operand.dtype)
    dtype = _combine(call, with_axes, _combine(call, without_axes, numbers))
    if dtype is None:
        call.refuse("it has no operands")
    return dtype


def _promote(call: Call, left: str | None, right: str) -> str:
    if left is None:
        return right
    try:
        return promote_types(left, right)
    except InvalidArray as error:
        call.refuse(error.detail, remedy=error.remedy)


def _combine(call: Call, higher: str | None, lower: str | None) -> str | None:
    """c10's ``combine_categories`` (aten/src/ATen/native/TypeProperties.cpp)."""
    if higher is None or lower is None:
        return higher or lower
    above, below = category(higher), category(lower)
    if above == "complex":
        return higher
    if above == "floating":
        return complex_of(call, higher) if below == "complex" else higher
    if above == "bool" or below in ("floating", "complex"):
        return lower
    return higher
