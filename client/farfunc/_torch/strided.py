"""``as_strided``: a view of memory itself, of which a graph knows nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .aliases import Alias, View, attach
from .capture import outside_traces
from .fakes import fake_call
from .refusals import refuse_operator

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["as_strided", "as_strided_copy", "as_strided_scatter"]

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def as_strided(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A view of memory itself: the elements are picked by their position in the base."""
    alias = _with_known_layout(trace, func, args[0])
    result = fake_call(trace, func, args, kwargs)
    source = args[0]
    with outside_traces():
        size = source.untyped_storage().nbytes() // source.element_size()
        memory = torch.full((size,), -1, dtype=torch.int64)
        memory.as_strided(source.size(), source.stride(), source.storage_offset()).copy_(
            torch.arange(source.numel()).reshape(tuple(source.shape))
        )
        positions = memory.as_strided(result.size(), result.stride(), result.storage_offset()).clone()
        outside = bool((positions < 0).any())
        flat = positions.reshape(-1)
    if outside:
        refuse_operator(f"{func} reaches elements outside the tensor", "use indexing or unfold")

    def through(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(-1)[positions]

    def back(parent: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return torch.index_put(parent.reshape(-1), (flat,), new.reshape(-1)).reshape(tuple(parent.shape))

    picked = trace.run(through, source)
    attach(result, Alias(trace, trace.lower(picked), alias.memory, View(alias, through, back)))
    return result


def _with_known_layout(trace: TorchTrace, func: Any, source: torch.Tensor) -> Alias:
    """Refuse a tensor whose layout in memory may follow from that of an argument, which does not travel."""
    alias = trace.alias(source)
    known = alias.memory.origin == "local" and (source.dim() <= 1 or not alias.value.varies)
    if alias.view is not None or not known:
        refuse_operator(
            f"{func} reads memory: how the function's arguments lie in memory does not travel with them",
            "use indexing, unfold or select, or apply it to x.reshape(-1).clone()",
        )
    return alias


def as_strided_copy(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """The same elements, in memory of their own."""
    return trace.run(lambda: torch.as_strided(*args, **kwargs).clone())


def as_strided_scatter(trace: TorchTrace, func: Any, args: Args, kwargs: Kwargs) -> Any:
    """A copy of a tensor, with other elements in such a view of it."""
    _with_known_layout(trace, func, args[0])

    def scatter() -> torch.Tensor:
        copy = args[0].clone()
        copy.as_strided(*args[2:], **kwargs).copy_(args[1])
        return copy

    return trace.run(scatter)
