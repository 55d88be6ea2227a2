"""Rows of several calls as one call's arguments, and its results as theirs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..batch_form import BatchForm

__all__ = ["deal", "gather"]

Tensors = Sequence[torch.Tensor]


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
