"""The safetensors format: named arrays and text, in one file that no decoder has to execute.

::

    8 bytes    n, the length of the header: unsigned, little-endian
    n bytes    JSON: {"name": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}, ...,
                      "__metadata__": {"key": "value", ...}}, padded with spaces
    the rest   the tensors' bytes, little-endian and row-major, without holes

The format is that of https://github.com/huggingface/safetensors (the files of either library are
read by the other). Ours are canonical, so that equal content gives equal bytes:

- tensors lie in the order of falling element size, then of their names, so each is aligned;
- the header is canonical JSON (sorted keys, no spaces, ASCII), padded to a multiple of 8 bytes;
- a complex128 tensor, for which the format has no code, lies there as F64 with a last axis of 2,
  and the metadata's ``farfunc.complex128`` holds a JSON list of the names of all such tensors.

What is read may come from any writer, and is checked like the Rust library does it. Where that
library is lenient this one is not: names that occur twice, unknown members of a tensor's entry,
white space before the header's first brace, and boolean bytes other than 0 and 1 are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .arrays import Array, read_shape
from .dtypes import DTYPES, DType
from .errors import InvalidArray, LimitExceeded, ProtocolError
from .limits import DEFAULT_LIMITS, Limits
from .strict_json import canonical_json, parse_json, shown
from .tensor_type import TensorType

__all__ = ["COMPLEX128_KEY", "MAX_HEADER_BYTES", "MEDIA_TYPE", "decode", "encode", "encode_bytes", "encode_header"]

MEDIA_TYPE = "application/vnd.safetensors"

COMPLEX128_KEY = "farfunc.complex128"
"""The metadata's mark of the tensors that are pairs of float64."""

MAX_HEADER_BYTES = 100_000_000
"""The Rust library reads no longer header, so none is written."""

_METADATA = "__metadata__"
_KEPT_HEADERS = 256
_LARGEST_KEPT_HEADER = 1 << 14
_BY_CODE: dict[str, DType] = {row.safetensors: row for row in DTYPES.values() if row.name != "complex128"}
_MEMBERS = {"dtype", "shape", "data_offsets"}


def encode(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> list[bytes | memoryview]:
    """Write a file, as a list of buffers: the header, then one view for each tensor, not copied.

    Raises :class:`InvalidArray` or :class:`ProtocolError` for what the format cannot hold.

    >>> header, data = encode({"x": Array.from_numpy([1.5])}, {"by": "me"})
    >>> bytes(header[8:])
    b'{"__metadata__":{"by":"me"},"x":{"data_offsets":[0,8],"dtype":"F64","shape":[1]}}       '
    >>> bytes(data).hex()
    '000000000000f83f'
    """
    for name, array in tensors.items():
        _check_writable(name, array)
    kinds = tuple((name, array.dtype, array.shape) for name, array in tensors.items())
    text, order = _header(kinds, metadata)
    return [text, *(tensors[name].buffer for name in order if tensors[name].nbytes)]


def encode_header(
    types: Mapping[str, TensorType], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """The beginning of a file whose tensors are still to be made: its header, and the order in which they follow.

    >>> header, order = encode_header({"a": TensorType("float32", (2,)), "b": TensorType("float64", (1,))})
    >>> bytes(header[8:60]), order
    (b'{"a":{"data_offsets":[8,16],"dtype":"F32","shape":[2', ('b', 'a'))
    """
    return _header(tuple((name, type.dtype, type.shape) for name, type in types.items()), metadata)


def _header(
    kinds: tuple[tuple[str, str, tuple[Any, ...]], ...], metadata: Mapping[str, str] | None
) -> tuple[bytes, tuple[str, ...]]:
    texts = tuple((metadata or {}).items())
    size = 64 * len(kinds) + sum(len(text) for pair in texts for text in pair if isinstance(text, str))
    return (_header_again if size <= _LARGEST_KEPT_HEADER else _header_of)(kinds, texts)


def _header_of(
    kinds: tuple[tuple[str, str, tuple[int, ...]], ...], metadata: tuple[tuple[str, str], ...]
) -> tuple[bytes, tuple[str, ...]]:
    """The header of a file, length included, and the order of its tensors; calls alike have the same."""
    header: dict[str, Any] = {}
    marked = dict(metadata)
    types = {name: (DTYPES[dtype], shape) for name, dtype, shape in kinds}
    pairs = sorted(name for name, (dtype, _) in types.items() if dtype.name == "complex128")
    _check_metadata(marked, "metadata")
    for key, text in marked.items():
        _check_text(key, "metadata")
        _check_text(text, f"metadata[{shown(key)}]")
    if COMPLEX128_KEY in marked:
        raise ProtocolError(f"the metadata key {COMPLEX128_KEY!r} is reserved", remedy="choose another key")
    if pairs:
        marked[COMPLEX128_KEY] = canonical_json(pairs).decode()
    if marked:
        header[_METADATA] = marked
    order = tuple(sorted(types, key=lambda name: (-types[name][0].itemsize, name)))
    start = 0
    for name in order:
        dtype, shape = types[name]
        end = start + math.prod(shape) * dtype.itemsize
        lengths = [*shape, 2] if dtype.name == "complex128" else list(shape)
        header[name] = {"dtype": dtype.safetensors, "shape": lengths, "data_offsets": [start, end]}
        start = end
    text = canonical_json(header)
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise LimitExceeded(
            f"the header has {len(text):,} bytes, {MAX_HEADER_BYTES:,} are allowed",
            remedy="make the function smaller, or send fewer arrays at once",
        )
    return len(text).to_bytes(8, "little") + text, order


_header_again = lru_cache(_KEPT_HEADERS)(_header_of)


def encode_bytes(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Write a file as one bytes object.

    >>> encode_bytes({})[8:]
    b'{}      '
    """
    return b"".join(encode(tensors, metadata))


def decode(
    buffer: bytes | bytearray | memoryview, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a file: its tensors in the order in which they lie there, and its metadata.

    The arrays are views of ``buffer``, read-only if it is; only data that the writer left
    unaligned is copied.

    Raises :class:`InvalidArray` for a fault of one tensor, :class:`LimitExceeded` before
    anything is allocated, and :class:`ProtocolError` for all others.

    >>> tensors, metadata = decode(encode_bytes({"x": Array.from_numpy([1, 2])}, {"by": "me"}))
    >>> tensors["x"].data, metadata
    (array([1, 2]), {'by': 'me'})
    """
    view = memoryview(buffer)
    if not view.c_contiguous:
        view = memoryview(bytes(view))
    view = view.cast("B")
    header, data = _split(view, limits)
    read = _read_header_again if len(header) <= _LARGEST_KEPT_HEADER else _read_header
    entries, metadata = read(header, len(data), limits)
    tensors = {
        entry.name: Array.from_buffer(data[entry.start : entry.end], entry.dtype, entry.shape, where=entry.where)
        for entry in entries
    }
    return tensors, dict(metadata)


def _split(view: memoryview, limits: Limits) -> tuple[bytes, memoryview]:
    if len(view) < 8:
        raise ProtocolError(
            f"a safetensors file begins with 8 bytes of length, {len(view)} bytes are there", where="header"
        )
    length = int.from_bytes(view[:8], "little")
    # A function's document is one string in the header, where each of its quotes is escaped.
    allowed = min(MAX_HEADER_BYTES, 2 * limits.document_bytes)
    if length > allowed:
        raise LimitExceeded(
            f"the header has {length:,} bytes, {allowed:,} are allowed",
            where="header",
            remedy="check that this is a safetensors file, or ask the server's operator for a higher limit",
        )
    if length > len(view) - 8:
        raise ProtocolError(
            f"the header has {length} bytes, {len(view) - 8} are there", where="header", remedy="send the file whole"
        )
    if length == 0 or view[8] != ord("{"):
        raise ProtocolError(
            "the header does not begin with a brace", where="header", remedy="check that this is a safetensors file"
        )
    return bytes(view[8 : 8 + length]), view[8 + length :]


def _read_header(text: bytes, length: int, limits: Limits) -> tuple[tuple[_Entry, ...], Mapping[str, str]]:
    """The tensors of a file whose data has ``length`` bytes, in their order, and its metadata."""
    header = parse_json(text, where="header")
    metadata = _check_metadata(header.pop(_METADATA, {}), f"header.{_METADATA}")
    limits.check("leaves", len(header), "header")
    marked = _take_mark(metadata)
    if not marked <= set(header):
        raise ProtocolError(
            f"there is no tensor {shown(min(marked - set(header)))}, which is marked as complex128",
            where=f"header.{_METADATA}[{COMPLEX128_KEY!r}]",
        )
    entries = [_Entry.from_json(name, given, is_marked=name in marked, limits=limits) for name, given in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _check_layout(entries, length)
    return tuple(entries), metadata


_read_header_again = lru_cache(_KEPT_HEADERS)(_read_header)
"""Calls alike have the same header: it is read and checked once."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor of the header, checked; its data is not looked at yet."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int
    where: str

    @classmethod
    def from_json(cls, name: str, given: Any, *, is_marked: bool, limits: Limits) -> _Entry:
        where = f"header[{shown(name)}]"
        if not isinstance(given, dict) or set(given) != _MEMBERS:
            raise InvalidArray(
                "an entry is an object with the members dtype, shape and data_offsets, and no other", where=where
            )
        code, shape, offsets = given["dtype"], given["shape"], given["data_offsets"]
        if not isinstance(code, str) or code not in _BY_CODE:
            raise InvalidArray(
                f"{shown(code)} is not a dtype that farfunc reads",
                where=f"{where}.dtype",
                remedy=f"use {', '.join(_BY_CODE)}",
            )
        dtype = _BY_CODE[code]
        if is_marked:
            if code != "F64" or not isinstance(shape, list) or not shape or shape[-1] != 2:
                raise InvalidArray(
                    f"a tensor marked as complex128 is an F64 with a last axis of 2, not {code} {shown(shape)}",
                    where=where,
                )
            dtype, shape = DTYPES["complex128"], shape[:-1]
        checked = read_shape(shape, dtype, limits=limits, where=f"{where}.shape")
        if not isinstance(offsets, list) or len(offsets) != 2 or any(type(offset) is not int for offset in offsets):
            raise InvalidArray(
                f"data_offsets are two integers [begin, end], not {shown(offsets)}", where=f"{where}.data_offsets"
            )
        start, end = offsets
        expected = math.prod(checked) * dtype.itemsize
        if start < 0 or end - start != expected:
            raise InvalidArray(
                f"{TensorType(dtype.name, checked)} takes {expected} bytes, "
                f"not those from {shown(start)} to {shown(end)}",
                where=f"{where}.data_offsets",
            )
        return cls(name, dtype, checked, start, end, where)


def _check_layout(entries: list[_Entry], length: int) -> None:
    """The tensors lie one after the other and fill the file."""
    position = 0
    for entry in entries:
        if entry.start != position:
            fault = "overlaps the tensor before it" if entry.start < position else "leaves a hole before it"
            raise InvalidArray(
                f"the data begins at {entry.start} and {fault}: {position} is the next free byte",
                where=f"{entry.where}.data_offsets",
            )
        position = entry.end
    if position != length:
        raise ProtocolError(
            f"the tensors take {position} bytes of data, {length} are there",
            where="data",
            remedy="send the file whole, and nothing after it",
        )


def _take_mark(metadata: dict[str, str]) -> set[str]:
    """The names of the tensors that are complex128; their mark is taken out of the metadata."""
    mark = metadata.pop(COMPLEX128_KEY, None)
    if mark is None:
        return set()
    where = f"header.{_METADATA}[{COMPLEX128_KEY!r}]"
    names = parse_json(mark, where=where)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ProtocolError("the mark is a JSON list of names of tensors", where=where)
    if len(set(names)) != len(names):
        raise ProtocolError("the mark names a tensor twice", where=where)
    return set(names)


def _check_writable(name: Any, array: Any) -> None:
    if not isinstance(name, str) or name == _METADATA:
        raise ProtocolError(f"{shown(name)} is not a name for a tensor", remedy="choose another string")
    _check_text(name, f"tensors[{shown(name)}]")
    if not isinstance(array, Array):
        raise InvalidArray(
            f"{type(array).__qualname__} is not an Array", where=f"tensors[{name!r}]", remedy="use Array.from_numpy"
        )


def _check_metadata(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise ProtocolError(f"the metadata is an object, not {shown(given)}", where=where)
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ProtocolError(
                f"the metadata maps strings to strings, not {shown(key)} to {shown(value)}",
                where=where,
                remedy="write other values as JSON in a string",
            )
    return given


def _check_text(text: str, where: str) -> None:
    """JSON can escape half a surrogate pair, of which no UTF-8 can be made."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ProtocolError(
                f"a string has no UTF-8 form: half a surrogate pair at character {error.start}", where=where
            ) from None
