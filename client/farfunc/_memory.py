"""The caller's arrays: whether they can be written to, which of them share memory, and what they hold now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from farfunc_protocol.arrays import Array
from farfunc_protocol.errors import MutationError, TransformValueError

__all__ = ["as_they_are", "check_writable_array", "refuse_shared", "share_memory"]

_MOST_WORK = 10_000
"""For the exact answer; beyond it arrays whose bounds overlap count as sharing."""


def as_they_are(arrays: Sequence[Array]) -> list[Array]:
    """Copies, for a call that may be sent, or sent again, when its caller has gone on and written to its arrays."""
    return [Array(array.dtype, array.shape, array.data.copy()) for array in arrays]


def check_writable_array(leaf: Any) -> None:
    """Refuse a write to what NumPy does not write to."""
    if not isinstance(leaf, np.ndarray):
        raise MutationError(
            f"the function writes to an argument, for which the number {leaf!r} is given",
            remedy="give it an array, or let the function compute a new value instead of writing",
        )
    if not leaf.flags.writeable:
        raise TransformValueError(
            "assignment destination is read-only: the function writes to its argument",
            remedy="give it a copy: x.copy()",
        )


def share_memory(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays have an element in common."""
    try:
        # NumPy's stub knows the two special values alone.
        return np.shares_memory(left, right, max_work=_MOST_WORK)  # pyright: ignore[reportArgumentType]
    except np.exceptions.TooHardError:
        return True


def refuse_shared(position: int, other: int) -> NoReturn:
    """Raise MutationError for arguments that share memory, one of which is written to."""
    raise MutationError(
        f"the function writes to argument leaf {position}, which shares memory with argument leaf {other}: computed "
        "elsewhere, they are two arrays",
        remedy="give it copies: x.clone() for tensors, x.copy() for NumPy arrays",
    )
