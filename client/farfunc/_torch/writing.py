"""The caller's own tensors, as arguments that a remote function has written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch._functorch.vmap import vmap_impl

from farfunc_protocol.errors import MutationError

from .._memory import check_writable_array, refuse_shared, share_memory
from .._writes import Returned

__all__ = ["check", "overwrite", "view_of"]


def check(leaves: Sequence[Any], position: int) -> None:
    """Refuse a write to an argument: what torch refuses, and memory that is given twice."""
    leaf = leaves[position]
    if isinstance(leaf, torch.Tensor):
        _check_autograd(leaf)
    else:
        check_writable_array(leaf)
    for other, item in enumerate(leaves):
        if other != position and share_memory(_extent(leaf), _extent(item)):
            refuse_shared(position, other)


def _check_autograd(tensor: torch.Tensor) -> None:
    if not torch.is_grad_enabled():
        return
    base = tensor._base
    if tensor.requires_grad and tensor.is_leaf:
        what = "a leaf Variable"
    elif base is not None and base.requires_grad and base.is_leaf:
        what = "a view of a leaf Variable"
    else:
        return
    raise MutationError(
        f"{what} that requires grad is being used in an in-place operation. The function writes to its argument",
        remedy="call it under torch.no_grad(), or give it a copy: x.clone()",
    )


def _extent(leaf: Any) -> np.ndarray:
    """Where a leaf lies in memory, as an array that is never read."""
    if not isinstance(leaf, torch.Tensor):
        return np.asarray(leaf)
    return np.asarray(_Extent(leaf))


class _Extent:
    def __init__(self, tensor: torch.Tensor) -> None:
        size = tensor.element_size()
        self.__array_interface__ = {
            "version": 3,
            "shape": tuple(tensor.shape),
            "typestr": f"|V{size}",
            "data": (tensor.data_ptr(), True),
            "strides": tuple(stride * size for stride in tensor.stride()),
        }


def overwrite(leaf: Any, result: Any) -> None:
    """Give an argument the value that the function has written to it."""
    if isinstance(leaf, torch.Tensor):
        leaf.copy_(result if isinstance(result, torch.Tensor) else torch.from_numpy(result))
        return
    leaf[...] = result.detach().cpu().numpy() if isinstance(result, torch.Tensor) else result


def view_of(tensor: torch.Tensor, returned: Returned) -> torch.Tensor:
    """The view that torch.func returns of an argument."""

    def view(sample: torch.Tensor) -> torch.Tensor:
        for step in returned.alias.views:
            sample = step(sample)
        return sample

    # Not torch.func.vmap, in whose place a program may have put another.
    for in_dim, out_dim in reversed(returned.axes):
        view = _mapped(view, in_dim, out_dim)
    return view(tensor)


def _mapped(function: Any, in_dim: int, out_dim: int) -> Any:
    return lambda tensor: vmap_impl(function, (in_dim,), out_dim, "error", None, tensor)
