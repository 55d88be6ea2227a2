"""The JSON forms of an array, for curl and for programs without a safetensors library.

::

    array  = numbers                                        the dtype follows from the context
           | {"dtype": name, "data": numbers}
           | {"dtype": name, "shape": [n, ...], "data": numbers}
           | {"dtype": name, "shape": [n, ...], "base64": text}     little-endian, row-major
    numbers = number | true | false | "NaN" | "Infinity" | "-Infinity" | [numbers, ...]

A complex number is a pair ``[re, im]``: there the last axis of ``numbers`` has length 2 and is no
axis of the array. An empty array needs its shape wherever ``numbers`` does not show it.

Base64 keeps every bit. So do the numbers, but for a NaN, whose sign and payload are lost. A
number without a point is exact in an integer dtype and a number like any other in a floating one
(so a writer that prints ``-0.0`` as ``-0`` loses the sign). Numbers with a point are read as
float64, to the nearest, and then rounded once to the nearest of a smaller dtype, ties to even;
one that would become infinite is refused.
"""

from __future__ import annotations

import binascii
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import Array, read_shape
from .bfloat16 import bfloat16_to_float32, float_to_bfloat16
from .dtypes import DTYPES, DType, dtype
from .errors import InvalidArray, LimitExceeded
from .limits import DEFAULT_LIMITS, Limits
from .strict_json import shown
from .tensor_type import TensorType

__all__ = ["from_json", "to_base64", "to_lists"]

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NUMBERS = {int, float, str}
_ELEMENTS = {"bool": {bool}, "integral": {int}, "floating": _NUMBERS, "complex": _NUMBERS}
_NAMES = {"bool": "true or false", "integral": "an integer", "floating": "a number", "complex": "a number"}


def to_base64(array: Array) -> dict[str, Any]:
    """The array with its bytes in base64: compact, exact, opaque to the eye.

    >>> to_base64(Array.from_numpy([1.0]))
    {'dtype': 'float64', 'shape': [1], 'base64': 'AAAAAAAA8D8='}
    """
    text = binascii.b2a_base64(array.buffer, newline=False).decode("ascii")
    return {"dtype": array.dtype, "shape": list(array.shape), "base64": text}


def to_lists(array: Array) -> dict[str, Any]:
    """The array as nested lists of numbers; an empty one carries its shape.

    >>> to_lists(Array.from_numpy([[1.5, np.nan]]))
    {'dtype': 'float64', 'data': [[1.5, 'NaN']]}
    >>> to_lists(Array.from_numpy(1 + 2j))
    {'dtype': 'complex128', 'data': [1.0, 2.0]}
    """
    if not array.data.size:
        return {"dtype": array.dtype, "shape": list(array.shape), "data": []}
    row, data = DTYPES[array.dtype], array.data
    if row.name == "bfloat16":
        data = bfloat16_to_float32(data)
    if row.category == "complex":
        data = data.reshape((*array.shape, 1)).view(f"<f{row.itemsize // 2}")
    if row.is_differentiable and not np.isfinite(data).all():
        names = data.astype(object)
        names[np.isnan(data)] = "NaN"
        names[np.isposinf(data)] = "Infinity"
        names[np.isneginf(data)] = "-Infinity"
        return {"dtype": array.dtype, "data": names.tolist()}
    return {"dtype": array.dtype, "data": data.tolist()}


def from_json(
    document: Any, *, expected: TensorType | None = None, where: str = "array", limits: Limits = DEFAULT_LIMITS
) -> Array:
    """Read an array in any of its JSON forms.

    Parameters
    ----------
    expected:
        Gives bare numbers their dtype, and a bare empty list its further axes. Without it bare
        numbers are bool, int64 or float64, as they look. Whether an array that names its dtype
        is the expected one is for the caller to check.
    where:
        The path of the document, with which the path of a fault begins.

    Raises :class:`InvalidArray` with the path of the offending element, or
    :class:`LimitExceeded`.

    >>> from_json([[1, 2], [3, 4]], expected=TensorType("float32", (2, 2))).type
    TensorType(dtype='float32', shape=(2, 2))
    >>> from_json({"dtype": "int64", "data": [[1, 2], [3, 4.5]]}, where="args[0]")
    Traceback (most recent call last):
    ...
    farfunc_protocol.errors.InvalidArray: an element of int64 is an integer, not 4.5
      where: args[0].data[1][1]
    """
    if not isinstance(document, dict):
        row = None if expected is None else dtype(expected.dtype, where=where)
        return _from_numbers(document, row, None, expected, where, limits)
    members = set(document)
    if not members <= {"dtype", "shape", "data", "base64"} or len(members & {"data", "base64"}) != 1:
        raise InvalidArray(
            f"an array is an object with dtype, shape, and either data or base64, not with {shown(list(document))}",
            where=where,
        )
    if "dtype" not in document:
        raise InvalidArray("the dtype is missing", where=where, remedy=f"use one of {', '.join(DTYPES)}")
    row = dtype(document["dtype"], where=f"{where}.dtype")
    shape = None
    if "shape" in document:
        shape = read_shape(document["shape"], row, limits=limits, where=f"{where}.shape")
    if "data" in document:
        return _from_numbers(document["data"], row, shape, None, f"{where}.data", limits)
    if shape is None:
        raise InvalidArray("the shape is missing", where=where, remedy='add "shape": [n, ...] beside base64')
    return _from_base64(document["base64"], row, shape, f"{where}.base64")


def _from_base64(text: Any, row: DType, shape: tuple[int, ...], where: str) -> Array:
    if not isinstance(text, str):
        raise InvalidArray(f"base64 is a string, not {shown(text)}", where=where)
    nbytes = math.prod(shape) * row.itemsize
    if len(text) != 4 * -(-nbytes // 3):  # before anything is allocated
        raise InvalidArray(
            f"{TensorType(row.name, shape)} takes {nbytes} bytes, hence {4 * -(-nbytes // 3)} characters of base64, "
            f"{len(text)} are given",
            where=where,
        )
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise InvalidArray(
            f"the text is not base64: {error}", where=where, remedy="use the alphabet with + and /, padded with ="
        ) from None
    return Array.from_buffer(content, row, shape, where=where)


def _from_numbers(
    numbers: Any,
    row: DType | None,
    shape: tuple[int, ...] | None,
    expected: TensorType | None,
    where: str,
    limits: Limits,
) -> Array:
    found, elements = _flatten(numbers, where, limits.rank + 1)
    if row is None:
        row = _infer(found, elements, where)
    if not elements:
        return _empty(found, row, shape, expected, where, limits)
    values = _values(found, elements, row, where)
    if row.category == "complex":
        if not found or found[-1] != 2:
            raise InvalidArray(
                f"a complex number is a pair [re, im], and the last axis has {found[-1] if found else 'no'} entries",
                where=where,
            )
        found = found[:-1]
        values = values.view(row.storage)
    limits.check("rank", len(found), where)
    limits.check("elements", math.prod(found), where)
    if shape is not None and shape != found:
        raise InvalidArray(f"the shape is {list(shape)}, that of the data {list(found)}", where=where)
    return Array(row.name, found, values.reshape(found))


def _flatten(numbers: Any, where: str, max_depth: int) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of nested lists, and their elements in order: axis by axis, without recursion."""
    shape: list[int] = []
    level = [numbers]
    while level and isinstance(level[0], list):
        if len(shape) == max_depth:
            raise LimitExceeded(f"lists nested more than {max_depth} deep", where=where, remedy="use fewer axes")
        length = len(level[0])
        if set(map(type, level)) != {list} or set(map(len, level)) != {length}:
            index = next(i for i, item in enumerate(level) if not isinstance(item, list) or len(item) != length)
            given = f"a list of {len(level[index])}" if isinstance(level[index], list) else shown(level[index])
            raise InvalidArray(
                f"the lists are ragged: {given} stands where its neighbours are lists of {length}",
                where=_path(where, shape, index),
            )
        level = list(itertools.chain.from_iterable(level))
        shape.append(length)
    return tuple(shape), level


def _infer(shape: Sequence[int], elements: list[Any], where: str) -> DType:
    kinds = set(map(type, elements))
    if kinds and kinds <= {bool}:
        return DTYPES["bool"]
    if kinds and kinds <= {int}:
        return DTYPES["int64"]
    _check_each(elements, lambda item: type(item) in _NUMBERS, shape, where, "an element is a number, not")
    return DTYPES["float64"]


def _values(shape: Sequence[int], elements: list[Any], row: DType, where: str) -> np.ndarray:
    """The elements as a flat array of the dtype; for a complex one of the dtype of its parts."""
    kinds = set(map(type, elements))
    allowed = _ELEMENTS[row.category]
    says = f"an element of {row} is {_NAMES[row.category]}, not"
    if not kinds <= allowed:
        _check_each(elements, lambda item: type(item) in allowed, shape, where, says)
    if row.category == "bool":
        return np.array(elements, row.storage)
    if row.category == "integral":
        bounds = np.iinfo(row.storage)
        low, high = int(bounds.min), int(bounds.max)
        if min(elements) < low or max(elements) > high:
            says = f"an element of {row} is an integer from {low} to {high}, not"
            _check_each(elements, lambda item: low <= item <= high, shape, where, says)
        return np.array(elements, row.storage)
    if float in kinds and not all(map(math.isfinite, (item for item in elements if type(item) is float))):
        # A parser makes Infinity of 1e999, and NaN of a token that is no JSON.
        says = 'a number is finite (write "NaN", "Infinity" or "-Infinity" as strings), not'
        _check_each(elements, lambda item: type(item) is not float or math.isfinite(item), shape, where, says)
    if str in kinds:
        says = 'an element is a number, "NaN", "Infinity" or "-Infinity", not'
        _check_each(elements, lambda item: type(item) is not str or item in _SPECIAL, shape, where, says)
        elements = [_SPECIAL[item] if type(item) is str else item for item in elements]
    return _round(elements, row, shape, where)


def _round(elements: list[Any], row: DType, shape: Sequence[int], where: str) -> np.ndarray:
    too_large = f"a finite element of {row} is within its range, not"
    try:
        exact = np.array(elements, np.float64)
    except OverflowError:  # an integer beyond 1.8e308
        _check_each(elements, _fits_float64, shape, where, too_large)
        raise
    if row.name == "bfloat16":
        rounded = float_to_bfloat16(exact)
        infinite = np.isinf(bfloat16_to_float32(rounded))
    else:
        width = row.itemsize // 2 if row.category == "complex" else row.itemsize
        with np.errstate(over="ignore", under="ignore"):
            rounded = exact.astype(f"<f{width}")
        infinite = np.isinf(rounded)
    overflowed = infinite & np.isfinite(exact)
    if overflowed.any():
        index = int(overflowed.argmax())
        raise InvalidArray(f"{too_large} {shown(elements[index])}", where=_path(where, shape, index))
    return rounded


def _fits_float64(item: int | float) -> bool:
    try:
        float(item)
    except OverflowError:
        return False
    return True


def _empty(
    found: tuple[int, ...],
    row: DType,
    shape: tuple[int, ...] | None,
    expected: TensorType | None,
    where: str,
    limits: Limits,
) -> Array:
    """An array without elements, whose lists may show only its first axes."""
    if shape is None and expected is not None:
        first, rest = expected.shape[: len(found)], expected.shape[len(found) :]
        may_be = len(first) == len(found) and all(
            isinstance(want, str) or want == have for want, have in zip(first, found, strict=True)
        )
        if may_be and all(isinstance(length, int) for length in rest):
            found = (*found, *(length for length in rest if isinstance(length, int)))
    if shape is not None:
        if math.prod(shape) or (found != (0,) and found != shape[: len(found)]):
            raise InvalidArray(f"the shape is {list(shape)}, that of the data {list(found)}", where=where)
        found = shape
    checked = read_shape(list(found), row, limits=limits, where=where)
    return Array.from_buffer(b"", row, checked, where=where)


def _check_each(
    elements: list[Any], is_right: Callable[[Any], bool], shape: Sequence[int], where: str, says: str
) -> None:
    for index, item in enumerate(elements):
        if not is_right(item):
            raise InvalidArray(f"{says} {shown(item)}", where=_path(where, shape, index))


def _path(where: str, shape: Sequence[int], index: int) -> str:
    """The path of the element at a flat index of an array of this shape."""
    steps = []
    for length in reversed(shape):
        index, step = divmod(index, length)
        steps.append(f"[{step}]")
    return where + "".join(reversed(steps))
