"""Indexing by masks. A mask that is a constant becomes the positions that it selects, for a graph's shapes are known;
a write by any mask becomes a choice between the old elements and the new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .capture import NotConstant, outside_traces
from .plans import plan_for
from .recording import record
from .refusals import refuse_value

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["index", "index_put", "masked_select", "repeat_interleave"]

aten = torch.ops.aten
_MASKS = (torch.bool, torch.uint8)


def index(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``x[mask]``, ``x[i, j]``."""
    tensor, indices = args
    return record(trace, plan_for(func), (tensor, _positions(trace, func, indices)), {})


def index_put(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``x[mask] = y``, ``x[i, j] = y``."""
    tensor, indices, values, accumulate = (*args, *kwargs.values(), False)[:4]
    try:
        indices = _positions(trace, func, indices, refuse=False)
    except NotConstant:
        return _choose(trace, func, tensor, indices, values, accumulate)
    return record(trace, plan_for(func), (tensor, indices, values, accumulate), {})


def masked_select(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.masked_select(x, mask)``."""
    tensor, mask = args
    shape = torch.broadcast_shapes(tensor.shape, mask.shape)
    return trace.run(lambda: tensor.expand(shape)[mask.expand(shape)])


def repeat_interleave(trace: TorchTrace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``torch.repeat_interleave(x, repeats)``: the number of repeats makes the shape."""
    tensor, repeats = args[:2]
    dim = args[2] if len(args) > 2 else kwargs.get("dim")
    counts = _constant(trace, func, repeats)
    axis = 0 if dim is None else dim
    length = tensor.numel() if dim is None else tensor.shape[dim]
    with outside_traces():
        positions = torch.arange(length).repeat_interleave(counts.expand(length) if counts.numel() == 1 else counts)
    return trace.run(lambda: (tensor.reshape(-1) if dim is None else tensor).index_select(axis, positions))


def _positions(trace: TorchTrace, func: Any, indices: Any, *, refuse: bool = True) -> list[torch.Tensor | None]:
    """The indices, with the positions of each mask's true elements in its place."""
    found: list[torch.Tensor | None] = []
    for item in indices:
        if item is None or item.dtype not in _MASKS:
            found.append(item)
            continue
        mask = _constant(trace, func, item) if refuse else trace.constants.elements(trace.lower(item))
        with outside_traces():
            positions = mask.bool().nonzero(as_tuple=True)
        found.extend(trace.constants.adopt(each) for each in positions)
    return found


def _constant(trace: TorchTrace, func: Any, tensor: torch.Tensor) -> torch.Tensor:
    try:
        return trace.constants.elements(trace.lower(tensor))
    except NotConstant:
        refuse_value(func, "a shape")


def _choose(trace: TorchTrace, func: Any, tensor: Any, indices: Any, values: Any, accumulate: bool) -> Any:
    """A write where the mask depends on arguments: possible if the values do not depend on how many are true."""
    before = [item for item in indices[:-1] if item is not None]
    mask, offset = indices[-1], len(indices) - 1
    rest = tensor.dim() - offset - mask.dim()
    # Values align with the trailing axes behind the mask; an axis of their own for the true elements has length 1.
    lengths = values.shape[: max(values.dim() - rest, 0)]
    if before or mask.dtype not in _MASKS or any(length != 1 for length in lengths) or (offset and values.numel() > 1):
        refuse_value(func, "a shape")

    def write() -> torch.Tensor:
        broad = mask.bool().reshape((1,) * offset + tuple(mask.shape) + (1,) * rest)
        new = values.reshape(tuple(values.shape)[len(lengths) :]).to(tensor.dtype)
        return torch.where(broad, tensor + new if accumulate else new, tensor)

    return trace.run(write)
