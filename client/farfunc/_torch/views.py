"""The kinds of views: how each follows from its parent, and how a write goes back through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from .aliases import Alias, Back, Through, View

__all__ = ["make_view", "positions_in"]

aten = torch.ops.aten

_RESHAPES = {
    "view", "reshape", "_unsafe_view", "_reshape_alias", "view_as", "reshape_as", "flatten", "unflatten", "ravel",
    "squeeze", "unsqueeze", "alias", "contiguous", "to", "_to_copy", "lift_fresh", "atleast_1d", "atleast_2d",
    "atleast_3d", "expand", "expand_as", "broadcast_to", "type_as", "dropout", "alpha_dropout", "feature_dropout",
    "resolve_conj", "resolve_neg", "view_copy", "squeeze_", "unsqueeze_", "positive", "requires_grad_",
}  # fmt: skip
"""Views that hold all elements of their parent, in order."""


def make_view(
    parent: Alias,
    source: torch.Tensor,
    func: torch._ops.OpOverload,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: torch.Tensor,
    index: int | None,
) -> View:
    """Describe ``result``, which shares memory with its first tensor argument.

    Parameters
    ----------
    parent, source:
        The argument that shares memory with the result.
    func, args, kwargs:
        The call.
    result:
        What it returned, or the item ``index`` of it.
    """
    name = func._opname

    def through(tensor: torch.Tensor) -> torch.Tensor:
        replaced = _substitute(source, tensor, args, kwargs)
        out = func(*replaced[0], **replaced[1])
        return out if index is None else out[index]

    shape = tuple(result.shape)
    if name in _RESHAPES and result.numel() == source.numel():
        # Not the call itself: `view` asks for strides that a regenerated parent need not have.
        return View(parent, lambda tensor: tensor.reshape(shape), _reshape_back)
    if name == "detach" or name == "detach_":
        return View(parent, lambda tensor: tensor.detach(), _detach_back, is_detached=True)
    back = _BACK.get(name)
    if back is not None and index is None:
        return View(parent, through, back(*args[1:], **kwargs))
    if name == "unbind" and index is not None:
        dim = args[1] if len(args) > 1 else kwargs.get("dim", 0)
        return View(
            parent,
            lambda tensor: tensor.select(dim, index),
            _select_back(dim, index),
        )
    if sum(isinstance(a, torch.Tensor) for a in args) == 1 and args[0] is source and not source.is_complex():
        return View(parent, through, _generic_back(through))
    return View(parent, through, None)


def positions_in(parent: torch.Tensor, through: Through) -> torch.Tensor:
    """For each element of a view, its flat index in the parent: the view, taken of real indices."""
    indices = torch.arange(parent.numel()).reshape(tuple(parent.shape))
    return through(indices)


def _reshape_back(parent: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    return new.reshape(tuple(parent.shape))


def _detach_back(parent: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    # Autograd does not see a write to x.detach(): x has other elements then, and the derivative that it had.
    with torch.enable_grad():
        return new.detach() + (parent - parent.detach()).nan_to_num(0.0) if _is_inexact(parent) else new


def _is_inexact(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _generic_back(through: Through) -> Back:
    """Any other view of one tensor: by the positions of its elements."""

    def back(parent: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        from .capture import outside_traces

        with outside_traces():
            positions = positions_in(parent, through).reshape(-1)
        flat = torch.index_put(parent.reshape(-1), (positions,), new.reshape(-1))
        return flat.reshape(tuple(parent.shape))

    return back


def _substitute(old: torch.Tensor, new: torch.Tensor, args: Any, kwargs: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda leaf: new if leaf is old else leaf, (args, kwargs))


def _select_back(dim: int, index: int) -> Back:
    # torch.select_scatter is written down as a slice_scatter: see `special`.
    return lambda parent, new: torch.select_scatter(parent, new, dim, index)


def _slice_back(dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Back:
    return lambda parent, new: torch.slice_scatter(parent, new, dim, start, end, step)


def _narrow_back(dim: int, start: int, length: int) -> Back:
    return lambda parent, new: torch.slice_scatter(
        parent, new, dim, start % max(parent.shape[dim], 1), start % max(parent.shape[dim], 1) + length
    )


def _permute_back(dims: list[int]) -> Back:
    order = [dim % len(dims) for dim in dims]
    inverse = [order.index(dim) for dim in range(len(order))]
    return lambda parent, new: new.permute(inverse)


_BACK: dict[str, Callable[..., Back]] = {
    "select": _select_back,
    "slice": _slice_back,
    "narrow": _narrow_back,
    "diagonal": lambda offset=0, dim1=0, dim2=1: (
        lambda parent, new: torch.diagonal_scatter(parent, new, offset, dim1, dim2)
    ),
    "permute": _permute_back,
    "numpy_T": lambda: lambda parent, new: new.permute(tuple(reversed(range(new.dim())))),
    "t": lambda: lambda parent, new: new.t(),
    "t_": lambda: lambda parent, new: new.t(),
    "mT": lambda: lambda parent, new: new.mT,
    "movedim": lambda source, destination: lambda parent, new: torch.movedim(new, destination, source),
    "moveaxis": lambda source, destination: lambda parent, new: torch.movedim(new, destination, source),
    "view_as_real": lambda: lambda parent, new: torch.view_as_complex(new),
    "view_as_complex": lambda: lambda parent, new: torch.view_as_real(new),
    "real": lambda: lambda parent, new: torch.complex(new, torch.imag(parent)),
    "imag": lambda: lambda parent, new: torch.complex(torch.real(parent), new),
    **{
        name: lambda dim0, dim1: lambda parent, new: new.transpose(dim0, dim1)
        for name in ("transpose", "transpose_", "swapaxes", "swapaxes_", "swapdims", "swapdims_")
    },
}
"""By the operator's name: from its arguments after the first to the way back."""
