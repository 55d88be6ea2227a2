"""torch's functions, as the user's own code calls them: some are to be met before they become operators."""

from __future__ import annotations

from typing import Any

import torch
from torch._C._functorch import TransformType, peek_interpreter_stack
from torch.overrides import TorchFunctionMode

from .refusals import refuse_dual
from .subscripts import read_or_write

__all__ = ["FunctionMode"]

_SUBSCRIPTS = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)
_PLAIN = torch.Tensor.__torch_function__.__func__  # pyright: ignore[reportFunctionMemberAccess]


class FunctionMode(TorchFunctionMode):
    """Subscripts, dual numbers, and constants of classes derived from Tensor.

    Where such a class does not say how functions deal with it, torch gives each result its class. The result is
    traced, and has the class of the tracer: the elements are the same.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _SUBSCRIPTS:
            return read_or_write(func, *args)
        if func is torch._VF._make_dual and not _is_in_jvp():  # pyright: ignore[reportAttributeAccessIssue]
            refuse_dual("make_dual()")
        if types and all(getattr(kind.__torch_function__, "__func__", None) is _PLAIN for kind in types):
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _is_in_jvp() -> bool:
    """Whether it is torch.func.jvp that makes a dual number; forward mode's level, one for all threads, cannot tell."""
    innermost = peek_interpreter_stack()
    return innermost is not None and innermost.key() == TransformType.Jvp
