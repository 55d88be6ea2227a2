"""Operators that torch gets wrong under a transform, and what is computed in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

__all__ = ["CORRECTIONS"]


def index_fill(x: torch.Tensor, dim: int, index: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """``x.index_fill(dim, index, value)`` as a choice between the elements and the value.

    Under vmap, where ``value`` is batched and ``x`` is not, torch 2.13 fills every slice with the last value.

    >>> torch.vmap(lambda v: index_fill(torch.zeros(2), 0, torch.tensor([1]), v))(torch.tensor([5.0, 7.0]))
    tensor([[0., 5.],
            [0., 7.]])
    """
    if value.dim() or (value.is_complex() and not x.is_complex()):
        return torch.ops.aten.index_fill.int_Tensor(x, dim, index, value)  # torch's own error
    axes = x if x.dim() else x.reshape(1)
    chosen = torch.zeros(axes.shape[dim], dtype=torch.bool, device=x.device).index_fill(0, index, True)
    shape = [1] * axes.dim()
    shape[dim] = -1
    return torch.where(chosen.reshape(shape), value.to(x.dtype), axes).reshape(x.shape)


CORRECTIONS: Mapping[str, Callable[..., Any]] = {"index_fill.int_Tensor": index_fill}
"""By the name of the row."""
