"""Rules of the operators that take parts of a tensor at known places, or write them back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from ...graph import TensorType
from ..call import MAX_OUTPUTS, Call, Shape, Symbol
from .axes import axis, replace, without

__all__ = [
    "chunk",
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "diagonal_scatter",
    "expand_to_part",
    "narrow",
    "numpy_split",
    "select",
    "select_scatter",
    "slice_",
    "slice_scatter",
    "split",
    "split_with_sizes",
    "tensor_split_indices",
    "tensor_split_sections",
    "trace",
    "triangle",
    "unbind",
    "unfold",
]


def _shaped(call: Call, shape: Shape) -> TensorType:
    return TensorType(call.tensors[0].dtype, tuple(shape))


def _index(call: Call, index: int, length: Any, argument: str = "index") -> None:
    # A bound symbol may make the index invalid; it is checked again then.
    if not isinstance(length, Symbol) and not isinstance(index, Symbol):
        call.require(-length <= index < length, f"index {index} of an axis of length {length}", argument=argument)


def _selected(call: Call) -> Shape:
    shape = call.self.shape
    position = axis(call, call.dim, len(shape), scalar=False)
    _index(call, call.index, shape[position])
    return without(shape, (position,))


def select(call: Call) -> TensorType:
    """select: one place of an axis, which goes."""
    return _shaped(call, _selected(call))


def _sliced(call: Call, start: Any, end: Any, step: int) -> Shape:
    shape = call.self.shape
    position = axis(call, call.dim, len(shape), scalar=False)
    call.require(step >= 1, f"step {step} is not positive", argument="step", remedy="use flip, then slice")
    length = shape[position]
    if start in (None, 0) and (end is None or end == length or end == 2**63 - 1) and step == 1:
        return shape
    begin, stop = (_clamped(bound, length) for bound in (0 if start is None else start, length if end is None else end))
    return replace(shape, position, max(0, -((begin - stop) // step)))


def _clamped(bound: int, length: int) -> int:
    return min(max(bound + length if bound < 0 else bound, 0), length)


def slice_(call: Call) -> TensorType:
    """slice.Tensor: Python's slice, without negative steps."""
    return _shaped(call, _sliced(call, call.start, call.end, call.step))


def narrow(call: Call) -> TensorType:
    """narrow: a length from a start."""
    shape = call.self.shape
    position = axis(call, call.dim, len(shape), scalar=False)
    length = shape[position]
    if isinstance(call.start, int):
        start = call.start + length if call.start < 0 else call.start
        call.require(
            call.length >= 0 and 0 <= start <= length - call.length,
            f"{call.length} places from {call.start} of an axis of length {length}",
            argument="start",
        )
    call.require(call.length >= 0, f"length {call.length} is negative", argument="length")
    return _shaped(call, replace(shape, position, call.length))


def select_scatter(call: Call) -> TensorType:
    """select_scatter: self with src written at one place of an axis."""
    expand_to_part(call, _selected(call))
    return call.self


def slice_scatter(call: Call) -> TensorType:
    """slice_scatter: self with src written over a slice."""
    expand_to_part(call, _sliced(call, call.start, call.end, call.step))
    return call.self


def diagonal_scatter(call: Call) -> TensorType:
    """diagonal_scatter: self with src written on a diagonal."""
    expand_to_part(call, _diagonal(call))
    return call.self


def expand_to_part(call: Call, part: Shape) -> None:
    """Refuse unless src has the shape of the part that it replaces."""
    call.require(
        call.src.shape == part, f"src has shape {tuple(call.src.shape)}, the part {tuple(part)}", argument="src"
    )


# -- diagonals


def _diagonal(call: Call) -> Shape:
    shape = call.tensors[0].shape
    dim1 = axis(call, call.dim1, len(shape), argument="dim1", scalar=False)
    dim2 = axis(call, call.dim2, len(shape), argument="dim2", scalar=False)
    call.require(dim1 != dim2, f"the diagonal of axis {dim1} with itself", argument="dim2")
    rows, columns = shape[dim1], shape[dim2]
    return (*without(shape, (dim1, dim2)), _diagonal_length(rows, columns, call.offset))


def _diagonal_length(rows: Any, columns: Any, offset: int) -> Any:
    if offset == 0 and rows == columns:
        return rows
    return max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)


def diagonal(call: Call) -> TensorType:
    """diagonal: of two axes, as the last one."""
    return _shaped(call, _diagonal(call))


def diag(call: Call) -> TensorType:
    """diag: of a matrix, or the matrix of a vector."""
    shape = call.self.shape
    call.require(len(shape) in (1, 2), f"it takes a vector or a matrix, not {len(shape)} axes", argument="self")
    if len(shape) == 1:
        side = shape[0] if call.diagonal == 0 else shape[0] + abs(call.diagonal)
        return _shaped(call, (side, side))
    rows, columns = shape
    return _shaped(call, (_diagonal_length(rows, columns, call.diagonal),))


def diagflat(call: Call) -> TensorType:
    """diagflat: the matrix with all elements on its diagonal."""
    length = 1
    for n in call.self.shape:
        length = length * n if length != 1 else n
    side = length if call.offset == 0 else length + abs(call.offset)
    return _shaped(call, (side, side))


def diag_embed(call: Call) -> TensorType:
    """diag_embed: the last axis becomes a diagonal."""
    shape = call.self.shape
    call.require(bool(shape), "it takes at least one axis", argument="self")
    rank = len(shape) + 1
    dim1, dim2 = (axis(call, getattr(call, name), rank, argument=name) for name in ("dim1", "dim2"))
    call.require(dim1 != dim2, f"the diagonal of axis {dim1} with itself", argument="dim2")
    side = shape[-1] if call.offset == 0 else shape[-1] + abs(call.offset)
    rest = iter(shape[:-1])
    return _shaped(call, tuple(side if at in (dim1, dim2) else next(rest) for at in range(rank)))


def triangle(call: Call) -> TensorType:
    """tril, triu: of the last two axes."""
    call.require(len(call.self.shape) >= 2, f"it takes a matrix, not {len(call.self.shape)} axes", argument="self")
    return call.self


def trace(call: Call) -> TensorType:
    """trace: of a matrix."""
    call.require(len(call.self.shape) == 2, f"it takes a matrix, not {len(call.self.shape)} axes", argument="self")
    integers = not call.self.dtype.startswith(("float", "bfloat", "complex"))
    return TensorType("int64" if integers else call.self.dtype, ())


# -- pieces


def _axis_to_split(call: Call, dim: int) -> tuple[Shape, int, int]:
    shape = call.self.shape
    position = axis(call, dim, len(shape), scalar=False)
    return shape, position, shape[position] + 0  # the number of pieces depends on it: a symbol raises


def _pieces(call: Call, shape: Shape, position: int, lengths: list[int]) -> tuple[TensorType, ...]:
    return tuple(TensorType(call.self.dtype, replace(shape, position, length)) for length in lengths)


def _few(call: Call, count: int) -> None:
    call.require(count <= MAX_OUTPUTS, f"it would make {count} pieces, more than {MAX_OUTPUTS}")


def split(call: Call) -> tuple[TensorType, ...]:
    """split.Tensor: pieces of one length, the last perhaps shorter."""
    shape, position, length = _axis_to_split(call, call.dim)
    size = call.split_size
    call.require(size >= 0, f"length {size} is negative", argument="split_size")
    call.require(size > 0 or length == 0, "pieces of length 0", argument="split_size")
    count = max(-(-length // size), 1) if size else 1
    _few(call, count)
    return _pieces(call, shape, position, [min(size, length - at * size) for at in range(count)])


def split_with_sizes(call: Call) -> tuple[TensorType, ...]:
    """split_with_sizes: pieces of given lengths."""
    shape, position, length = _axis_to_split(call, call.dim)
    sizes = call.arguments.get("split_sizes") or call.arguments.get("split_size") or ()
    call.require(
        all(size >= 0 for size in sizes) and sum(sizes) == length,
        f"lengths {tuple(sizes)[:8]} do not add up to {length}",
        argument="split_sizes",
    )
    return _pieces(call, shape, position, list(sizes))


def chunk(call: Call) -> tuple[TensorType, ...]:
    """chunk: at most so many pieces of one length."""
    shape, position, length = _axis_to_split(call, call.dim)
    call.require(call.chunks > 0, f"{call.chunks} pieces", argument="chunks")
    if length == 0:
        _few(call, call.chunks)
        return _pieces(call, shape, position, [0] * call.chunks)
    size = -(-length // call.chunks)
    count = -(-length // size)
    _few(call, count)
    return _pieces(call, shape, position, [min(size, length - at * size) for at in range(count)])


def _sections(call: Call, dim: int, sections: int, exact: bool) -> tuple[TensorType, ...]:
    shape, position, length = _axis_to_split(call, dim)
    call.require(sections > 0, f"{sections} pieces", argument="sections")
    call.require(
        not exact or length % sections == 0, f"length {length} in {sections} equal pieces", argument="sections"
    )
    _few(call, sections)
    small, extra = divmod(length, sections)
    return _pieces(call, shape, position, [small + (at < extra) for at in range(sections)])


def _at_indices(call: Call, dim: int, indices: tuple[int, ...]) -> tuple[TensorType, ...]:
    shape, position, length = _axis_to_split(call, dim)
    bounds = [0, *indices, length]
    lengths = []
    for start, end in pairwise(bounds):
        lengths.append(max(_clamped(end, length) - _clamped(start, length), 0))
    return _pieces(call, shape, position, lengths)


def tensor_split_sections(call: Call) -> tuple[TensorType, ...]:
    """tensor_split.sections: so many pieces, the first ones longer by one."""
    return _sections(call, call.dim, call.sections, exact=False)


def tensor_split_indices(call: Call) -> tuple[TensorType, ...]:
    """tensor_split.indices: cut before each index."""
    return _at_indices(call, call.dim, call.indices)


def numpy_split(dim: int) -> Callable[[Call], tuple[TensorType, ...]]:
    """A rule: hsplit (1), vsplit (0), dsplit (2), in equal pieces or before indices."""

    def rule(call: Call) -> tuple[TensorType, ...]:
        rank = len(call.self.shape)
        least = max(dim + 1, 2) if dim != 1 else 1
        call.require(rank >= least, f"it takes at least {least} axes, not {rank}", argument="self")
        along = 0 if dim == 1 and rank == 1 else dim
        if "sections" in call.arguments:
            return _sections(call, along, call.sections, exact=True)
        return _at_indices(call, along, call.indices)

    return rule


def unbind(call: Call) -> tuple[TensorType, ...]:
    """unbind: each place of an axis, which goes."""
    shape, position, length = _axis_to_split(call, call.dim)
    _few(call, length)
    return (_shaped(call, without(shape, (position,))),) * length


def unfold(call: Call) -> TensorType:
    """unfold: sliding windows of an axis, as a last axis."""
    shape = call.self.shape
    position = axis(call, call.dimension, len(shape), argument="dimension")
    length = shape[position] if shape else 1
    call.require(0 <= call.size <= length, f"windows of {call.size} in a length of {length}", argument="size")
    call.require(call.step > 0, f"step {call.step} is not positive", argument="step")
    count = (length - call.size) // call.step + 1
    return _shaped(call, (*replace(shape, position, count), call.size) if shape else (call.size,))
