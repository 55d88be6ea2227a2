"""One dense array, in the form in which it travels."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bfloat16 import bfloat16_to_float32, float_to_bfloat16
from .dtypes import DType, from_numpy_dtype
from .dtypes import dtype as look_up_dtype
from .errors import InvalidArray
from .limits import Limits
from .strict_json import shown
from .tensor_type import TensorType

__all__ = ["Array", "read_shape"]

_MAX_NBYTES = 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A dense array of one of farfunc's dtypes.

    Equal arrays have the same dtype, shape and bits: NaN equals NaN of the same payload, and
    ``-0.0`` differs from ``0.0``.

    Attributes
    ----------
    dtype:
        torch's name, ``float64``.
    shape:
        The length of each axis.
    data:
        The elements: C-contiguous, little-endian, of the dtype's ``storage`` dtype (bfloat16 as
        ``uint16``). It may be a read-only view of bytes that were received.

    >>> x = Array.from_numpy(np.arange(6.0).reshape(2, 3).T)
    >>> print(x.type, x.nbytes)
    float64[3,2] 48
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray

    def __post_init__(self) -> None:
        storage = look_up_dtype(self.dtype).storage
        data = self.data
        if type(data) is not np.ndarray or data.dtype != storage or not data.flags.c_contiguous:
            raise InvalidArray(
                f"the data of a {self.dtype} array must be a C-contiguous ndarray of dtype {storage.str}",
                remedy="use Array.from_numpy",
            )
        if data.shape != self.shape:
            raise InvalidArray(f"the shape is {self.shape}, that of the data {data.shape}")

    @classmethod
    def from_numpy(cls, value: Any, dtype: str | None = None, *, where: str | None = None) -> Array:
        """Take an ndarray, a scalar of NumPy or Python, or nested lists of them.

        The data is copied only where it must be: when it is not contiguous, not little-endian,
        or converted. Python's numbers become int64, float64 and complex128.

        Parameters
        ----------
        value:
            The array. ``ml_dtypes.bfloat16`` is understood.
        dtype:
            Convert to this dtype, rounding to the nearest. Conversions that lose more than
            precision (a float to an integer, a complex to a real number, an integer out of
            range) are refused. To give the bits of a bfloat16 array use the constructor.
        where:
            The place to name in an error.

        >>> Array.from_numpy(2.5).type
        TensorType(dtype='float64', shape=())
        >>> Array.from_numpy([1, 2], dtype="float16").data
        array([1., 2.], dtype=float16)
        """
        if type(value) is np.ndarray and dtype is None and value.flags.c_contiguous:
            found = from_numpy_dtype(value.dtype, where=where)
            if found.storage == value.dtype and found.category != "bool":  # as most are
                return cls(found.name, value.shape, value)
        data = _as_ndarray(value, where)
        found = from_numpy_dtype(data.dtype, where=where)
        # asarray and not ascontiguousarray, which would give a 0-d array an axis.
        if found.name == "bfloat16":
            data = np.asarray(data, order="C").view(np.uint16)
        data = np.asarray(data, found.storage, order="C")
        if found.name == "bool" and data.size and data.view(np.uint8).max() > 1:
            data = data.view(np.uint8) != 0  # the bytes of a foreign buffer: torch needs 0 or 1
        array = cls(found.name, data.shape, data)
        return array if dtype is None or dtype == found.name else _convert(array, dtype, where)

    @classmethod
    def from_buffer(
        cls, buffer: bytes | memoryview, dtype: DType, shape: tuple[int, ...], *, where: str | None = None
    ) -> Array:
        """Take little-endian bytes, of which the array is a view; unaligned ones are copied.

        >>> from farfunc_protocol.dtypes import DTYPES
        >>> Array.from_buffer(bytes(range(4)), DTYPES["int16"], (2,)).data
        array([256, 770], dtype=int16)
        """
        expected = math.prod(shape) * dtype.itemsize
        if len(buffer) != expected:
            raise InvalidArray(
                f"{TensorType(dtype.name, shape)} takes {expected} bytes, {len(buffer)} are given", where=where
            )
        if not expected:  # NumPy makes no array of an empty buffer
            return cls(dtype.name, shape, np.empty(shape, dtype.storage))
        data = np.frombuffer(buffer, dtype.storage).reshape(shape)
        if dtype.name == "bool" and data.view(np.uint8).max() > 1:
            raise InvalidArray("a boolean is a byte of 0 or 1, and another is there", where=where)
        return cls(dtype.name, shape, data if data.flags.aligned else data.copy())

    def to_numpy(self) -> np.ndarray:
        """The array as NumPy knows it, sharing memory with :attr:`data`.

        Raises :class:`InvalidArray` for bfloat16 where the package ``ml_dtypes`` is not
        installed; :func:`farfunc_protocol.bfloat16.bfloat16_to_float32` reads ``data`` without it.

        >>> Array.from_numpy(np.ones(2, ">f4")).to_numpy()
        array([1., 1.], dtype=float32)
        """
        if self.dtype == "bfloat16":
            try:
                import ml_dtypes  # pyright: ignore[reportMissingImports]
            except ImportError:
                raise InvalidArray(
                    "NumPy has no bfloat16", remedy="install ml_dtypes, or have the result computed in float32"
                ) from None
            return self.data.astype(np.uint16, copy=False).view(ml_dtypes.bfloat16)
        if sys.byteorder == "little":
            return self.data
        return self.data.astype(self.data.dtype.newbyteorder("="))

    @property
    def nbytes(self) -> int:
        """Bytes of all the elements."""
        return self.data.nbytes

    @property
    def type(self) -> TensorType:
        """The dtype and shape."""
        return TensorType(self.dtype, self.shape)

    @property
    def buffer(self) -> memoryview:
        r"""The elements as flat bytes, without a copy.

        >>> bytes(Array.from_numpy(np.int16(258)).buffer)
        b'\x02\x01'
        """
        return self.data.reshape(-1).view(np.uint8).data

    def same_bits(self, other: Array) -> bool:
        """Whether dtype, shape and every bit are the same.

        >>> Array.from_numpy(0.0).same_bits(Array.from_numpy(-0.0))
        False
        """
        return (
            self.dtype == other.dtype
            and self.shape == other.shape
            and np.array_equal(self.data.reshape(-1).view(np.uint8), other.data.reshape(-1).view(np.uint8))
        )

    def __eq__(self, other: object) -> bool:
        return self.same_bits(other) if isinstance(other, Array) else NotImplemented

    def __hash__(self) -> int:
        # The elements are left out: data may be a view of memory that its owner still writes to.
        return hash((self.dtype, self.shape))


def read_shape(document: Any, dtype: DType, *, limits: Limits, where: str) -> tuple[int, ...]:
    """A shape out of a JSON document, of an array that this machine can address.

    >>> from farfunc_protocol.dtypes import DTYPES
    >>> from farfunc_protocol.limits import DEFAULT_LIMITS
    >>> read_shape([2, 3], DTYPES["float64"], limits=DEFAULT_LIMITS, where="shape")
    (2, 3)
    """
    if not isinstance(document, list):
        raise InvalidArray(f"a shape is a list, not {shown(document)}", where=where)
    limits.check("rank", len(document), where)
    for axis, length in enumerate(document):
        if type(length) is not int or not 0 <= length <= _MAX_NBYTES:
            raise InvalidArray(
                f"a length is an integer from 0 to 2**63-1, not {shown(length)}", where=f"{where}[{axis}]"
            )
    # NumPy measures an empty array, too, without its zeros.
    if math.prod(length for length in document if length) * dtype.itemsize > _MAX_NBYTES:
        raise InvalidArray("the array has more bytes than an address can count", where=where)
    limits.check("elements", math.prod(document), where)
    return tuple(document)


def _as_ndarray(value: Any, where: str | None) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidArray(
            "a masked array cannot be sent: its mask would be lost",
            where=where,
            remedy="send x.filled(value), or x.data and x.mask as two arrays",
        )
    if isinstance(value, np.ndarray | np.generic | bool | int | float | complex | list | tuple):
        try:
            data = np.asarray(value)
        except ValueError as error:  # lists of different lengths
            raise InvalidArray(f"the lists make no array: {error}", where=where) from None
        if data.dtype == object and isinstance(value, int):
            raise InvalidArray(
                f"an integer of {value.bit_length()} bits is given",
                where=where,
                remedy="use at most 64 bits, or a float",
            )
        return data
    raise InvalidArray(
        f"{type(value).__qualname__} is not a NumPy array or number",
        where=where,
        remedy="convert it first, with np.asarray(x)",
    )


def _convert(array: Array, name: str, where: str | None) -> Array:
    """Another dtype, where no more than precision is lost."""
    source, target = look_up_dtype(array.dtype), look_up_dtype(name, where=where)
    order = ("bool", "integral", "floating", "complex")
    if array.data.size and order.index(source.category) > order.index(target.category):
        raise InvalidArray(
            f"{source} does not convert to {target} without loss",
            where=where,
            remedy=f"give {target}, or round, compare or split the array yourself",
        )
    data = array.data
    if target.category == "integral" and data.size:
        bounds, smallest, largest = np.iinfo(target.storage), int(data.min()), int(data.max())
        if smallest < bounds.min or largest > bounds.max:
            worst = smallest if smallest < bounds.min else largest
            raise InvalidArray(
                f"{worst} does not fit {target}",
                where=where,
                remedy=f"use {bounds.min} to {bounds.max}, or a wider dtype",
            )
    if source.name == "bfloat16":
        data = bfloat16_to_float32(data)
    if target.name == "bfloat16":
        return Array(name, array.shape, float_to_bfloat16(data))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # beyond the range is infinite, as in torch
        return Array(name, array.shape, data.astype(target.storage))
