"""Rules of the operators that rearrange, cut and join without computing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ...graph import TensorType
from ..call import Call, Symbol
from .axes import Shape, axes, axis, broadcast, numel, replace, without
from .promotion import category, result_type

__all__ = ["same"]

MAX_PIECES = 65_536
"""An operator that cuts makes no more pieces: each is a variable of the graph."""


def same(call: Call) -> TensorType:
    """The operand's own type."""
    return call.tensors[0]


def _shaped(call: Call, shape: Shape) -> TensorType:
    return TensorType(call.tensors[0].dtype, tuple(shape))


# -- another shape for the same elements


def reshape(call: Call) -> TensorType:
    """reshape, view: one length may be -1."""
    size = call.arguments["size" if "size" in call.arguments else "shape"]
    name = "size" if "size" in call.arguments else "shape"
    return _shaped(call, _resolved(call, call.self.shape, size, name))


def _resolved(call: Call, shape: Shape, size: Shape, name: str) -> Shape:
    unknown = [position for position, length in enumerate(size) if length == -1]
    call.require(len(unknown) <= 1, f"{len(unknown)} lengths of {tuple(size)} are -1", argument=name)
    for length in size:
        if not isinstance(length, Symbol):
            call.require(length >= -1, f"length {length} is negative", argument=name)
    old, new = _cancelled(shape, [length for length in size if length != -1])
    if unknown and not new and len(old) == 1:
        return replace(size, unknown[0], old[0])
    total, known = math.prod(old), math.prod(new)
    if not unknown:
        call.require(total == known, f"{_count(shape)} do not fill the shape {tuple(size)}", argument=name)
        return tuple(size)
    call.require(known != 0, f"-1 is ambiguous in {tuple(size)}, which has a length 0", argument=name)
    call.require(total % known == 0, f"{_count(shape)} do not fill the shape {tuple(size)}", argument=name)
    return replace(tuple(size), unknown[0], total // known)


def _cancelled(old: Iterable[Any], new: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Both shapes without the symbols they share, so that (n, 3, 4) -> (n, 12) is known for every n."""
    left, right = (Counter(n.name for n in side if isinstance(n, Symbol)) for side in (old, new))
    shared = left & right
    rest: list[list[Any]] = []
    for side in (old, new):
        budget = Counter(shared)
        kept = []
        for length in side:
            if isinstance(length, Symbol) and budget[length.name]:
                budget[length.name] -= 1
            else:
                kept.append(length)
        rest.append(kept)
    return rest[0], rest[1]


def _count(shape: Shape) -> str:
    return f"the elements of a tensor of shape {tuple(shape)}"


def reshape_as(call: Call) -> TensorType:
    """reshape_as, view_as: the shape of another tensor."""
    return _shaped(call, _resolved(call, call.self.shape, call.other.shape, "other"))


def flatten(call: Call) -> TensorType:
    """flatten: a range of axes becomes one."""
    shape = call.self.shape
    start = axis(call, call.start_dim, len(shape), argument="start_dim")
    end = axis(call, call.end_dim, len(shape), argument="end_dim")
    call.require(start <= end, f"axis {start} comes after axis {end}", argument="start_dim")
    if not shape:
        return _shaped(call, (1,))
    if start == end:
        return call.self
    return _shaped(call, (*shape[:start], numel(shape[start : end + 1]), *shape[end + 1 :]))


def ravel(call: Call) -> TensorType:
    """ravel: one axis."""
    shape = call.self.shape
    return _shaped(call, shape if len(shape) == 1 else (numel(shape),))


def unflatten(call: Call) -> TensorType:
    """unflatten: one axis becomes several."""
    shape = call.self.shape
    position = axis(call, call.dim, len(shape), scalar=False)
    call.require(len(call.sizes) > 0, "no lengths are given", argument="sizes")
    inner = _resolved(call, (shape[position],), call.sizes, "sizes")
    return _shaped(call, (*shape[:position], *inner, *shape[position + 1 :]))


def squeeze(call: Call) -> TensorType:
    """squeeze: takes axes of length 1 away, all of them or those named."""
    shape = call.self.shape
    dims = call.arguments.get("dim")
    if dims is None:
        chosen = range(len(shape))
    else:
        chosen = axes(call, (dims,) if isinstance(dims, int) else dims, len(shape))
    return _shaped(call, without(shape, [at for at in chosen if at < len(shape) and shape[at] == 1]))


def unsqueeze(call: Call) -> TensorType:
    """unsqueeze: a new axis of length 1."""
    shape = call.self.shape
    position = axis(call, call.dim, len(shape) + 1)
    return _shaped(call, (*shape[:position], 1, *shape[position:]))


def expand(call: Call) -> TensorType:
    """expand, broadcast_to: axes of length 1 grow; -1 keeps a length."""
    shape, size = call.self.shape, call.size
    offset = len(size) - len(shape)
    call.require(offset >= 0, f"{len(size)} lengths for a tensor with {len(shape)} axes", argument="size")
    result: list[Any] = []
    for position, length in enumerate(size):
        current = shape[position - offset] if position >= offset else None
        if length == -1:
            call.require(current is not None, f"-1 stands for a new axis, {position}", argument="size")
            result.append(current)
            continue
        call.require(isinstance(length, Symbol) or length >= 0, f"length {length} is negative", argument="size")
        if current is not None and current != 1 and current != length:
            call.refuse(f"axis {position - offset} has length {current}, not 1 or {length}", argument="size")
        result.append(length)
    return _shaped(call, result)


def expand_as(call: Call) -> TensorType:
    """expand_as: the shape of another tensor."""
    shape, target = call.self.shape, call.other.shape
    offset = len(target) - len(shape)
    call.require(offset >= 0, f"{len(target)} axes for a tensor with {len(shape)}", argument="other")
    for position, length in enumerate(shape, offset):
        if length != 1 and length != target[position]:
            call.refuse(f"axis {position} has length {length}, not 1 or {target[position]}", argument="other")
    return _shaped(call, target)


def sum_to_size(call: Call) -> TensorType:
    """sum_to_size: the reverse of broadcasting."""
    shape, size = call.self.shape, call.size
    offset = len(shape) - len(size)
    call.require(offset >= 0, f"{len(size)} lengths for a tensor with {len(shape)} axes", argument="size")
    for position, length in enumerate(size):
        if length != 1 and length != shape[position + offset]:
            call.refuse(
                f"axis {position + offset} has length {shape[position + offset]}, not {length}", argument="size"
            )
    # torch sums, and booleans become int64, only where the shape changes.
    dtype = call.self.dtype
    changed = tuple(size) != tuple(shape) or not size
    return TensorType("int64" if changed and category(dtype) in ("bool", "integral") else dtype, tuple(size))


def at_least(rank: int) -> Callable[[Call], TensorType | tuple[TensorType, ...]]:
    """A rule: atleast_1d, atleast_2d, atleast_3d, of a tensor or of each in a list."""

    def grown(type_: TensorType) -> TensorType:
        shape = type_.shape
        if rank == 3 and len(shape) == 2:
            return TensorType(type_.dtype, (*shape, 1))
        if rank == 3 and len(shape) == 1:
            return TensorType(type_.dtype, (1, *shape, 1))
        return TensorType(type_.dtype, (1,) * (rank - len(shape)) + tuple(shape))

    def rule(call: Call) -> TensorType | tuple[TensorType, ...]:
        if "tensors" in call.arguments:
            return tuple(map(grown, call.tensors))
        return grown(call.self)

    return rule


# -- another order


def permute(call: Call) -> TensorType:
    """permute: every axis once, in a new order."""
    shape = call.self.shape
    call.require(len(call.dims) == len(shape), f"{len(call.dims)} axes for a tensor with {len(shape)}", argument="dims")
    return _shaped(call, tuple(shape[at] for at in axes(call, call.dims, len(shape), argument="dims")))


def transpose(first: int | str, second: int | str) -> Callable[[Call], TensorType]:
    """A rule: exchange two axes, given as numbers or by the attributes that name them."""

    def rule(call: Call) -> TensorType:
        shape = call.tensors[0].shape
        names = [name for name in (first, second) if isinstance(name, str)]
        if not names:
            call.require(len(shape) >= 2, f"it takes a matrix, not {len(shape)} axes")
        left, right = (
            axis(call, getattr(call, name) if isinstance(name, str) else name, len(shape), argument=str(name))
            for name in (first, second)
        )
        order = list(shape)
        if shape:
            order[left], order[right] = order[right], order[left]
        return _shaped(call, order)

    return rule


def reverse_axes(call: Call) -> TensorType:
    """t, numpy_T: the axes in reverse order."""
    if call.schema.name in ("t", "t_copy", "matrix_H"):
        call.require(len(call.self.shape) <= 2, f"it takes a matrix, not {len(call.self.shape)} axes", argument="self")
    return _shaped(call, call.self.shape[::-1])


def movedim(call: Call) -> TensorType:
    """movedim: some axes to new places, the others in their order."""
    shape = call.self.shape
    source = (call.source,) if isinstance(call.source, int) else call.source
    destination = (call.destination,) if isinstance(call.destination, int) else call.destination
    call.require(len(source) == len(destination), "as many axes must move as places are given", argument="source")
    source = axes(call, source, len(shape), argument="source")
    destination = axes(call, destination, len(shape), argument="destination")
    if not shape:
        return call.self
    rest = iter([position for position in range(len(shape)) if position not in source])
    moved = dict(zip(destination, source, strict=True))
    return _shaped(call, tuple(shape[moved[at] if at in moved else next(rest)] for at in range(len(shape))))


def flip(call: Call) -> TensorType:
    """flip: the order along some axes."""
    axes(call, call.dims, len(call.self.shape), argument="dims")
    return call.self


def flip_axis(position: int) -> Callable[[Call], TensorType]:
    """A rule: fliplr, flipud."""

    def rule(call: Call) -> TensorType:
        rank = len(call.self.shape)
        call.require(rank > position, f"it takes at least {position + 1} axes, not {rank}", argument="self")
        return call.self

    return rule


def roll(call: Call) -> TensorType:
    """roll: a shift for each axis; without axes, one shift of the flattened tensor."""
    if not call.dims:
        call.require(len(call.shifts) == 1, f"{len(call.shifts)} shifts without axes", argument="shifts")
        return call.self
    call.require(
        len(call.dims) == len(call.shifts), f"{len(call.shifts)} shifts for {len(call.dims)} axes", argument="shifts"
    )
    for dim in call.dims:
        axis(call, dim, len(call.self.shape), argument="dims")
    return call.self


def rot90(call: Call) -> TensorType:
    """rot90: a quarter turn exchanges two axes."""
    shape = list(call.self.shape)
    call.require(len(call.dims) == 2, f"{len(call.dims)} axes span no plane", argument="dims")
    call.require(len(shape) >= 2, f"it takes at least two axes, not {len(shape)}", argument="self")
    first, second = axes(call, call.dims, len(shape), argument="dims")
    if call.k % 2:
        shape[first], shape[second] = shape[second], shape[first]
    return _shaped(call, shape)


# -- joining


def cat(call: Call) -> TensorType:
    """cat: lengths add along one axis; empty vectors are skipped, as in torch."""
    tensors = call.tensors
    call.require(bool(tensors), "there is nothing to join", argument="tensors")
    for type_ in tensors:
        call.require(
            bool(type_.shape), "a tensor without axes cannot be joined", argument="tensors", remedy="use stack"
        )
    dtype = result_type(call, tensors)
    shapes = [type_.shape for type_ in tensors if not (len(type_.shape) == 1 and type_.shape[0] == 0)]
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
    shapes = [(1,) * (2 - len(type_.shape)) + tuple(type_.shape) for type_ in call.tensors]
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
    shapes = [(1,) * (2 - len(type_.shape)) + tuple(type_.shape) for type_ in call.tensors]
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


# -- repeating


def repeat(call: Call) -> TensorType:
    """repeat: each axis several times; further axes in front."""
    return _repeated(call, call.repeats, "repeats", pad=False)


def tile(call: Call) -> TensorType:
    """tile: like repeat, with missing counts taken as 1."""
    return _repeated(call, call.dims, "dims", pad=True)


def _repeated(call: Call, counts: Shape, name: str, pad: bool) -> TensorType:
    shape = tuple(call.self.shape)
    if pad:
        counts = (1,) * (len(shape) - len(counts)) + tuple(counts)
    call.require(len(counts) >= len(shape), f"{len(counts)} counts for {len(shape)} axes", argument=name)
    shape = (1,) * (len(counts) - len(shape)) + shape
    for count in counts:
        call.require(isinstance(count, Symbol) or count >= 0, f"count {count} is negative", argument=name)
    lengths = zip(shape, counts, strict=True)
    return _shaped(call, tuple(n if k == 1 else k if n == 1 else n * k for n, k in lengths))


def repeat_interleave(call: Call) -> TensorType:
    """repeat_interleave.self_int: each element several times."""
    call.require(call.repeats >= 0, f"count {call.repeats} is negative", argument="repeats")
    shape = call.self.shape
    if call.dim is None:
        return _shaped(call, (numel(shape) * call.repeats,))
    position = axis(call, call.dim, len(shape))
    return _shaped(call, replace(shape, position, shape[position] * call.repeats) if shape else (call.repeats,))


# -- padding


def constant_pad(call: Call) -> TensorType:
    """constant_pad_nd: lengths before and after each axis, the last axis first."""
    return _shaped(call, _padded(call, call.pad))


def _padded(call: Call, pad: Shape) -> Shape:
    shape = list(call.self.shape)
    call.require(len(pad) % 2 == 0, f"{len(pad)} lengths are not pairs", argument="pad")
    call.require(len(pad) <= 2 * len(shape), f"{len(pad)} lengths for {len(shape)} axes", argument="pad")
    for index in range(len(pad) // 2):
        position = len(shape) - 1 - index
        length = shape[position] + pad[2 * index] + pad[2 * index + 1]
        call.require(length >= 0, f"axis {position} would have the length {length}", argument="pad")
        shape[position] = length
    return tuple(shape)


def pad(call: Call) -> TensorType:
    """pad: constant, or with values of the tensor itself."""
    modes = ("constant", "reflect", "replicate", "circular")
    call.require(call.mode in modes, f"mode {call.mode!r}", argument="mode", remedy=f"use one of {', '.join(modes)}")
    return _shaped(call, _padded(call, call.pad))


def border_pad(axes_padded: int) -> Callable[[Call], TensorType]:
    """A rule: reflection_pad, replication_pad."""

    def rule(call: Call) -> TensorType:
        call.require(len(call.padding) == 2 * axes_padded, f"{len(call.padding)} lengths", argument="padding")
        rank = len(call.self.shape)
        call.require(rank in (axes_padded + 1, axes_padded + 2), f"it takes no {rank} axes", argument="self")
        shape = list(call.self.shape)
        for index in range(axes_padded):
            length = shape[-1 - index] + call.padding[2 * index] + call.padding[2 * index + 1]
            call.require(length >= 1, f"axis {-1 - index} would have the length {length}", argument="padding")
            shape[-1 - index] = length
        return _shaped(call, shape)

    return rule
