"""Axes and lengths: what every family of shape rules asks of its operands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ...graph import TensorType
from ..call import Call, Shape, Symbol

__all__ = ["axes", "axis", "broadcast", "expand_to", "is_length", "numel", "replace", "same_dtype", "without"]


def is_length(length: Any) -> bool:
    """Whether an axis can be so long; a length that is not bound can."""
    return isinstance(length, Symbol) or length >= 0


def axis(call: Call, dim: int, rank: int, *, argument: str = "dim", scalar: bool = True) -> int:
    """Wrap a negative axis; refuse one that the tensor does not have.

    A tensor without axes takes 0 and -1, as torch's does, unless ``scalar`` is False.
    """
    span = max(rank, 1) if scalar else rank
    if not -span <= dim < span:
        remedy = f"use one from {-span} to {span - 1}" if span else None
        call.refuse(f"axis {dim} is out of range for a tensor with {rank} axes", argument=argument, remedy=remedy)
    return dim % span


def axes(call: Call, dims: Iterable[int], rank: int, *, argument: str = "dim") -> tuple[int, ...]:
    """Wrap each axis; refuse one that comes twice."""
    wrapped = tuple(axis(call, dim, rank, argument=argument) for dim in dims)
    if len(set(wrapped)) != len(wrapped):
        call.refuse(f"an axis comes twice in {tuple(dims)}", argument=argument, remedy="name each axis once")
    return wrapped


def broadcast(call: Call, *shapes: Shape) -> Shape:
    """The shape that all of these broadcast to."""
    rank = max(map(len, shapes), default=0)
    result: list[Any] = [1] * rank
    for shape in shapes:
        for position, length in enumerate(shape, rank - len(shape)):
            known = result[position]
            if known == 1:
                result[position] = length
            elif length != 1 and length != known:
                shown = " and ".join(_show(shape) for shape in shapes)
                call.refuse(
                    f"shapes {shown} do not broadcast: axis {position - rank} has lengths {known} and {length}",
                    remedy="lengths must be equal, or 1",
                )
    return tuple(result)


def expand_to(call: Call, shape: Shape, target: Shape, *, argument: str | None = None) -> None:
    """Refuse unless a shape broadcasts to exactly the target."""
    offset = len(target) - len(shape)
    if offset < 0 or any(
        length != 1 and length != target[position] for position, length in enumerate(shape, max(offset, 0))
    ):
        call.refuse(f"shape {_show(shape)} does not broadcast to {_show(target)}", argument=argument)


def numel(shape: Shape) -> int:
    """The number of elements."""
    return math.prod(shape)


def replace(shape: Shape, position: int, length: Any) -> Shape:
    """The shape with another length at one axis."""
    return (*shape[:position], length, *shape[position + 1 :])


def without(shape: Shape, positions: Iterable[int]) -> Shape:
    """The shape without some of its axes."""
    dropped = set(positions)
    return tuple(length for position, length in enumerate(shape) if position not in dropped)


def same_dtype(call: Call, types: Sequence[TensorType], *, argument: str | None = None) -> str:
    """The dtype that all operands have; refuse a mixture, where torch does not promote."""
    for other in types[1:]:
        if other.dtype != types[0].dtype:
            call.refuse(
                f"operands of dtypes {types[0].dtype} and {other.dtype} are not mixed by this operator",
                argument=argument,
                remedy="convert one of them with to.dtype",
            )
    return types[0].dtype


def _show(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
