"""A Python number where an operator takes a tensor: ``x * 2`` calls ``mul.Tensor(x, 2)``.

Recorded as the overload that takes a number (``mul.Scalar``); where there is none, as a 0-d constant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves

from farfunc_protocol.ops import OPS

if TYPE_CHECKING:
    from .trace import TorchTrace

__all__ = ["scalar_overload", "tensor_of_number"]

_Number = bool | int | float | complex

_found: dict[tuple[Any, tuple[int, ...]], Any] = {}


def scalar_overload(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The call ``(overload, args, kwargs)`` of the overload that takes numbers where numbers are; None without one."""
    places = tuple(index for index, value in enumerate(args) if _stands_for_tensor(func, index, value))
    if not places or any(isinstance(kwargs.get(a.name), _Number) for a in func._schema.arguments if _is_tensor(a)):
        return None
    key = (func, places)
    if key not in _found:
        _found[key] = _find(func, places)
    return None if _found[key] is None else (_found[key], args, kwargs)


def tensor_of_number(trace: TorchTrace, func: Any, value: Any, args: Any, kwargs: Any) -> torch.Tensor:
    """A 0-d constant that takes part in type promotion as the number would."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    others = [torch.empty((1,) * min(tensor.dim(), 1), dtype=tensor.dtype, device="meta") for tensor in tensors]
    dtype = torch.result_type(others[0], value) if others else torch.as_tensor(value).dtype
    for other in others[1:]:
        dtype = torch.promote_types(dtype, torch.result_type(other, value))
    return trace.run(torch.full, (), value, dtype=dtype)


def _find(func: Any, places: tuple[int, ...]) -> Any:
    names = [(argument.name, index in places) for index, argument in enumerate(func._schema.arguments)]
    for overload_name in func._overloadpacket.overloads():
        overload = getattr(func._overloadpacket, overload_name)
        wire = func._opname if overload_name == "default" else f"{func._opname}.{overload_name}"
        if overload._schema.is_mutable or wire not in OPS:
            continue
        declared = overload._schema.arguments
        if [argument.name for argument in declared] == [name for name, _ in names] and all(
            (str(argument.type) == "number") == number or not _is_tensor(func._schema.arguments[index])
            for index, (argument, (_, number)) in enumerate(zip(declared, names, strict=True))
        ):
            return overload
    return None


def _stands_for_tensor(func: Any, index: int, value: Any) -> bool:
    return isinstance(value, _Number) and _is_tensor(func._schema.arguments[index])


def _is_tensor(argument: Any) -> bool:
    return str(argument.type) in ("Tensor", "Optional[Tensor]")
