"""The dtypes that farfunc carries, by torch's own names, in one table.

Every other fact about a dtype (its NumPy equivalent, its code in a safetensors file, its
place in torch's type promotion) is a column of :data:`DTYPES`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InvalidArray
from .strict_json import shown

__all__ = ["DTYPES", "DType", "dtype", "from_numpy_dtype", "promote_types"]


@dataclass(frozen=True, slots=True)
class DType:
    """One dtype.

    Attributes
    ----------
    name:
        torch's name, ``float64``.
    category:
        ``bool``, ``integral``, ``floating`` or ``complex``: the order of torch's promotion.
    itemsize:
        Bytes of one element.
    storage:
        The little-endian NumPy dtype that holds its bytes. NumPy has no bfloat16: there the
        bytes are held as ``uint16``.
    safetensors:
        The code in a safetensors header; complex128, which has none, is stored as pairs of
        ``F64`` with a mark in the metadata.
    """

    name: str
    category: str
    itemsize: int
    storage: np.dtype
    safetensors: str

    def __str__(self) -> str:
        return self.name

    @property
    def is_differentiable(self) -> bool:
        """Whether derivatives with respect to arrays of this dtype exist."""
        return self.category in ("floating", "complex")


_ROWS = [
    DType("bool", "bool", 1, np.dtype("?"), "BOOL"),
    DType("uint8", "integral", 1, np.dtype("u1"), "U8"),
    DType("int8", "integral", 1, np.dtype("i1"), "I8"),
    DType("uint16", "integral", 2, np.dtype("<u2"), "U16"),
    DType("int16", "integral", 2, np.dtype("<i2"), "I16"),
    DType("uint32", "integral", 4, np.dtype("<u4"), "U32"),
    DType("int32", "integral", 4, np.dtype("<i4"), "I32"),
    DType("uint64", "integral", 8, np.dtype("<u8"), "U64"),
    DType("int64", "integral", 8, np.dtype("<i8"), "I64"),
    DType("bfloat16", "floating", 2, np.dtype("<u2"), "BF16"),
    DType("float16", "floating", 2, np.dtype("<f2"), "F16"),
    DType("float32", "floating", 4, np.dtype("<f4"), "F32"),
    DType("float64", "floating", 8, np.dtype("<f8"), "F64"),
    DType("complex64", "complex", 8, np.dtype("<c8"), "C64"),
    DType("complex128", "complex", 16, np.dtype("<c16"), "F64"),
]

DTYPES: dict[str, DType] = {row.name: row for row in _ROWS}

_FROM_NUMPY = {row.storage.newbyteorder("="): row for row in _ROWS if row.name != "bfloat16"}
_UNPROMOTED = ("uint16", "uint32", "uint64")  # torch promotes these with floating dtypes only
_CATEGORIES = ("bool", "integral", "floating", "complex")


def dtype(name: str, *, where: str | None = None) -> DType:
    """Look up a dtype by its name.

    >>> dtype("float64").itemsize
    8
    """
    try:
        return DTYPES[name]
    except (KeyError, TypeError):
        raise InvalidArray(
            f"{shown(name)} is not a dtype of farfunc", where=where, remedy=f"use one of {', '.join(DTYPES)}"
        ) from None


def from_numpy_dtype(given: np.dtype, *, where: str | None = None) -> DType:
    """The dtype of a NumPy array; either byte order, and ``ml_dtypes.bfloat16``.

    >>> from_numpy_dtype(np.dtype(">f4")).name
    'float32'
    """
    found = _FROM_NUMPY.get(given) or _FROM_NUMPY.get(given.newbyteorder("="))
    if found is not None:
        return found
    if given.name == "bfloat16":
        return DTYPES["bfloat16"]
    raise InvalidArray(
        f"a NumPy array of dtype {given} cannot be sent",
        where=where,
        remedy=f"convert it to one of {', '.join(DTYPES)}",
    )


def promote_types(left: str, right: str) -> str:
    """torch.promote_types, without torch.

    >>> promote_types("int64", "float32"), promote_types("float16", "bfloat16")
    ('float32', 'float32')
    """
    if left == right:
        return left
    a, b = dtype(left), dtype(right)
    if _CATEGORIES.index(a.category) > _CATEGORIES.index(b.category):
        a, b = b, a
    if a.name in _UNPROMOTED or b.name in _UNPROMOTED:
        if b.category == "floating":
            return b.name
        raise InvalidArray(f"{a} and {b} have no common dtype", remedy="convert one of them first")
    if b.category == "complex":
        return "complex128" if "complex128" in (left, right) or a.name == "float64" else b.name
    if a.category != b.category:
        return b.name
    if {left, right} == {"float16", "bfloat16"}:
        return "float32"
    if {left, right} == {"uint8", "int8"}:
        return "int16"
    wider, narrower = (a, b) if a.itemsize > b.itemsize else (b, a)
    return wider.name if wider.itemsize > narrower.itemsize else left
