"""Calls of one function, for arguments of one kind, evaluated together: as rows of one vmapped call.

A call stands for one row, or for as many as its own outermost ``vmap`` maps over. Rows of several
calls are put one below another, filled up to one of a few sizes (so that a plan, and its machine
code, serves many mixtures), evaluated by one plan, and dealt out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from farfunc_protocol.graph import TensorType
from farfunc_protocol.transforms import FlatTransform

__all__ = ["MOST_ROWS", "BatchForm", "bucket", "deal", "gather"]

MOST_ROWS = 256
"""How many rows are put together at most; a call of more is evaluated by itself."""

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True, slots=True)
class BatchForm:
    """A call as rows of a larger one.

    Attributes
    ----------
    chain:
        The chain that takes the rows, whose outermost transform is a vmap.
    is_mapped:
        Whether that is the call's own.
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
    def of(cls, chain: Sequence[FlatTransform], types: Sequence[TensorType], outputs: int) -> BatchForm | None:
        """The form of a call that returns so many leaves; None if it cannot share another's evaluation."""
        if not types:
            return None
        if chain and chain[0].name == "vmap" and _maps_the_first_axes(chain[0]):
            rows = {int(type.shape[0]) for type in types if type.shape}
            if len(rows) != 1 or not all(type.shape for type in types):
                return None
            (count,) = rows
            return cls(tuple(chain), True, tuple(TensorType(t.dtype, t.shape[1:]) for t in types), count)
        mapped = FlatTransform("vmap", {"in_dims": (0,) * len(types), "out_dims": (0,) * outputs})
        return cls((mapped, *chain), False, tuple(types), 1)

    def types(self, rows: int) -> tuple[TensorType, ...]:
        """The argument leaves of a call of so many rows."""
        return tuple(TensorType(type.dtype, (rows, *type.shape)) for type in self.row_types)


def _maps_the_first_axes(vmap: FlatTransform) -> bool:
    axes = (*vmap.attributes["in_dims"], *vmap.attributes["out_dims"])
    return all(axis == 0 for axis in axes) and set(vmap.attributes) == {"in_dims", "out_dims"}


def bucket(rows: int) -> int:
    """The number of rows that so many are filled up to: at most half as many again.

    >>> [bucket(rows) for rows in (1, 2, 3, 4, 5, 7, 9, 13, 100, 256)]
    [1, 2, 3, 4, 6, 8, 12, 16, 128, 256]
    """
    power = 1 << max(rows - 1, 0).bit_length()
    return 3 * power // 4 if power >= 4 and rows <= 3 * power // 4 else power


def gather(form: BatchForm, calls: Sequence[Tensors], rows: int) -> list[torch.Tensor]:
    """The arguments of several calls as those of one, whose last row is repeated until there are ``rows``."""
    gathered = []
    for leaves in zip(*calls, strict=True):
        parts = list(leaves) if form.is_mapped else [leaf.unsqueeze(0) for leaf in leaves]
        missing = rows - sum(part.shape[0] for part in parts)
        if missing:
            parts.append(parts[-1][-1:].expand(missing, *parts[-1].shape[1:]))
        gathered.append(torch.cat(parts))
    return gathered


def deal(form: BatchForm, results: Tensors, counts: Sequence[int]) -> list[tuple[torch.Tensor, ...]]:
    """The results of a gathered call as those of each; ``counts`` are their rows."""
    dealt, first = [], 0
    for count in counts:
        rows = slice(first, first + count) if form.is_mapped else first
        dealt.append(tuple(result[rows] for result in results))
        first += count
    return dealt
