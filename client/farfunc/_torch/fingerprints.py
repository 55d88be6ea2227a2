"""How torch's objects are compared between two calls, and what outside of a function changes what it computes.

Importing this module makes :mod:`farfunc._fingerprint` know tensors and modules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]

from .._fingerprint import Fingerprint, register_array, register_class, words

__all__ = ["ambient"]


class _Tensors:
    """Tensors: on the CPU by their bytes; elsewhere by their memory and torch's count of the writes to it."""

    def describe(self, tensor: torch.Tensor) -> tuple[Any, ...] | None:
        if (
            tensor.layout is not torch.strided
            or tensor.is_quantized
            or tensor.is_nested
            or tensor.device.type == "meta"
            or _functorch.is_functorch_wrapped_tensor(tensor)
        ):
            return None
        return tensor.dtype, tuple(tensor.shape), tensor.device, tensor.requires_grad

    def snapshot(self, tensor: torch.Tensor) -> Any:
        if tensor.device.type == "cpu":
            return _words(tensor).copy()
        return tensor, tensor.data_ptr(), _version(tensor)  # the tensor too, so that its memory stays its own

    def unchanged(self, tensor: torch.Tensor, snapshot: Any) -> bool:
        if tensor.device.type == "cpu":
            return bool((_words(tensor) == snapshot).all())
        return (tensor.data_ptr(), _version(tensor)) == snapshot[1:]


def _words(tensor: torch.Tensor) -> Any:
    with torch.no_grad():
        dense = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return words(dense.reshape(-1).view(torch.uint8).numpy())


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _module(found: Fingerprint, module: torch.nn.Module) -> None:
    """A module: its class, parameters, buffers, hooks and other attributes."""
    found.add(type(module))
    for name, value in vars(module).items():
        if name not in _EMPTY or value:
            found.tokens.append(name)
            found.add(value)


_EMPTY = frozenset(name for name, value in vars(torch.nn.Module()).items() if not value)
"""Attributes that a module has from torch, and most of which stay empty."""


def _device(found: Fingerprint, device: torch.device) -> None:
    found.tokens += (torch.device, device)


for _kind in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
    register_array(_kind, _Tensors())
register_class(torch.nn.Module, _module)
register_class(torch.device, _device)


def ambient() -> tuple[Any, ...]:
    """Settings of torch under which a function is traced."""
    return (
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.get_default_device(),
    )
