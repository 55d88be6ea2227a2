"""Rules of the operators that give the same elements another shape."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ...graph import TensorType
from ..call import Call, Shape, Symbol
from .axes import axes, axis, is_length, numel, replace, without
from .promotion import category

__all__ = [
    "at_least",
    "expand",
    "expand_as",
    "flatten",
    "ravel",
    "reshape",
    "reshape_as",
    "squeeze",
    "sum_to_size",
    "unflatten",
    "unsqueeze",
]


def _shaped(call: Call, shape: Shape) -> TensorType:
    return TensorType(call.tensors[0].dtype, tuple(shape))


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
        call.require(is_length(length), f"length {length} is negative", argument="size")
        if current is not None and current != 1 and current != length:
            call.refuse(f"axis {position - offset} has length {current}, not 1 or {length}", argument="size")
        result.append(length)
    return _shaped(call, tuple(result))


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
