"""Tensors that outlive the trace in which they were made: a module keeps the table that it computed at its first call.

Where such a tensor follows from constants alone, it becomes what it would have been without a trace: a tensor with
elements, in every place that holds it. One that depends on arguments has none to give; its use is refused.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .aliases import Alias, alias_of
from .capture import NotConstant

if TYPE_CHECKING:
    from .capture import Constants

__all__ = ["Escapes"]


class Escapes:
    """The tensors of a trace that have elements, as far as they are not captured."""

    def __init__(self) -> None:
        # Weak, also because torch copies a new tensor that something else holds already.
        self._made: list[weakref.ref[torch.Tensor]] = []

    def note(self, tensor: torch.Tensor, alias: Alias) -> None:
        """Remember a tensor that now stands for an alias."""
        if alias.memory.origin == "local" and not alias.value.varies:
            self._made.append(weakref.ref(tensor))

    def settle(self, constants: Constants) -> None:
        """When the trace has ended: give elements to what something else still holds."""
        for made in self._made:
            tensor = made()
            alias = alias_of(tensor) if type(tensor) is FakeTensor else None
            if tensor is None or alias is None:
                continue
            if alias.generation != alias.memory.generation or alias.value.varies:
                continue
            try:
                real = constants.elements(alias.value).to(tensor.device, copy=True)
            except (NotConstant, RuntimeError):
                continue
            if tensor._use_count() == 1:  # pyright: ignore[reportAttributeAccessIssue]
                _exchange(tensor, real)


def _exchange(tensor: torch.Tensor, real: torch.Tensor) -> None:
    """Let each be the other, as ``torch.utils.swap_tensors`` does, which minds the weak references of the fakes."""
    tensor.__class__, real.__class__ = real.__class__, tensor.__class__
    tensor.__dict__, real.__dict__ = real.__dict__, tensor.__dict__  # pyright: ignore[reportAttributeAccessIssue]
    torch._C._swap_tensor_impl(tensor, real)  # pyright: ignore[reportAttributeAccessIssue]
