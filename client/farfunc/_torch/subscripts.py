"""``x[i]`` where the number ``i`` is a traced tensor: torch would ask for its value, a graph has an operator for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .aliases import alias_of, read

__all__ = ["read_or_write"]

aten = torch.ops.aten


def read_or_write(func: Any, tensor: torch.Tensor, subscript: Any, *value: Any) -> Any:
    """``Tensor.__getitem__`` or ``Tensor.__setitem__``, with operators for the numbers that are not known here."""
    items = list(subscript) if isinstance(subscript, tuple) else [subscript]
    unknown = [place for place, item in enumerate(items) if _is_number(item) and _is_unknown(item)]
    if unknown:
        items = [int(item) if _is_number(item) and place not in unknown else item for place, item in enumerate(items)]
        others = [place for place, item in enumerate(items) if place not in unknown and not _gives_a_view(item)]
        if value and not others:
            return _set(tensor, items, unknown, *value)
        # Apart from one another their axes come first under vmap, and stay in place otherwise: torch decides.
        if not value and (not others or _are_neighbours([*unknown, *others])):
            return _get(tensor, items, unknown)
    return func(tensor, subscript, *value)


def _is_number(item: Any) -> bool:
    """Whether an item of a subscript is a tensor that stands for an integer."""
    return (
        isinstance(item, torch.Tensor)
        and not item.dim()
        and item.dtype not in (torch.bool, torch.uint8)
        and not (item.is_floating_point() or item.is_complex())
    )


def _is_unknown(item: torch.Tensor) -> bool:
    """Whether a number depends on arguments."""
    if isinstance(item, FakeTensor):
        alias = alias_of(item)
        return alias is not None and read(alias).varies
    return torch._C._functorch.is_functorch_wrapped_tensor(item)  # pyright: ignore[reportAttributeAccessIssue]


def _gives_a_view(item: Any) -> bool:
    return item is None or item is Ellipsis or type(item) is int or isinstance(item, slice)


def _are_neighbours(places: list[int]) -> bool:
    return max(places) - min(places) + 1 == len(places)


def _get(tensor: torch.Tensor, items: list[Any], unknown: Sequence[int]) -> torch.Tensor:
    for place in reversed(unknown):
        axis = _axis(items, place, tensor.dim(), _taken)
        tensor = aten.index.Tensor(tensor, [*[None] * axis, items[place]])
        del items[place]
    return tensor[tuple(items)] if items else tensor


def _set(tensor: torch.Tensor, items: list[Any], unknown: Sequence[int], value: Any) -> None:
    """The other items give a view, into which is written."""
    view = tensor[tuple(slice(None) if place in unknown else item for place, item in enumerate(items))]
    axes = [_axis(items, place, view.dim(), _given) for place in unknown]
    positions: list[torch.Tensor | None] = [None] * (max(axes) + 1)
    for axis, place in zip(axes, unknown, strict=True):
        positions[axis] = items[place]
    if not isinstance(value, torch.Tensor):
        value = torch.tensor(value, dtype=view.dtype)
    while value.dim() > view.dim() - len(unknown) and value.shape[0] == 1:  # as torch does
        value = value.squeeze(0)
    aten.index_put_.default(view, positions, value.to(view.dtype))


def _axis(items: Sequence[Any], place: int, dims: int, width: Callable[[Any], int]) -> int:
    """At which axis an item stands, of so many in all."""
    if any(item is Ellipsis for item in items[:place]):
        return dims - sum(width(item) for item in items[place:])
    return sum(width(item) for item in items[:place])


def _taken(item: Any) -> int:
    """How many axes of the tensor an item disposes of."""
    if isinstance(item, torch.Tensor) and item.dtype in (torch.bool, torch.uint8):
        return item.dim()
    return 0 if item is None or item is Ellipsis or isinstance(item, bool) else 1


def _given(item: Any) -> int:
    """How many axes of the view an item makes; one that is unknown, the axis in which it chooses."""
    return 0 if item is Ellipsis or type(item) is int else 1
