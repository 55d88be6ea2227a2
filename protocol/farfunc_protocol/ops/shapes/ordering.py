"""Rules of the operators that put axes, or elements along them, in another order."""

from __future__ import annotations

from collections.abc import Callable

from ...graph import TensorType
from ..call import Call, Shape
from .axes import axes, axis

__all__ = ["flip", "flip_axis", "movedim", "permute", "reverse_axes", "roll", "rot90", "transpose"]


def _shaped(call: Call, shape: Shape) -> TensorType:
    return TensorType(call.tensors[0].dtype, tuple(shape))


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
        return _shaped(call, tuple(order))

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
    return _shaped(call, tuple(shape))
