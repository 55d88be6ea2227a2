"""Which memory layout an array would have in NumPy. It decides whether ``reshape`` is a view or a copy,
and so whether a later write is seen on the other side.

A layout is kept as strides in elements; None stands for C order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ._steps import Step

__all__ = ["Strides", "can_reshape", "elementwise_strides", "is_contiguous", "through"]

Strides = tuple[int, ...] | None


def through(shape: Sequence[int], strides: Strides, steps: Sequence[Step]) -> tuple[int, ...]:
    """The strides of a view of an array of this layout.

    >>> from ._steps import Permute
    >>> through((2, 3), None, [Permute((1, 0))])
    (1, 3)
    """
    # An array of one byte for each element that nobody reads or writes: NumPy itself computes the strides.
    strides = _c_strides(shape) if strides is None else strides
    fake = np.lib.stride_tricks.as_strided(np.zeros(1, np.int8), tuple(shape), strides)
    for step in steps:
        fake = step.view(fake)
    return fake.strides


def can_reshape(shape: Sequence[int], strides: Strides, new_shape: Sequence[int]) -> bool:
    """Whether NumPy reshapes without a copy (``_attempt_nocopy_reshape`` in numpy/_core/src/multiarray/shape.c).

    >>> can_reshape((2, 3), None, (6,)), can_reshape((3, 2), (1, 3), (6,)), can_reshape((3, 2), (1, 3), (3, 1, 2))
    (True, False, True)
    """
    if strides is None or 0 in shape:
        return True
    old = [(length, stride) for length, stride in zip(shape, strides, strict=True) if length != 1]
    new = [length for length in new_shape if length != 1]
    old_start = new_start = 0
    while new_start < len(new) and old_start < len(old):
        old_stop, new_stop = old_start + 1, new_start + 1
        old_size, new_size = old[old_start][0], new[new_start]
        while old_size != new_size:
            if new_size < old_size:
                new_size *= new[new_stop]
                new_stop += 1
            else:
                old_size *= old[old_stop][0]
                old_stop += 1
        group = old[old_start:old_stop]
        if any(left[1] != right[0] * right[1] for left, right in pairwise(group)):
            return False
        old_start, new_start = old_stop, new_stop
    return True


def is_contiguous(shape: Sequence[int], strides: Strides) -> bool:
    """Whether an array of this layout lies in C order without gaps, as ``ravel`` wants it.

    >>> is_contiguous((2, 3), None), is_contiguous((3, 2), (4, 2)), is_contiguous((1, 3), (7, 1))
    (True, False, True)
    """
    if strides is None or 0 in shape:
        return True
    rows = zip(shape, strides, _c_strides(shape), strict=True)
    return all(length == 1 or stride == expected for length, stride, expected in rows)


def elementwise_strides(shape: Sequence[int], operands: Sequence[tuple[Sequence[int], Strides]]) -> Strides:
    """The layout of a ufunc's result: ``order='K'``, the order in which its operands lie.

    The axes are sorted as ``npyiter_find_best_axis_ordering`` does; where operands disagree, C order wins.

    >>> elementwise_strides((2, 3), [((2, 3), (1, 2))])
    (1, 2)
    """
    rank = len(shape)
    if rank < 2 or all(strides is None or len(own) < 2 for own, strides in operands):
        return None
    padded = []
    for own, strides in operands:
        known = _c_strides(own) if strides is None else strides
        real = [0 if length == 1 else abs(stride) for length, stride in zip(own, known, strict=True)]
        padded.append([0] * (rank - len(own)) + real)
    order = list(range(rank - 1, -1, -1))  # innermost first
    for position in range(1, rank):
        axis, place = order[position], position
        for other in range(position - 1, -1, -1):
            verdict = _belongs_inside(padded, axis, order[other])
            if verdict is False:
                break
            if verdict is True:
                place = other
        order.insert(place, order.pop(position))
    if order == list(range(rank - 1, -1, -1)):
        return None
    result, stride = [0] * rank, 1
    for axis in order:
        result[axis] = stride
        stride *= max(shape[axis], 1)
    return tuple(result)


def _belongs_inside(operands: list[list[int]], axis: int, inner: int) -> bool | None:
    """Whether ``axis`` should be iterated inside ``inner``; None where the operands do not say."""
    verdict = None
    for strides in operands:
        if strides[axis] and strides[inner]:
            if strides[inner] <= strides[axis]:
                return False
            verdict = True
    return verdict


def _c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
