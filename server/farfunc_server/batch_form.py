"""Which calls of a function can be evaluated together, as plain data.

A call stands for one row, or for as many as its own outermost ``vmap`` maps over. Rows of several
calls are put one below another, filled up to one of a few sizes (so that a plan, and its machine
code, serves many mixtures), evaluated by one plan, and dealt out again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from farfunc_protocol.graph import TensorType
from farfunc_protocol.messages import EvaluateRequest
from farfunc_protocol.transforms import FlatTransform

__all__ = ["MOST_ROWS", "BatchForm", "bucket", "kind_and_rows"]

MOST_ROWS = 256
"""How many rows are put together at most; a call of more is evaluated by itself."""

_ROW_BYTES = 1 << 18
"""Arguments of so many bytes count as a row: what is put together has 64 MiB at most."""


@dataclass(frozen=True, slots=True)
class BatchForm:
    """A call as rows of a larger one.

    Attributes
    ----------
    chain:
        The call's own chain.
    is_mapped:
        Whether its rows are those that the outermost transform maps over; otherwise it is one row.
    row_types:
        The argument leaves of one row.
    rows:
        How many rows the call has.
    """

    chain: tuple[FlatTransform, ...]
    is_mapped: bool
    row_types: tuple[TensorType, ...]
    rows: int

    @classmethod
    def of(cls, chain: Sequence[FlatTransform], types: Sequence[TensorType]) -> BatchForm | None:
        """The form of a call; None if it cannot share another's evaluation."""
        if not types:
            return None
        if chain and chain[0].name == "vmap" and _maps_the_first_axes(chain[0]):
            rows = {type.shape[0] if type.shape else None for type in types}
            count = rows.pop()
            if rows or not isinstance(count, int):
                return None
            return cls(tuple(chain), True, tuple(TensorType(type.dtype, type.shape[1:]) for type in types), count)
        return cls(tuple(chain), False, tuple(types), 1)

    def common_chain(self, outputs: int) -> tuple[FlatTransform, ...]:
        """The chain that takes the rows of several calls; ``outputs`` is how many leaves a call returns."""
        if self.is_mapped:
            return self.chain
        mapped = FlatTransform("vmap", {"in_dims": (0,) * len(self.row_types), "out_dims": (0,) * outputs})
        return (mapped, *self.chain)

    def types(self, rows: int) -> tuple[TensorType, ...]:
        """The argument leaves of a common call of so many rows."""
        return tuple(TensorType(type.dtype, (rows, *type.shape)) for type in self.row_types)


def _maps_the_first_axes(vmap: FlatTransform) -> bool:
    axes = (*vmap.attributes.get("in_dims", (None,)), *vmap.attributes.get("out_dims", (None,)))
    return all(axis == 0 for axis in axes) and set(vmap.attributes) == {"in_dims", "out_dims"}


def kind_and_rows(request: EvaluateRequest) -> tuple[Hashable, int]:
    """What requests of one function that can be evaluated together have in common, and the rows of this one."""
    if request.seed is not None or request.generator is not None or request.captures:
        return None, 1
    form = BatchForm.of(request.transforms, [array.type for array in request.arrays])
    if form is None or not form.rows:
        return None, 1
    rows = max(form.rows, -(-sum(array.nbytes for array in request.arrays) // _ROW_BYTES))
    return ((form.chain, form.row_types), rows) if rows <= MOST_ROWS else (None, 1)


def bucket(rows: int) -> int:
    """The number of rows that so many are filled up to: a power of two.

    Steps in between would waste less of each call, and cost more: every size is a plan of its own, which takes a
    second to make where the function is long, and as much again to flatten, while the device could have worked.

    >>> [bucket(rows) for rows in (1, 2, 3, 4, 5, 9, 100, 256)]
    [1, 2, 4, 4, 8, 16, 128, 256]
    """
    return 1 << max(rows - 1, 0).bit_length()
