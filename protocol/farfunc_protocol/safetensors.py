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
from functools import lru_cache
from typing import Any

from .arrays import Array
from .dtypes import DTYPES
from .errors import InvalidArray, LimitExceeded, ProtocolError
from .incoming import Incoming
from .limits import DEFAULT_LIMITS, Limits
from .safetensors_layout import (
    COMPLEX128_KEY,
    KEPT_HEADERS,
    LARGEST_KEPT_HEADER,
    MAX_HEADER_BYTES,
    METADATA,
    check_header_is_whole,
    check_metadata,
    header_length,
    read_header,
)
from .strict_json import canonical_json, shown
from .tensor_type import TensorType

__all__ = ["COMPLEX128_KEY", "MAX_HEADER_BYTES", "MEDIA_TYPE", "decode", "encode", "encode_bytes", "encode_header"]

MEDIA_TYPE = "application/vnd.safetensors"


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
    return (_header_again if size <= LARGEST_KEPT_HEADER else _header_of)(kinds, texts)


def _header_of(
    kinds: tuple[tuple[str, str, tuple[int, ...]], ...], metadata: tuple[tuple[str, str], ...]
) -> tuple[bytes, tuple[str, ...]]:
    """The header of a file, length included, and the order of its tensors; calls alike have the same."""
    header: dict[str, Any] = {}
    marked = dict(metadata)
    types = {name: (DTYPES[dtype], shape) for name, dtype, shape in kinds}
    pairs = sorted(name for name, (dtype, _) in types.items() if dtype.name == "complex128")
    check_metadata(marked, "metadata")
    for key, text in marked.items():
        _check_text(key, "metadata")
        _check_text(text, f"metadata[{shown(key)}]")
    if COMPLEX128_KEY in marked:
        raise ProtocolError(f"the metadata key {COMPLEX128_KEY!r} is reserved", remedy="choose another key")
    if pairs:
        marked[COMPLEX128_KEY] = canonical_json(pairs).decode()
    if marked:
        header[METADATA] = marked
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


_header_again = lru_cache(KEPT_HEADERS)(_header_of)


def encode_bytes(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """Write a file as one bytes object.

    >>> encode_bytes({})[8:]
    b'{}      '
    """
    return b"".join(encode(tensors, metadata))


def decode(
    buffer: bytes | bytearray | memoryview | Incoming, *, limits: Limits = DEFAULT_LIMITS
) -> tuple[dict[str, Array], dict[str, str]]:
    """Read a file: its tensors in the order in which they lie there, and its metadata.

    The arrays are views of ``buffer``, read-only if it is; only data that the writer left
    unaligned is copied. Those of a file that was received in parts (:class:`Incoming`) have
    memory of their own.

    Raises :class:`InvalidArray` for a fault of one tensor, :class:`LimitExceeded` before
    anything is allocated, and :class:`ProtocolError` for all others.

    >>> tensors, metadata = decode(encode_bytes({"x": Array.from_numpy([1, 2])}, {"by": "me"}))
    >>> tensors["x"].data, metadata
    (array([1, 2]), {'by': 'me'})
    """
    if isinstance(buffer, Incoming):
        return buffer.tensors()
    view = memoryview(buffer)
    if not view.c_contiguous:
        view = memoryview(bytes(view))
    view = view.cast("B")
    length = header_length(view, limits)
    check_header_is_whole(length, len(view) - 8)
    header, data = bytes(view[8 : 8 + length]), view[8 + length :]
    entries, metadata = read_header(header, len(data), limits)
    tensors = {
        entry.name: Array.from_buffer(data[entry.start : entry.end], entry.dtype, entry.shape, where=entry.where)
        for entry in entries
    }
    return tensors, dict(metadata)


def _check_writable(name: Any, array: Any) -> None:
    if not isinstance(name, str) or name == METADATA:
        raise ProtocolError(f"{shown(name)} is not a name for a tensor", remedy="choose another string")
    if not name.isascii():
        _check_text(name, f"tensors[{shown(name)}]")
    if not isinstance(array, Array):
        raise InvalidArray(
            f"{type(array).__qualname__} is not an Array", where=f"tensors[{name!r}]", remedy="use Array.from_numpy"
        )


def _check_text(text: str, where: str) -> None:
    """JSON can escape half a surrogate pair, of which no UTF-8 can be made."""
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ProtocolError(
                f"a string has no UTF-8 form: half a surrogate pair at character {error.start}", where=where
            ) from None
