"""Operators that torch gets wrong under a transform, and what is computed in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._C._functorch import is_batchedtensor
from torch._subclasses.fake_tensor import DataDependentOutputException

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


def slice_scatter(
    x: torch.Tensor, part: torch.Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> torch.Tensor:
    """``x`` with ``part`` in place of ``x[start:end:step]``, for complex numbers by index.

    torch's own has no derivative for them: "does not support automatic differentiation for outputs with complex dtype".

    >>> slice_scatter(torch.zeros(3, dtype=torch.complex64), torch.tensor([1j]), 0, 1, 2)
    tensor([0.+0.j, 0.+1.j, 0.+0.j])
    """
    if not x.is_complex():
        return torch.ops.aten.slice_scatter.default(x, part, dim, start, end, step)
    places = range(x.shape[dim])[slice(start, end, step)]
    return x.index_copy(dim, torch.tensor(places, dtype=torch.int64, device=x.device), part.to(x.dtype))


def select_scatter(x: torch.Tensor, part: torch.Tensor, dim: int, index: int) -> torch.Tensor:
    """``x`` with ``part`` at one place of an axis, for complex numbers by index; see :func:`slice_scatter`.

    >>> select_scatter(torch.zeros(2, dtype=torch.complex64), torch.tensor(1j), 0, -1)
    tensor([0.+0.j, 0.+1.j])
    """
    if not x.is_complex():
        return torch.ops.aten.select_scatter.default(x, part, dim, index)
    index %= x.shape[dim]
    return slice_scatter(x, part.unsqueeze(dim), dim, index, index + 1)


def _written(name: str, overload: str = "default") -> Callable[..., torch.Tensor]:
    """Random numbers of the shape of a tensor, as its in-place method draws them: ``x.clone().uniform_()``.

    torch's vmap has rules for the randomness of these methods. Their functional namesakes it takes apart and puts
    together again, as if they were deterministic: ``randomness="error"`` does not see them, nor does ``"same"``.
    """
    method = getattr(getattr(torch.ops.aten, name), overload)

    def draw(x: torch.Tensor, *arguments: Any, **keywords: Any) -> torch.Tensor:
        return method(x.clone(), *arguments, **keywords)

    return draw


def bernoulli(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """``x.clone().bernoulli_(p)``. A 0-d ``p`` of float64 is a number, for which torch draws in another way."""
    if p.dim() == 0 and p.dtype == torch.float64 and not is_batchedtensor(p):
        with contextlib.suppress(DataDependentOutputException):  # in the dry run
            return torch.ops.aten.bernoulli_.float(x.clone(), float(p))
    return torch.ops.aten.bernoulli_.Tensor(x.clone(), p)


CORRECTIONS: Mapping[str, Callable[..., Any]] = {
    "index_fill.int_Tensor": index_fill,
    "slice_scatter": slice_scatter,
    "select_scatter": select_scatter,
    "normal_functional": _written("normal_"),
    "uniform": _written("uniform_"),
    "exponential": _written("exponential_"),
    "cauchy": _written("cauchy_"),
    "log_normal": _written("log_normal_"),
    "geometric": _written("geometric_"),
    "random": _written("random_"),
    "random.from": _written("random_", "from"),
    "random.to": _written("random_", "to"),
    "bernoulli.Tensor": bernoulli,
}
"""By the name of the row."""
