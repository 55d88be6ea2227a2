"""Rules of the operators that repeat a tensor, or make its axes longer."""

from __future__ import annotations

from collections.abc import Callable

from ...graph import TensorType
from ..call import Call, Shape
from .axes import axis, is_length, numel, replace

__all__ = ["border_pad", "constant_pad", "pad", "repeat", "repeat_interleave", "tile"]


def _shaped(call: Call, shape: Shape) -> TensorType:
    return TensorType(call.tensors[0].dtype, tuple(shape))


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
        call.require(is_length(count), f"count {count} is negative", argument=name)
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
        return _shaped(call, tuple(shape))

    return rule
