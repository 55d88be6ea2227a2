"""Rules of the operators that make one tensor of several, or the combinations of their elements."""

from __future__ import annotations

import math

from ...graph import TensorType
from ..call import Call, Shape, shape_of
from .axes import axis, broadcast, numel, replace, without
from .promotion import result_type

__all__ = [
    "at_least_3",
    "block_diag",
    "broadcast_tensors",
    "cartesian_prod",
    "cat",
    "column_stack",
    "combinations",
    "dstack",
    "hstack",
    "meshgrid",
    "stack",
    "vstack",
]


def _shaped(call: Call, shape: Shape) -> TensorType:
    return TensorType(call.tensors[0].dtype, tuple(shape))


def cat(call: Call) -> TensorType:
    """cat: lengths add along one axis; empty vectors are skipped, as in torch."""
    tensors = call.tensors
    call.require(bool(tensors), "there is nothing to join", argument="tensors")
    for type_ in tensors:
        call.require(
            bool(type_.shape), "a tensor without axes cannot be joined", argument="tensors", remedy="use stack"
        )
    dtype = result_type(call, tensors)
    shapes = [shape for shape in map(shape_of, tensors) if not (len(shape) == 1 and shape[0] == 0)]
    if not shapes:
        axis(call, call.dim, 1)
        return TensorType(dtype, (0,))
    position = axis(call, call.dim, len(shapes[0]))
    for shape in shapes[1:]:
        call.require(
            len(shape) == len(shapes[0]) and without(shape, (position,)) == without(shapes[0], (position,)),
            f"shapes {tuple(shapes[0])} and {tuple(shape)} differ beside axis {position}",
            argument="tensors",
        )
    length = shapes[0][position]
    for shape in shapes[1:]:
        length = length + shape[position]
    return TensorType(dtype, replace(shapes[0], position, length))


def stack(call: Call) -> TensorType:
    """stack: a new axis."""
    tensors = call.tensors
    call.require(bool(tensors), "there is nothing to join", argument="tensors")
    for type_ in tensors[1:]:
        call.require(
            type_.shape == tensors[0].shape,
            f"shapes {tuple(tensors[0].shape)} and {tuple(type_.shape)} differ",
            argument="tensors",
        )
    shape = tensors[0].shape
    position = axis(call, call.dim, len(shape) + 1)
    return TensorType(result_type(call, tensors), (*shape[:position], len(tensors), *shape[position:]))


def _joined(call: Call, shapes: list[Shape], position: int) -> TensorType:
    for shape in shapes[1:]:
        call.require(
            len(shape) == len(shapes[0]) and without(shape, (position,)) == without(shapes[0], (position,)),
            f"shapes {tuple(shapes[0])} and {tuple(shape)} differ beside axis {position}",
            argument="tensors",
        )
    return TensorType(result_type(call, call.tensors), replace(shapes[0], position, sum(s[position] for s in shapes)))


def hstack(call: Call) -> TensorType:
    """hstack: joins vectors along their axis, others along the second."""
    shapes = [type_.shape or (1,) for type_ in call.tensors]
    call.require(bool(shapes), "there is nothing to join", argument="tensors")
    return _joined(call, shapes, 0 if len(shapes[0]) == 1 else 1)


def vstack(call: Call) -> TensorType:
    """vstack: joins rows."""
    shapes = [(1,) * (2 - len(shape)) + shape for shape in map(shape_of, call.tensors)]
    call.require(bool(shapes), "there is nothing to join", argument="tensors")
    return _joined(call, shapes, 0)


def dstack(call: Call) -> TensorType:
    """dstack: joins along a third axis."""
    shapes = [at_least_3(type_.shape) for type_ in call.tensors]
    call.require(bool(shapes), "there is nothing to join", argument="tensors")
    return _joined(call, shapes, 2)


def at_least_3(shape: Shape) -> Shape:
    """The shape of atleast_3d."""
    return {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}.get(len(shape), tuple(shape))


def column_stack(call: Call) -> TensorType:
    """column_stack: joins vectors as columns."""
    shapes = [(numel(type_.shape), 1) if len(type_.shape) <= 1 else type_.shape for type_ in call.tensors]
    call.require(bool(shapes), "there is nothing to join", argument="tensors")
    return _joined(call, shapes, 1)


def block_diag(call: Call) -> TensorType:
    """block_diag: matrices along a diagonal."""
    shapes = [(1,) * (2 - len(shape)) + shape for shape in map(shape_of, call.tensors)]
    call.require(all(len(shape) == 2 for shape in shapes), "it takes matrices", argument="tensors")
    dtype = result_type(call, call.tensors) if shapes else "float32"
    if not shapes:
        return TensorType(dtype, (1, 0))
    return TensorType(dtype, (sum(shape[0] for shape in shapes), sum(shape[1] for shape in shapes)))


def broadcast_tensors(call: Call) -> tuple[TensorType, ...]:
    """broadcast_tensors: all of one shape."""
    shape = broadcast(call, *(type_.shape for type_ in call.tensors))
    return tuple(TensorType(type_.dtype, shape) for type_ in call.tensors)


def meshgrid(call: Call) -> tuple[TensorType, ...]:
    """meshgrid: the grid that vectors span."""
    call.require(bool(call.tensors), "there are no tensors", argument="tensors")
    call.require(call.indexing in ("ij", "xy"), f"indexing {call.indexing!r}", argument="indexing")
    for type_ in call.tensors:
        call.require(len(type_.shape) <= 1, f"it takes vectors, not {len(type_.shape)} axes", argument="tensors")
    shape = [type_.shape[0] if type_.shape else 1 for type_ in call.tensors]
    if call.indexing == "xy" and len(shape) >= 2:
        shape[:2] = shape[1::-1]
    return tuple(TensorType(type_.dtype, tuple(shape)) for type_ in call.tensors)


def cartesian_prod(call: Call) -> TensorType:
    """cartesian_prod: every combination, one a row."""
    call.require(bool(call.tensors), "there are no tensors", argument="tensors")
    for type_ in call.tensors:
        call.require(len(type_.shape) == 1, f"it takes vectors, not {len(type_.shape)} axes", argument="tensors")
    if len(call.tensors) == 1:
        return call.tensors[0]
    rows = math.prod(type_.shape[0] for type_ in call.tensors)
    return TensorType(result_type(call, call.tensors), (rows, len(call.tensors)))


def combinations(call: Call) -> TensorType:
    """combinations: every choice of r elements, one a row."""
    call.require(len(call.self.shape) == 1, "it takes a vector", argument="self")
    call.require(0 <= call.r <= 64, f"r = {call.r} is not in 0..64", argument="r")
    n = call.self.shape[0]
    if call.r == 0:
        return _shaped(call, (0,))
    rows = math.comb(n + call.r - 1, call.r) if call.with_replacement and n else math.comb(n, call.r)
    return _shaped(call, (rows, call.r))
