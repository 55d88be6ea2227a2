"""The header of a safetensors file: read, checked, and kept for the calls alike that come after it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .arrays import read_shape
from .dtypes import DTYPES, DType
from .errors import InvalidArray, LimitExceeded, ProtocolError
from .limits import Limits
from .strict_json import parse_json, shown
from .tensor_type import TensorType

__all__ = [
    "COMPLEX128_KEY",
    "KEPT_HEADERS",
    "LARGEST_KEPT_HEADER",
    "MAX_HEADER_BYTES",
    "METADATA",
    "Entry",
    "check_end",
    "check_header_is_whole",
    "check_metadata",
    "header_length",
    "read_header",
]

COMPLEX128_KEY = "farfunc.complex128"
"""The metadata's mark of the tensors that are pairs of float64."""

MAX_HEADER_BYTES = 100_000_000
"""The Rust library reads no longer header, so none is written."""

METADATA = "__metadata__"

KEPT_HEADERS = 256
LARGEST_KEPT_HEADER = 1 << 14

_BY_CODE: dict[str, DType] = {row.safetensors: row for row in DTYPES.values() if row.name != "complex128"}
_MEMBERS = {"dtype", "shape", "data_offsets"}


def header_length(prefix: bytes | memoryview, limits: Limits) -> int:
    """The length of the header, from the first 8 bytes of a file."""
    if len(prefix) < 8:
        raise ProtocolError(
            f"a safetensors file begins with 8 bytes of length, {len(prefix)} bytes are there", where="header"
        )
    length = int.from_bytes(prefix[:8], "little")
    # A function's document is one string in the header, where each of its quotes is escaped.
    allowed = min(MAX_HEADER_BYTES, 2 * limits.document_bytes)
    if length > allowed:
        raise LimitExceeded(
            f"the header has {length:,} bytes, {allowed:,} are allowed",
            where="header",
            remedy="check that this is a safetensors file, or ask the server's operator for a higher limit",
        )
    return length


def check_header_is_whole(length: int, received: int) -> None:
    """Refuse a header of ``length`` bytes of which fewer have come."""
    if length > received:
        raise ProtocolError(
            f"the header has {length} bytes, {received} are there", where="header", remedy="send the file whole"
        )


def read_header(text: bytes, length: int | None, limits: Limits) -> tuple[tuple[Entry, ...], Mapping[str, str]]:
    """The tensors of a file whose data has ``length`` bytes, in their order, and its metadata.

    ``length`` is None while the data is still on its way; :func:`check_end` is for when it is there.
    """
    return (_read_header_again if len(text) <= LARGEST_KEPT_HEADER else _read_header)(text, length, limits)


def _read_header(text: bytes, length: int | None, limits: Limits) -> tuple[tuple[Entry, ...], Mapping[str, str]]:
    """The tensors of a file whose data has ``length`` bytes, in their order, and its metadata."""
    if not text.startswith(b"{"):
        raise ProtocolError(
            "the header does not begin with a brace", where="header", remedy="check that this is a safetensors file"
        )
    header = parse_json(text, where="header")
    metadata = check_metadata(header.pop(METADATA, {}), f"header.{METADATA}")
    limits.check("leaves", len(header), "header")
    marked = _take_mark(metadata)
    if not marked <= set(header):
        raise ProtocolError(
            f"there is no tensor {shown(min(marked - set(header)))}, which is marked as complex128",
            where=f"header.{METADATA}[{COMPLEX128_KEY!r}]",
        )
    entries = [Entry.from_json(name, given, is_marked=name in marked, limits=limits) for name, given in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _check_layout(entries)
    if length is not None:
        check_end(entries, length)
    return tuple(entries), metadata


_read_header_again = lru_cache(KEPT_HEADERS)(_read_header)
"""Calls alike have the same header: it is read and checked once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the header, checked; its data is not looked at yet."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int
    where: str

    @classmethod
    def from_json(cls, name: str, given: Any, *, is_marked: bool, limits: Limits) -> Entry:
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


def _check_layout(entries: Sequence[Entry]) -> None:
    """The tensors lie one after the other."""
    position = 0
    for entry in entries:
        if entry.start != position:
            fault = "overlaps the tensor before it" if entry.start < position else "leaves a hole before it"
            raise InvalidArray(
                f"the data begins at {entry.start} and {fault}: {position} is the next free byte",
                where=f"{entry.where}.data_offsets",
            )
        position = entry.end


def check_end(entries: Sequence[Entry], length: int) -> None:
    """The tensors fill the file."""
    position = entries[-1].end if entries else 0
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
    where = f"header.{METADATA}[{COMPLEX128_KEY!r}]"
    names = parse_json(mark, where=where)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ProtocolError("the mark is a JSON list of names of tensors", where=where)
    if len(set(names)) != len(names):
        raise ProtocolError("the mark names a tensor twice", where=where)
    return set(names)


def check_metadata(given: Any, where: str) -> dict[str, str]:
    """Return ``given`` if it maps strings to strings."""
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
